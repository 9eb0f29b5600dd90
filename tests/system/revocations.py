"""What a person and an establishment say about devices, in few words."""

import time
from typing import Any

from pli_client.issuer import Issuer
from pli_client.store.device import read_device, write_chain
from pli_client.vault import Vault
from pli_protocol.identity import DeviceRevocation, make_device, sign
from pli_protocol.relay.frames import PublishRevocations

from .actor import Actor
from .world import PASSPHRASE, World


async def declare(actor: Actor, device_id: bytes, reason: Any, time: int = 1_900_000_000) -> bytes:
    """A person's own word about a device of theirs, brought to the relay; the statement."""
    statement = await own_word(actor, device_id, reason, time)
    await actor.client.online()
    await actor.engine.connection.request(PublishRevocations(0, statement))
    return statement


async def own_word(actor: Actor, device_id: bytes, reason: Any, time: int = 1_900_000_000) -> bytes:
    row = await actor.vault.read(read_device)
    assert row is not None
    own = actor.engine.own
    body = DeviceRevocation(own.device.person.establishment, own.person_id, device_id, reason, time)
    return sign(body, row.identity, row.chain[1:])


async def list_revokes(world: World, kind: str, name: str, reason: Any) -> None:
    """The establishment revokes a person of this name, or the device of an id in hexadecimal."""
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
        if kind == "person":
            await issuer.revoke((await issuer.find(name)).account, reason)
        else:
            await issuer.revoke_device(bytes.fromhex(name), reason)
        await issuer.publish()


async def aged(world: World, who: str, days: int) -> bytes:
    """Somebody's device certificate was made so long ago; that certificate."""
    async with await Vault.open(world.vault(who), PASSPHRASE) as vault:
        row = await vault.read(read_device)
        assert row is not None
        then = int(time.time()) - days * 86400
        old = make_device(row.identity, row.chain[1], row.key.public, now=then)
        await vault.write(lambda db: write_chain(db, (old, *row.chain[1:])))
    return old
