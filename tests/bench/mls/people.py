"""The members whose operations are measured: ours, and the peer's beside them in the same group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    BasicCredential,
    CipherSuite,
    Committed,
    Group,
    KeyPackage,
    KeyPackageSecrets,
    Lifetime,
    MLSMessage,
    Proposal,
    Remove,
    SignatureKeyPair,
    decode,
    encode,
    generate_key_package,
)
from pli_protocol.mls.private_tree import PrivateTree

from . import peer
from .peer import Peer

# The peer's key packages begin to be valid when they are made, after this.
NOW = int(time.time()) + 1800

T = TypeVar("T")

LIFETIME = Lifetime(NOW - 3600, NOW + 90 * 86_400)


@dataclass(frozen=True)
class Newcomer:
    """Somebody of ours who can be added."""

    package: KeyPackage
    secrets: KeyPackageSecrets
    signer: SignatureKeyPair

    @classmethod
    def make(cls, suite: CipherSuite, name: str) -> Newcomer:
        signer = suite.generate_signature_key()
        credential = BasicCredential(name.encode())
        return cls(*generate_key_package(suite, credential, signer, lifetime=LIFETIME), signer)

    @property
    def encoded(self) -> bytes:
        return encode(MLSMessage(self.package))

    def join(self, welcome: bytes) -> Group:
        """Enter by a Welcome."""
        made = Group.join(
            welcome, self.package, self.secrets, self.signer, identity=ACCEPT_BASIC, now=NOW
        )
        return made.group


def key_package(message: bytes) -> KeyPackage:
    """What an MLSMessage with a key package holds."""
    body = decode(MLSMessage, message).body
    assert isinstance(body, KeyPackage)
    return body


@dataclass
class People:
    """Two of our members and, where there is one, two of the peer's, all in one group.

    `alice` commits and seals, `bob` receives; `peer_alice` and `peer_bob` do the same.
    """

    alice: Group
    bob: Group
    peer_alice: Peer | None
    peer_bob: Peer | None
    join_us: float = 0.0
    peer_join_us: float | None = None

    def receive(self, message: bytes) -> None:
        """Everybody but our alice takes over a commit."""
        self.bob = received(self.bob, message)
        for member in (self.peer_alice, self.peer_bob):
            if member is not None:
                member.process(message)


def received(group: Group, message: bytes) -> Group:
    """The next epoch at a receiver."""
    outcome = group.process(message, identity=ACCEPT_BASIC, now=NOW)
    following: Group = outcome.group  # type: ignore[union-attr]
    return following


def fresh_group(suite: CipherSuite, others: Sequence[Newcomer]) -> People:
    """A group of `others` and the measured members, all of whom were added by one commit.

    Alice sits at leaf 1, bob at the end, a peer beside each: so most paths meet at the root.
    """
    alice, bob, peers = _measured(suite)
    packages = [other.package for other in others[1:]]
    packages[:0] = [alice.package, *(key_package(one.key_package()) for one in peers[:1])]
    packages += [bob.package, *(key_package(one.key_package()) for one in peers[1:])]
    made = _created(suite, others[0]).commit(
        [Add(one) for one in packages], identity=ACCEPT_BASIC, now=NOW
    )
    return _joined(made, alice, bob, peers)


def warm_group(suite: CipherSuite, others: Sequence[Newcomer]) -> People:
    """The same after commits of all members, the measured ones last."""
    alice, bob, peers = _measured(suite)
    stand_ins = [Newcomer.make(suite, f"stand-in {n}") for n in range(1 + len(peers[:1]))]
    creator, *rest = others
    present = [*stand_ins, *rest]
    group = _created(suite, creator)
    adds = [Add(one.package) for one in present]
    group = _committed(group, adds)
    for leaf, member in _spread(list(enumerate(present, 1))):
        group = _committed(_seen_by(group, leaf, member))
    removes = [Remove(leaf) for leaf in range(1, 1 + len(stand_ins))]
    first, last = peers[:1], peers[1:]
    adds = [Add(alice.package), *(Add(key_package(one.key_package())) for one in first)]
    adds += [Add(bob.package), *(Add(key_package(one.key_package())) for one in last)]
    people = _joined(
        group.commit([*removes, *adds], identity=ACCEPT_BASIC, now=NOW), alice, bob, peers
    )
    for position, one in enumerate(peers):
        message = one.update()
        people.alice = received(people.alice, message)
        people.bob = received(people.bob, message)
        one.process(message)
        peers[1 - position].process(message)
    made = people.bob.commit(identity=ACCEPT_BASIC, now=NOW)
    people.alice = received(people.alice, made.message)
    for one in peers:
        one.process(made.message)
    people.bob = made.group.merged(made.sent).group
    made = people.alice.commit(identity=ACCEPT_BASIC, now=NOW)
    people.receive(made.message)
    people.alice = made.group.merged(made.sent).group
    return people


def pairs(suite: CipherSuite) -> People:
    """Two groups of two: ours, and the peer's."""
    alice, bob, peers = _measured(suite)
    made = _created(suite, alice).commit([Add(bob.package)], identity=ACCEPT_BASIC, now=NOW)
    assert made.welcome is not None
    if peers:
        peers[0].create()
        peers[1].join(peers[0].welcoming(peers[1].key_package()))
    own = made.group.merged(made.sent).group
    return People(own, bob.join(made.welcome), *(peers or (None, None)))


def _measured(suite: CipherSuite) -> tuple[Newcomer, Newcomer, list[Peer]]:
    peers = [Peer(b"peer alice"), Peer(b"peer bob")] if peer.available(suite.number) else []
    return Newcomer.make(suite, "alice"), Newcomer.make(suite, "bob"), peers


def _created(suite: CipherSuite, creator: Newcomer) -> Group:
    credential = creator.package.leaf_node.credential
    made = Group.create(suite, peer.GROUP_ID, credential, creator.signer, lifetime=LIFETIME)
    return made.group


def _joined(made: Committed, alice: Newcomer, bob: Newcomer, peers: list[Peer]) -> People:
    assert made.welcome is not None
    begun = time.perf_counter_ns()
    own = alice.join(made.welcome)
    between = time.perf_counter_ns()
    for one in peers:
        one.join(made.welcome)
    ended = time.perf_counter_ns()
    people = People(own, bob.join(made.welcome), *(peers or (None, None)))
    people.join_us = (between - begun) / 1000
    people.peer_join_us = (ended - between) / 2000 if peers else None
    return people


def _committed(group: Group, proposals: Sequence[Proposal] = ()) -> Group:
    made = group.commit(proposals, identity=ACCEPT_BASIC, now=NOW)
    return replace(made.group, past=())


def _seen_by(group: Group, leaf: int, member: Newcomer) -> Group:
    """The epoch as another member has it who knows no key above its leaf: enough to commit."""
    private = PrivateTree.of_leaf(leaf, member.secrets.leaf_key)
    return replace(group, own_leaf=leaf, signer=member.signer, private_tree=private)


def _spread(items: Sequence[T]) -> Iterator[T]:
    """From all over the list, so that the first few commits fill the upper nodes of the tree."""
    bits = len(items).bit_length()
    for number in range(1 << bits):
        position = int(f"{number:0{bits}b}"[::-1], 2)
        if position < len(items):
            yield items[position]
