"""The deletion schedule (RFC 9420 §9.2): what was used is in no value, cache or entry any more.

Every derivation is watched while something is done; then all that can be reached from the new value,
from the library's modules and from the stored entries is searched for what was used up by it.
"""

from __future__ import annotations

import gc
import hmac
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any
from unittest.mock import patch

import pytest

from pli_protocol.mls import (
    PAST_EPOCHS,
    SUITES,
    Add,
    KEMKeyPair,
    PreSharedKey,
    PreSharedKeyID,
    Remove,
    WireFormat,
)
from pli_protocol.mls.codec import Reader
from pli_protocol.mls.errors import CodecError

from .groups import Member, deliver, party

numbers = pytest.mark.parametrize("number", SUITES)


# What can be reached


def reachable(*roots: object) -> Iterator[object]:
    """Every object that can be reached from these; of functions what they enclose, no classes."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, type | ModuleType):
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, FunctionType):
            waiting += [found.__closure__, found.__defaults__, found.__kwdefaults__]
        else:
            waiting += gc.get_referents(found)


def kept_by_modules() -> list[object]:
    """What the library's modules hold: tables, and caches if there are any."""
    modules = [module for name, module in sys.modules.items() if name.startswith("pli_protocol")]
    return [value for module in modules for value in vars(module).values()]


class Memory:
    """All bytes that a member still has: its value, its entries, the modules' caches."""

    def __init__(self, member: Member) -> None:
        objects = list(reachable(member.group, *kept_by_modules(), member.stored))
        self._ids = {id(found) for found in objects}
        texts = [bytes(found) for found in objects if isinstance(found, bytes | bytearray)]
        texts += member.group.entries().values()
        self._all = b"|".join(texts)

    def has(self, secret: bytes) -> bool:
        return bytes(secret) in self._all

    def has_pair(self, pair: KEMKeyPair) -> bool:
        """The private key, or what the KEM made of it."""
        expanded = pair.expanded is not None and id(pair.expanded) in self._ids
        return expanded or self.has(pair.private)


# What was used

_USED_INPUTS = frozenset(
    (
        *("key", "nonce", "secret", "tree", "handshake", "application"),
        *("joiner", "epoch", "welcome", "init", "path", "node"),
    )
)
_USED_OUTPUTS = frozenset(("joiner", "epoch", "welcome", "path", "node", "derived psk"))


@dataclass
class Watched:
    """The derivations of one operation: label, secret that went in, secret that came out."""

    derived: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    extracted: list[tuple[bytes, bytes]] = field(default_factory=list)

    def inputs(self, *labels: str) -> set[bytes]:
        return {before for label, before, _ in self.derived if label in labels}

    def outputs(self, *labels: str) -> set[bytes]:
        return {after for label, _, after in self.derived if label in labels}

    def used_up(self, member: Member) -> set[bytes]:
        """What §9.2 wants deleted, whatever the operation was."""
        found = self.inputs(*_USED_INPUTS) | self.outputs(*_USED_OUTPUTS) | self._psk_secrets()
        # Table 4's secrets, which every message of the epoch is opened with, stay with it.
        group = member.group
        kept = {bytes(group.secrets.sender_data_secret)}
        return found - kept - {bytes(past.sender_data_secret) for past in group.past}

    def _psk_secrets(self) -> set[bytes]:
        """What was extracted with a joiner_secret, where there was a pre-shared key (§8)."""
        joiners = self.outputs("joiner") | {key for key, _ in self.extracted if len(key) >= 32}
        members = self.inputs("epoch")
        digest = {32: "sha256", 48: "sha384"}
        return {
            secret
            for key, secret in self.extracted
            if key in joiners
            and any(secret)
            and hmac.digest(key, secret, digest[len(key)]) in members
        }


def _label(info: bytes) -> str | None:
    """The label of an ExpandWithLabel, from its KDFLabel."""
    r = Reader(info)
    try:
        r.u16()
        name = r.opaque()
        r.opaque()
    except CodecError:
        return None
    return name[8:].decode() if name.startswith(b"MLS 1.0 ") else None


@contextmanager
def watched() -> Iterator[Watched]:
    """Watch the KDF: all of it is HMAC."""
    found, digest = Watched(), hmac.digest

    def watching(key: bytes, message: bytes, name: str) -> bytes:
        result = digest(key, message, name)
        label = _label(message[:-1]) if message.endswith(b"\x01") else None
        if label is None:
            found.extracted.append((bytes(key), bytes(message)))
        else:
            found.derived.append((label, bytes(key), bytes(result)))
        return result

    with patch.object(hmac, "digest", watching):
        yield found


def assert_forgotten(member: Member, secrets: set[bytes]) -> None:
    memory = Memory(member)
    assert secrets, "nothing was watched"
    left = [secret for secret in secrets if memory.has(secret)]
    assert left == [], f"{len(left)} of {len(secrets)} used secrets can still be reached"


