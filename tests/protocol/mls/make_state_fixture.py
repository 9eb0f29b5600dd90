"""Makes the stored groups that tests read for ever (python -m tests.protocol.mls.make_state_fixture).

Run once per version of the format, never again for the same one: what lies in a vault out there was
written by an old Pli, and no test may forget how it looked. Refuses to overwrite. Those of version 1
were made by this script on the library as it was then, before it knew 0x004E; an own commit that
waited was stored as all `entries` of the next epoch, not as `changes`.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pli_protocol.identity import (
    SigningKey,
    make_authority,
    make_device,
    make_issuer,
    make_person,
)
from pli_protocol.mls import (
    Add,
    Capabilities,
    Committed,
    Extension,
    Group,
    GroupContextExtensions,
    KeyPackage,
    KeyPackageSecrets,
    PreSharedKey,
    PreSharedKeyID,
    ReInit,
    Remove,
    ResumptionPSKUsage,
    SignatureKeyPair,
    X509Credential,
    generate_key_package,
)
from pli_protocol.mls.codec import encode
from pli_protocol.mls.external_senders import ExternalSender, external_senders_extension
from pli_protocol.mls.identity import ACCEPT_ALL
from pli_protocol.mls.stored import FORMAT

from .groups import LIFETIME, NOW, Member

FOLDER = Path(__file__).parent / "data"
SUITES = (0x0001, 0x0003, 0x004E)
APPLICATION_EXTENSION = 0xF005
PSK_ID, PSK = b"agreed at the hospital", bytes(range(32))
EXPORT = ("pli state fixture", b"context", 40)


def file_of(number: int, version: int = FORMAT) -> Path:
    """Where the stored groups of a suite lie."""
    return FOLDER / f"state-v{version}" / f"suite-{number:04x}.json"


def text(data: bytes) -> str:
    return b64encode(data).decode()


def texts(entries: Mapping[str, bytes | None]) -> dict[str, str | None]:
    return {name: None if value is None else text(value) for name, value in entries.items()}


class Person(Member):
    """A member whose leaf supports both credentials and an extension of the application."""

    def certified(self) -> Person:
        """With a chain of certificates in the place of its name."""
        now = NOW - 1000
        root, issuing, identity, device = (SigningKey.generate(self.random) for _ in range(4))
        authority = make_authority("Les Tilleuls", root, now)
        issuer = make_issuer(root, authority, issuing.public, now=now)
        person = make_person(
            issuing,
            issuer,
            account=self.random(16),
            name=self.name,
            profession="Infirmière",
            identity_key=identity.public,
            now=now,
        )
        chain = (make_device(identity, person, device.public, now=now), person, issuer)
        self.signer = SignatureKeyPair(device.public, device.seed)
        self.credential = X509Credential(chain)  # type: ignore[assignment]
        return self

    @property
    def _leaf(self) -> dict[str, Any]:
        capabilities = Capabilities(
            cipher_suites=(self.suite.number,),
            extensions=(APPLICATION_EXTENSION,),
            credentials=(1, 2),
        )
        own = Extension(APPLICATION_EXTENSION, self.name.encode())
        return {"capabilities": capabilities, "leaf_extensions": (own,)}

    def key_package(self) -> tuple[KeyPackage, KeyPackageSecrets]:
        return generate_key_package(
            self.suite,
            self.credential,
            self.signer,
            lifetime=LIFETIME,
            random=self.random,
            **self._leaf,
        )

    def create(self, group_id: bytes = b"group", **more: Any) -> None:
        super().create(group_id, **self._leaf, **more)

    def commit(self, *proposals: Any, **more: Any) -> Committed:
        return super().commit(*proposals, identity=ACCEPT_ALL, **more)

    def process(self, message: bytes, **more: Any) -> Any:
        return super().process(message, identity=ACCEPT_ALL, **more)

    def join(self, welcome: bytes, package: Any, **more: Any) -> None:
        super().join(welcome, package, identity=ACCEPT_ALL, **more)

    def stored_value(self) -> dict[str, Any]:
        """What is kept of this member, and what must come of reading it."""
        assert self.stored == self.group.entries()
        return {"signer": text(self.signer.private), "entries": texts(self.stored)} | {
            "expected": expected(self.group)
        }


def expected(group: Group) -> dict[str, Any]:
    """What tells one value of a group from another."""
    label, context, length = EXPORT
    epochs = [*(past.context.epoch for past in group.past), group.epoch]
    psks = {str(epoch): group.resumption_psk(group.group_id, epoch) or b"" for epoch in epochs}
    return {
        "epoch": group.epoch,
        "own_leaf": int(group.own_leaf),
        "authenticator": text(group.epoch_authenticator),
        "exported": text(group.export_secret(label, context, length)),
        "tree_hash": text(group.context.tree_hash),
        "members": {str(int(m.leaf)): text(m.signature_key) for m in group.members()},
        "resumption_psks": {epoch: text(psk) for epoch, psk in psks.items()},
        "pending": [text(pending.reference) for pending in group.pending_proposals],
        "extension": text(group.extension(APPLICATION_EXTENSION) or b""),
        "reinit": None if group.reinit is None else text(group.reinit.group_id),
    }


def message(sender: Person, content: bytes) -> dict[str, str]:
    return {"message": text(sender.seal(content)), "data": text(content)}


def everybody(made: Committed, committer: Person, *others: Person) -> None:
    committer.merge(made)
    for member in others:
        member.process(made.message)


def life(number: int) -> dict[str, Any]:
    """A group in the middle of its life, as two of its members stored it, and what came for them."""
    names = ("amelie", "bruno", "chloe", "david", "emma", "fanny")
    amelie, bruno, chloe, david, emma, fanny = people = [
        Person(name, number, "state fixture") for name in names
    ]
    amelie.certified()
    david.certified()
    for person in people:
        person.psks[PSK_ID] = PSK
    outside = Member("issuer", number, "state fixture")
    amelie.create(
        b"a group of six",
        extensions=[
            Extension(APPLICATION_EXTENSION, b"of the group"),
            external_senders_extension([ExternalSender(outside.signer.public, outside.credential)]),
        ],
    )
    packages = [person.key_package() for person in people[1:]]
    made = amelie.commit(*(Add(package[0]) for package in packages))
    amelie.merge(made)
    assert made.welcome is not None
    for person, package in zip(people[1:], packages, strict=True):
        person.join(made.welcome, package)

    # Epoch 1: of emma's three messages the last came first. Then a key from outside is mixed in.
    late = [message(emma, b"emma, before she went"), message(emma, b"emma again")]
    amelie.process(emma.seal(b"emma overtakes herself"))
    nonce = amelie.suite.hash_size
    psk = PreSharedKey(PreSharedKeyID.external(PSK_ID, bruno.random(nonce)))
    everybody(bruno.commit(psk), bruno, amelie, chloe, david, emma, fanny)
    # Epoch 2: a message that has not come yet. Then emma leaves, which blanks her path.
    late.append(message(chloe, b"chloe, late"))
    everybody(amelie.commit(Remove(emma.group.own_leaf)), amelie, bruno, chloe, david, fanny)
    # Epoch 3: the extensions change; epoch 4: a fresh path.
    _, senders = amelie.group.context.extensions
    changed = Extension(APPLICATION_EXTENSION, b"changed since")
    extensions = GroupContextExtensions((changed, senders))
    everybody(david.commit(extensions), david, amelie, bruno, chloe, fanny)
    everybody(fanny.commit(), fanny, amelie, bruno, chloe, david)
    # Epoch 5: chloe overtakes herself; amelie has sent something, which bruno has read.
    overtaken = message(chloe, b"chloe, overtaken")
    amelie.process(chloe.seal(b"chloe overtakes herself"))
    bruno.process(amelie.seal(b"from amelie"))
    current = [overtaken, message(chloe, b"chloe goes on"), message(david, b"david begins")]
    quiet = {"amelie": amelie.stored_value(), "bruno": bruno.stored_value()}

    # Three proposals wait, one of them amelie's own Update; she commits, and so does bruno.
    gerard = Person("gerard", number, "state fixture")
    package, secrets = gerard.key_package()
    for proposer, proposal in ((bruno, Add(package)), (chloe, Remove(david.group.own_leaf))):
        proposed = proposer.group.propose(proposal, identity=ACCEPT_ALL, now=NOW)
        proposer.keep(proposed.group, proposed.changes)
        for person in (amelie, bruno, chloe):
            if person is not proposer:
                person.process(proposed.message)
    update = amelie.group.propose_update(random=amelie.random)
    amelie.keep(update.group, update.changes)
    bruno.process(update.message)
    resumed = PreSharedKeyID.resumption(
        ResumptionPSKUsage.APPLICATION, amelie.group.group_id, 3, bruno.random(nonce)
    )
    own = amelie.commit()
    theirs = bruno.commit(PreSharedKey(resumed), PreSharedKey(psk.psk))
    waiting = {"amelie": amelie.stored_value(), "bruno": bruno.stored_value()}
    mine, other = own.group.merged(amelie.group).group, theirs.group.merged(bruno.group).group
    assert own.welcome is not None
    joined = Group.join(
        own.welcome, package, secrets, gerard.signer, identity=ACCEPT_ALL, now=NOW
    ).group
    return {
        "quiet": quiet,
        "late": late,
        "current": current,
        "waiting": waiting,
        "own_commit": {
            "changes": texts(own.changes),
            "message": text(own.message),
            "welcome": text(own.welcome),
            "expected": expected(mine),
        },
        "other_commit": {
            "message": text(theirs.message),
            "authenticator": text(other.epoch_authenticator),
        },
        "newcomer": {
            "signer": text(gerard.signer.private),
            "key_package": text(encode(package)),
            "secrets": text(secrets.encode()),
            "expected": expected(joined),
        },
    }


def ends(number: int) -> dict[str, Any]:
    """A group that was only just created, and one that a ReInit closed."""
    alone = Person("amelie", number, "state fixture, alone")
    alone.create(b"a group of one")
    young = alone.stored_value()
    closed = alone.commit(ReInit(b"the next group", 1, number, ()))
    alone.merge(closed)
    return {"young": young, "closed": alone.stored_value()}


def main() -> None:
    for number in SUITES:
        target = file_of(number)
        if target.exists():
            print(f"{target.name} exists: what was stored once stays as it was", file=sys.stderr)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        content = {"suite": number, "now": NOW, "psk": {text(PSK_ID): text(PSK)}}
        content |= life(number) | ends(number)
        target.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
