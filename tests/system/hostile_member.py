"""What a member of ill will can do with a client of its own: commits that no honest client makes."""

from typing import Any

from pli_client import Client
from pli_client.engine.profile import SUITE, capabilities, lifetime
from pli_client.store import groups
from pli_client.vault import Database
from pli_protocol.identity import (
    SigningKey,
    make_authority,
    make_device,
    make_issuer,
    make_person,
)
from pli_protocol.mls import (
    ACCEPT_BASIC,
    Group,
    KeyPackage,
    SignatureKeyPair,
    X509Credential,
    generate_key_package,
)
from pli_protocol.mls.proposal import Add
from pli_protocol.relay.frames import Accepted, Send
from pli_protocol.relay.log import RosterChange


class AcceptEverybody:
    """An authentication hook that looks at nothing."""

    def check(self, credential: object, signature_key: bytes) -> None: ...

    def same_identity(self, old: object, new: object) -> bool:
        return True


def ghost(name: str, now: int) -> KeyPackage:
    """The key package of a device of the same name, under an authority that nobody trusts."""
    root, issuing, identity, device = (SigningKey.generate() for _ in range(4))
    authority = make_authority("EHPAD Les Tilleuls", root, now)
    issuer = make_issuer(root, authority, issuing.public, now=now)
    person = make_person(
        issuing,
        issuer,
        account=bytes(16),
        name=name,
        profession="Infirmière",
        identity_key=identity.public,
        now=now,
    )
    chain = (make_device(identity, person, device.public, now=now), person, issuer)
    package, _ = generate_key_package(
        SUITE,
        X509Credential(chain),
        SignatureKeyPair(device.public, device.seed),
        lifetime=lifetime(now),
        capabilities=capabilities(),
    )
    return package


async def current(client: Client, conversation_id: bytes) -> tuple[groups.GroupRow, Group]:
    """The group of a conversation as this client has it."""

    def look(db: Database) -> groups.GroupRow:
        row = groups.current(db, conversation_id)
        assert row is not None
        return row

    row = await client.engine.read(look)
    group = await client.engine.write(lambda work: work.load(row.group_id))
    assert group is not None
    return row, group


async def commit(
    client: Client, conversation_id: bytes, **options: Any
) -> tuple[groups.GroupRow, Any]:
    """A commit with any proposals and any AAD; nothing is stored, nothing is sent."""
    row, group = await current(client, conversation_id)
    now = int(client.engine.timing.clock())
    options.setdefault("authenticated_data", RosterChange().encode())
    identity: Any = AcceptEverybody()
    assert identity is not ACCEPT_BASIC
    proposals = options.pop("proposals", ())
    return row, group.commit(proposals, identity=identity, now=now, **options)


async def send(
    client: Client, row: groups.GroupRow, message: bytes, welcome: bytes | None
) -> Accepted:
    """Past the engine, straight to the relay."""
    frame = Send(0, client.engine.around.random(16), row.last_send, message, welcome)
    return await client.engine.connection.request(frame)


async def garbage_commit(client: Client, conversation_id: bytes) -> Accepted:
    """A commit whose header is right and whose content opens for nobody."""
    row, made = await commit(client, conversation_id)
    message = made.message[:-5] + bytes(b ^ 0xFF for b in made.message[-5:])
    return await send(client, row, message, None)


async def ghost_commit(client: Client, conversation_id: bytes, name: str) -> Accepted:
    """A commit that adds a ghost and does not say so to the relay."""
    package = ghost(name, int(client.engine.timing.clock()))
    row, made = await commit(client, conversation_id, proposals=[Add(package)])
    return await send(client, row, made.message, None)


async def secret_removal(client: Client, conversation_id: bytes, leaf: int) -> Accepted:
    """A commit that removes somebody, with an AAD that says it changes nothing."""
    from pli_protocol.mls.proposal import Remove

    row, made = await commit(client, conversation_id, proposals=[Remove(leaf)])
    return await send(client, row, made.message, None)