def message_keys(found: Watched, size: int, nonce_size: int) -> set[bytes]:
    """Keys and nonces that were derived, cut to what is used of them."""
    keys = {key[:size] for key in found.outputs("key")}
    return keys | {nonce[:nonce_size] for nonce in found.outputs("nonce")}


# Messages


@numbers
def test_the_keys_of_a_message_are_gone_at_both_ends(number: int) -> None:
    alice, bob, *_ = party("alice", "bob", "carol", number=number)
    with watched() as sealing:
        message = alice.seal(b"text")
    with watched() as opening:
        bob.open(message)
    for member, seen in ((alice, sealing), (bob, opening)):
        suite = member.suite
        # The tree was split from its root, the encryption_secret, down to the leaf.
        assert len(seen.inputs("tree")) >= 2
        assert_forgotten(member, seen.used_up(member))
        assert_forgotten(member, message_keys(seen, suite.key_size, suite.nonce_size))


def test_only_the_overtaken_keys_are_kept_until_they_are_used() -> None:
    alice, bob = party("alice", "bob")
    first, second = alice.seal(b"first"), alice.seal(b"second")
    with watched() as seen:
        bob.open(second)
    # AR0, AR1, K1 and N1 are gone; K0 and N0 are kept, as the example of §9.2 has it.
    assert_forgotten(bob, seen.used_up(bob))
    keys = {key[: bob.suite.key_size] for key in _of_ratchets(seen, "key")}
    memory = Memory(bob)
    assert sorted(memory.has(key) for key in keys) == [False, True]
    bob.open(first)
    assert_forgotten(bob, keys)


def _of_ratchets(seen: Watched, label: str) -> set[bytes]:
    """Outputs that came from a ratchet's secret, not from the sender_data_secret."""
    ratchets = seen.inputs("secret")
    return {after for name, before, after in seen.derived if name == label and before in ratchets}


def test_the_keys_of_a_private_proposal_are_gone() -> None:
    alice, bob, _ = party("alice", "bob", "carol")
    with watched() as sealing:
        made = alice.group.propose(Remove(2), random=alice.random)
        alice.keep(made.group, made.changes)
    with watched() as opening:
        bob.process(made.message)
    for member, seen in ((alice, sealing), (bob, opening)):
        assert_forgotten(member, seen.used_up(member))
        assert_forgotten(member, message_keys(seen, member.suite.key_size, member.suite.nonce_size))


def test_keys_used_while_a_commit_waited_do_not_come_back_with_it() -> None:
    alice, bob = party("alice", "bob")
    message = bob.seal(b"in between")
    made = alice.commit()
    with watched() as seen:
        alice.open(message)
    alice.merge(made)
    assert_forgotten(alice, seen.used_up(alice))


# Epochs


def pairs_of(member: Member) -> list[KEMKeyPair]:
    private = member.group.private_tree
    return [private.leaf_key, *private.path_keys.values()]


@numbers
@pytest.mark.parametrize("wire", [WireFormat.PRIVATE_MESSAGE, WireFormat.PUBLIC_MESSAGE])
def test_an_epoch_leaves_nothing_of_how_it_came_about(number: int, wire: WireFormat) -> None:
    """init_secret, path secrets, commit_secret, joiner_secret, epoch_secret, replaced keys."""
    members = party("alice", "bob", "carol", "dave", number=number)
    alice, *others = members
    for committer in members:  # so that everybody has keys of parent nodes that will be replaced
        deliver(committer.commit(), committer, *(m for m in members if m is not committer))
    before = {member.name: (member.group.secrets, pairs_of(member)) for member in members}
    with watched() as committing:
        made = alice.commit(wire_format=wire)
        alice.merge(made)
    seen = {"alice": committing}
    for member in others:
        with watched() as found:
            member.process(made.message)
        seen[member.name] = found
    for member in members:
        secrets, pairs = before[member.name]
        found = seen[member.name]
        assert len(found.outputs("path")) >= 1
        used = found.used_up(member) | {
            bytes(secrets.init_secret),
            bytes(secrets.exporter_secret),
            bytes(secrets.external_secret),
            bytes(secrets.confirmation_key),
            bytes(secrets.membership_key),
        }
        assert_forgotten(member, used)
        memory = Memory(member)
        still = [pair for pair in pairs if memory.has_pair(pair)]
        current = {pair.public for pair in pairs_of(member)}
        assert {pair.public for pair in still} <= current
    assert not Memory(alice).has_pair(before["alice"][1][0]), "the old leaf key"


def test_the_root_of_the_secret_tree_goes_with_the_first_message_of_an_epoch() -> None:
    alice, bob = party("alice", "bob")
    with watched() as seen:
        deliver(alice.commit(), alice, bob)
    (root,) = seen.outputs("encryption")
    assert Memory(bob).has(root), "needed by whoever speaks first"
    bob.open(alice.seal(b"first"))
    assert_forgotten(bob, {root})
    assert_forgotten(alice, {root})


