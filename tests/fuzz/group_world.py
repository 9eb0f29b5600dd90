"""A group for the fuzzer: three members, everything that can be in a group, and all its messages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    BasicCredential,
    Extension,
    ExternalSender,
    Group,
    GroupContextExtensions,
    KeyPackage,
    KeyPackageSecrets,
    PreSharedKey,
    PreSharedKeyID,
    ReInit,
    Remove,
    RequiredCapabilities,
    ResumptionPSKUsage,
    SignatureKeyPair,
    WireFormat,
    decode,
    external_senders_extension,
    required_capabilities_extension,
)
from pli_protocol.mls.message import MLSMessage
from tests.protocol.mls.groups import NOW, Member, party

PSKS = {b"shared": bytes(32)}
PUBLIC, PRIVATE = WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE


@dataclass(frozen=True)
class World:
    """A group as bob has it, who else is there, and messages that bob would take."""

    alice: Member
    bob: Member
    carol: Member
    outsider: SignatureKeyPair
    """An external sender."""
    dave: Member
    package: tuple[KeyPackage, KeyPackageSecrets]
    """Dave's, who is invited by the Welcome."""
    bob_before: Group
    """Bob's value in the epoch before, when there were pending proposals."""
    messages: dict[str, bytes]
    welcome: bytes
    group_info: bytes

    def process(self, message: bytes) -> Group | None:
        """What bob makes of a message: the next value, if there is one."""
        outcome = self.bob.group.process(message, identity=ACCEPT_BASIC, now=NOW, psks=PSKS)
        return getattr(outcome, "group", None)


@cache
def world() -> World:
    """The same world in every run."""
    suite_of = Member("suite").suite
    outsider = suite_of.generate_signature_key(Member("outsider").random)
    senders = external_senders_extension(
        [ExternalSender(outsider.public, BasicCredential(b"outsider"))]
    )
    required = required_capabilities_extension(RequiredCapabilities((), (), (1,)))
    alice, bob, carol, erin = party("alice", "bob", "carol", "erin", extensions=[senders, required])
    for member in (alice, bob, carol):
        member.psks.update(PSKS)
    messages: dict[str, bytes] = {"late application": alice.seal(b"late")}
    # Erin goes, so that there is a blank leaf; bob's own update is pending when alice commits.
    update = bob.group.propose_update(random=bob.random)
    bob.keep(update.group, update.changes)
    alice.process(update.message)
    carol.process(update.message)
    bob_before = bob.group
    made = alice.commit(Remove(erin.group.own_leaf))
    messages["commit of references"] = made.message
    alice.merge(made)
    bob.process(made.message)
    carol.process(made.message)
    messages["application"] = alice.seal(b"text", padding=7)
    dave = Member("dave")
    package = dave.key_package()
    proposals = {
        "add": Add(package[0]),
        "remove": Remove(carol.group.own_leaf),
        "psk": PreSharedKey(PreSharedKeyID.external(b"shared", bytes(32))),
        "resumption": PreSharedKey(
            PreSharedKeyID.resumption(
                ResumptionPSKUsage.APPLICATION, b"group", bob.group.epoch, bytes(32)
            )
        ),
        "reinit": ReInit(b"next", 1, 3, (Extension(0xFF00, b"x"),)),
        "extensions": GroupContextExtensions((senders,)),
    }
    for wire in (PUBLIC, PRIVATE):
        for name, proposal in proposals.items():
            sent = alice.group.propose(proposal, wire_format=wire, random=alice.random)
            messages[f"propose {name} {wire.name}"] = sent.message
            made = alice.group.commit(
                [proposal],
                wire_format=wire,
                identity=ACCEPT_BASIC,
                now=NOW,
                psks=PSKS,
                random=alice.random,
            )
            messages[f"commit {name} {wire.name}"] = made.message
            if made.welcome is not None:
                welcome = made.welcome
        own = alice.group.propose_update(wire_format=wire, random=alice.random)
        messages[f"propose update {wire.name}"] = own.message
    group_info = alice.group.group_info(random=alice.random)
    joined = Member("frank").join_external(group_info, psks=PSKS, psk_ids=[b"shared"])
    messages["external commit"] = joined
    resynced = carol.group.join_external(
        group_info,
        carol.credential,
        carol.signer,
        resync=True,
        identity=ACCEPT_BASIC,
        now=NOW,
        random=carol.random,
    )
    messages["resync"] = resynced.message
    for message in messages.values():
        decode(MLSMessage, message)
    return World(
        alice,
        bob,
        carol,
        outsider,
        dave,
        package,
        bob_before,
        messages,
        welcome,
        group_info,
    )