def test_a_joiner_keeps_nothing_of_its_welcome() -> None:
    """The init key and joiner_secret, path secrets, pre-shared keys and what came of them."""
    alice, bob = party("alice", "bob")
    carol = Member("carol")
    package = carol.key_package()
    for member in (alice, bob, carol):
        member.psks[b"door"] = b"a pre-shared key of no other use"
    psk = PreSharedKey(PreSharedKeyID.external(b"door", bytes(32)))
    with watched() as seen_by_alice:
        made = alice.commit(Add(package[0]), psk)
        alice.merge(made)
    bob.process(made.message)
    assert made.welcome is not None
    with watched() as seen:
        carol.join(made.welcome, package)
    assert len(seen.outputs("path")) >= 1
    used = seen.used_up(carol) | seen_by_alice.outputs("joiner") | {b"a pre-shared key of no other"}
    assert_forgotten(carol, used)
    assert not Memory(carol).has_pair(package[1].init_key)
    assert Memory(carol).has_pair(package[1].leaf_key)
    assert_forgotten(alice, seen_by_alice.used_up(alice) | {b"a pre-shared key of no other"})


def test_an_external_commit_leaves_nothing_of_its_init_secret() -> None:
    alice, bob = party("alice", "bob")
    before = alice.group.secrets
    carol = Member("carol")
    with watched() as joining:
        message = carol.join_external(alice.group.group_info())
    with watched() as receiving:
        alice.process(message)
    assert_forgotten(carol, joining.used_up(carol))
    used = receiving.used_up(alice) | {bytes(before.init_secret), bytes(before.external_secret)}
    assert_forgotten(alice, used)
    assert bob.is_member


def test_the_old_leaf_key_goes_when_ones_update_is_committed() -> None:
    alice, bob = party("alice", "bob")
    old = bob.group.private_tree.leaf_key
    made = bob.group.propose_update(random=bob.random)
    bob.keep(made.group, made.changes)
    new = bob.group.proposals[0].leaf_key
    assert new is not None
    assert Memory(bob).has_pair(old)
    alice.process(made.message)
    deliver(alice.commit(), alice, bob)
    assert not Memory(bob).has_pair(old)
    assert Memory(bob).has_pair(new)
    # An Update that nobody took leaves nothing either.
    made = bob.group.propose_update(random=bob.random)
    bob.keep(made.group, made.changes)
    unused = bob.group.proposals[0].leaf_key
    assert unused is not None
    deliver(alice.commit(), alice, bob)
    assert not Memory(bob).has_pair(unused)


def expire_by_count(alice: Member, bob: Member) -> None:
    for _ in range(PAST_EPOCHS):
        deliver(alice.commit(), alice, bob)


def expire_by_time(alice: Member, bob: Member) -> None:
    from .groups import NOW

    late = NOW + 86_401
    made = alice.commit(now=late)
    alice.merge(made)
    bob.process(made.message, now=late)


def expire_by_hand(alice: Member, bob: Member) -> None:
    for member in (alice, bob):
        changed = member.group.forget_past()
        member.keep(changed.group, changed.changes)


@pytest.mark.parametrize("expire", [expire_by_count, expire_by_time, expire_by_hand])
def test_a_past_epoch_that_expired_is_forgotten(expire: Callable[[Member, Member], None]) -> None:
    alice, bob = party("alice", "bob")
    bob.open(alice.seal(b"so that the tree is split"))
    alice.seal(b"overtaken")
    bob.open(alice.seal(b"overtaking"))
    old = bob.group
    secrets = {bytes(old.secrets.sender_data_secret), bytes(old.secrets.resumption_psk)}
    tree = _secrets_of(old.secret_tree)
    assert len(tree) >= 4
    deliver(alice.commit(), alice, bob)
    assert all(map(Memory(bob).has, secrets)), "kept for what comes late"
    expire(alice, bob)
    assert_forgotten(bob, secrets | tree)


def _secrets_of(value: Any) -> set[bytes]:
    from pli_protocol.secret import Secret

    return {bytes(found) for found in reachable(value) if isinstance(found, Secret)}


def test_the_walk_finds_what_is_there() -> None:
    """Or else everything above would pass."""
    alice, _ = party("alice", "bob")
    memory = Memory(alice)
    for secret in _secrets_of(alice.group.secrets):
        assert memory.has(secret)
    for pair in pairs_of(alice):
        assert memory.has_pair(pair)
    assert not memory.has(b"no such secret")


def test_the_keys_of_blanked_nodes_go_with_them() -> None:
    """The parent of the removed leaf is blank now: its key would open nothing but the past."""
    alice, bob, carol, dave = party("alice", "bob", "carol", "dave")
    deliver(carol.commit(), carol, alice, bob, dave)
    old = carol.group.private_tree.path_keys[5]
    deliver(alice.commit(Remove(dave.group.own_leaf)), alice, bob, carol, dave)
    assert carol.group.tree.node(5) is None
    assert not Memory(carol).has_pair(old)
