"""The secret tree and the senders' ratchets (RFC 9420 §9).

The tree is a value that shares what it can: taking a key copies the path from the root to one
leaf and nothing else. Each operation also says which stored entries change (`Entries`). The first
message of a sender splits nodes, whose secrets go while those of their other children come: 6 levels
at most, since a new epoch splits all above subtrees of 64 leaves. So a message changes at most 9
small entries whatever the size of the group, and later ones of a sender change one. What was
consumed is in no value returned (§9.2).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

from ..secret import Secret
from .ciphersuite import CipherSuite
from .codec import Reader, Writer, varint
from .errors import CodecError, GenerationError, UsageError
from .labels import derive_secret, derive_tree_secret, kdf_label
from .quick import quick
from .stored import VERSION, fixed, number, read_stored, stored

MAX_SKIPPED = 128
"""Keys of overtaken messages kept for one ratchet; the oldest go first."""
MAX_FORWARD = 1024
"""How far a message may be ahead of the last one of its sender."""
SUBTREE = 64
"""Leaves of the largest subtree that a new epoch leaves unsplit: bounds what a first message changes."""
LAST_GENERATION = 0xFFFFFFFF
"""Never used: stepping past it would overflow, reaching it takes billions of derivations."""

Entries = dict[str, bytes | None]


class RatchetKind(Enum):
    """The two ratchets of a leaf."""

    HANDSHAKE = "handshake"
    APPLICATION = "application"

    def __init__(self, text: str) -> None:
        # As `value`, which costs a call of a descriptor for each name of an entry.
        self.text = text


class MessageKey(NamedTuple):
    """Key and nonce of one message; used once and then forgotten."""

    generation: int
    key: Secret
    nonce: Secret


class Ratchet(NamedTuple):
    """One sender's hash ratchet (§9.1): the secret of the next generation and overtaken keys."""

    generation: int
    secret: Secret
    skipped: tuple[MessageKey, ...] = ()

    def step(self, suite: CipherSuite) -> tuple[MessageKey, Ratchet]:
        """The next unused key, and the ratchet after it."""
        if self.generation >= LAST_GENERATION:
            raise UsageError("the ratchet is used up: commit first", "sender-generation", "§9.1")
        key = _message_key(suite, self.secret, self.generation)
        return key, Ratchet(self.generation + 1, self._following(suite), self.skipped)

    def take(self, suite: CipherSuite, generation: int) -> tuple[MessageKey, Ratchet]:
        """The key of a received generation, and the ratchet without it.

        Raises:
            GenerationError: used before, overtaken by more than MAX_SKIPPED others, or more than
                MAX_FORWARD ahead.

        """
        if generation >= LAST_GENERATION:
            raise GenerationError("generation-last", "§9.2")
        if generation < self.generation:
            return self._take_skipped(generation)
        if generation - self.generation > MAX_FORWARD:
            raise GenerationError("generation-ahead", "§15.3")
        ratchet = self
        passed: list[MessageKey] = []
        while ratchet.generation < generation:
            if generation - ratchet.generation <= MAX_SKIPPED:
                passed.append(_message_key(suite, ratchet.secret, ratchet.generation))
            ratchet = Ratchet(ratchet.generation + 1, ratchet._following(suite))
        key, ratchet = ratchet.step(suite)
        skipped = (*self.skipped, *passed)[-MAX_SKIPPED:] if passed else self.skipped
        return key, Ratchet(ratchet.generation, ratchet.secret, skipped)

    def _following(self, suite: CipherSuite) -> Secret:
        return derive_tree_secret(suite, self.secret, "secret", self.generation, suite.hash_size)

    def _take_skipped(self, generation: int) -> tuple[MessageKey, Ratchet]:
        for position, key in enumerate(self.skipped):
            if key.generation == generation:
                rest = self.skipped[:position] + self.skipped[position + 1 :]
                return key, Ratchet(self.generation, self.secret, rest)
        raise GenerationError("generation-used", "§9.2")

    def encode(self) -> Secret:
        """The ratchet's stored entry, without the overtaken keys."""
        generation, length = self.generation.to_bytes(4, "big"), varint(len(self.secret))
        return Secret(b"".join((VERSION, generation, length, self.secret)))

    def encode_skipped(self) -> Secret | None:
        """The stored entry of the overtaken keys; None when there are none."""
        if not self.skipped:
            return None
        return stored(lambda w: w.vector(self.skipped, _write_key))

    @classmethod
    def decode(cls, suite: CipherSuite, data: bytes, skipped: bytes | None) -> Ratchet:
        """Read the entries back. Raises CodecError."""
        ratchet = read_stored(data, lambda r: cls._read(r, suite), "a ratchet")
        if skipped is None:
            return ratchet

        def read_keys(r: Reader) -> tuple[MessageKey, ...]:
            return r.vector(lambda r: _read_key(r, suite))

        keys = read_stored(skipped, read_keys, "overtaken keys")
        # In the order of their generations, all before the ratchet's own: windows rely on it.
        numbers = [key.generation for key in keys]
        if not numbers or numbers != sorted(set(numbers)) or numbers[-1] >= ratchet.generation:
            raise CodecError("stored keys are out of order")
        return Ratchet(ratchet.generation, ratchet.secret, keys)

    @classmethod
    def _read(cls, r: Reader, suite: CipherSuite) -> Ratchet:
        return cls(r.u32(), fixed(r.opaque(), suite.hash_size))


def _message_key(suite: CipherSuite, secret: bytes, generation: int) -> MessageKey:
    return MessageKey(
        generation,
        derive_tree_secret(suite, secret, "key", generation, suite.key_size),
        derive_tree_secret(suite, secret, "nonce", generation, suite.nonce_size),
    )


def _write_key(w: Writer, key: MessageKey) -> None:
    w.u32(key.generation)
    w.opaque(key.key)
    w.opaque(key.nonce)


def _read_key(r: Reader, suite: CipherSuite) -> MessageKey:
    generation, key, nonce = r.u32(), r.opaque(), r.opaque()
    return MessageKey(generation, fixed(key, suite.key_size), fixed(nonce, suite.nonce_size))


class _Split(NamedTuple):
    left: _Node
    right: _Node


class _Leaf(NamedTuple):
    handshake: Ratchet
    application: Ratchet

    def ratchet(self, kind: RatchetKind) -> Ratchet:
        return self.handshake if kind is RatchetKind.HANDSHAKE else self.application

    def with_ratchet(self, kind: RatchetKind, ratchet: Ratchet) -> _Leaf:
        if kind is RatchetKind.HANDSHAKE:
            return _Leaf(ratchet, self.application)
        return _Leaf(self.handshake, ratchet)


_Node: TypeAlias = "Secret | _Split | _Leaf | None"
"""A subtree: not split yet (its secret), split, a leaf in use, or forgotten."""


@quick
@dataclass(frozen=True, slots=True)
class SecretTree:
    """The message keys of one epoch; `leaf_count` is a power of two."""

    leaf_count: int
    root: _Node

    @classmethod
    def create(cls, encryption_secret: bytes, leaf_count: int) -> SecretTree:
        """The unsplit tree of a new epoch over the ratchet tree's width."""
        if leaf_count < 1 or leaf_count & (leaf_count - 1):
            raise UsageError("a tree's width is a power of two")
        return cls(leaf_count, Secret(encryption_secret))

    def divided(self, suite: CipherSuite) -> SecretTree:
        """Split down to subtrees of SUBTREE leaves."""
        return SecretTree(self.leaf_count, _divided(suite, self.root, self.leaf_count))

    def next_key(
        self, suite: CipherSuite, leaf: int, kind: RatchetKind
    ) -> tuple[MessageKey, SecretTree, Entries]:
        """The next key to send with, the tree after it, and the entries that change."""
        return self._use(suite, leaf, kind, lambda ratchet: ratchet.step(suite))

    def open_key(
        self, suite: CipherSuite, leaf: int, kind: RatchetKind, generation: int
    ) -> tuple[MessageKey, SecretTree, Entries]:
        """The key of a received message, the tree without it, and the entries that change.

        Raises:
            GenerationError: the generation is outside the windows or was used.

        """
        if generation >= LAST_GENERATION:
            raise GenerationError("generation-last", "§9.2")
        return self._use(suite, leaf, kind, lambda ratchet: ratchet.take(suite, generation))

    def _use(
        self,
        suite: CipherSuite,
        leaf: int,
        kind: RatchetKind,
        advance: Callable[[Ratchet], tuple[MessageKey, Ratchet]],
    ) -> tuple[MessageKey, SecretTree, Entries]:
        if not 0 <= leaf < self.leaf_count:
            raise GenerationError("sender-leaf", "§6.3.2")
        changes: Entries = {}
        state, siblings = self._opened(suite, leaf, changes)
        before = state.ratchet(kind)
        key, after = advance(before)
        changes[_name("ratchet", leaf, kind)] = after.encode()
        if after.skipped is not before.skipped:
            changes[_name("skipped", leaf, kind)] = after.encode_skipped()
        node: _Node = state.with_ratchet(kind, after)
        for level, sibling in enumerate(reversed(siblings)):
            node = _Split(sibling, node) if leaf >> level & 1 else _Split(node, sibling)
        return key, SecretTree(self.leaf_count, node), changes

    def _opened(self, suite: CipherSuite, leaf: int, changes: Entries) -> tuple[_Leaf, list[_Node]]:
        """The ratchets of a leaf, and what stands beside the way to them, the root's side first.

        Splits what is not split yet. Only the topmost such secret is in the store; those below it
        are made and split at once.
        """
        node, low, size = self.root, 0, self.leaf_count
        siblings: list[_Node] = []
        if isinstance(node, Secret):
            changes[_node_name(low, size)] = None
        while size > 1:
            size //= 2
            goes_left = leaf < low + size
            if isinstance(node, _Split):
                left, right = node
                if isinstance(left if goes_left else right, Secret):
                    changes[_node_name(low if goes_left else low + size, size)] = None
            elif isinstance(node, Secret):
                left, right = _split(suite, node)
                if goes_left:
                    changes[_node_name(low + size, size)] = _encode_secret(right)
                else:
                    changes[_node_name(low, size)] = _encode_secret(left)
            else:
                raise GenerationError("sender-forgotten", "§9.2")
            node = left if goes_left else right
            siblings.append(right if goes_left else left)
            low = low if goes_left else low + size
        if isinstance(node, Secret):
            node = _start(suite, node)
            for kind in RatchetKind:
                changes[_name("ratchet", leaf, kind)] = node.ratchet(kind).encode()
        if not isinstance(node, _Leaf):
            raise GenerationError("sender-forgotten", "§9.2")
        return node, siblings

    def without_leaf(self, leaf: int) -> tuple[SecretTree, Entries]:
        """Forget the ratchets of a leaf in use (one's own, once its epoch is past)."""
        changes: Entries = {}
        root = _forgotten(self.root, 0, self.leaf_count, leaf, changes)
        return (SecretTree(self.leaf_count, root) if changes else self), changes

    def entries(self) -> dict[str, bytes]:
        """Everything to store, by name."""
        return dict(_entries(self.root, 0, self.leaf_count))

    def changes_from(self, before: SecretTree | None) -> Entries:
        """What turns the entries of `before`, a tree of the same epoch, into these."""
        changes: Entries = {}
        if before is None:
            changes.update(self.entries())
        else:
            _compare(before.root, self.root, 0, self.leaf_count, changes)
        return changes

    @classmethod
    def from_entries(
        cls, suite: CipherSuite, leaf_count: int, entries: Mapping[str, bytes]
    ) -> SecretTree:
        """Read `entries` back, in O(entries). Raises CodecError."""
        if leaf_count < 1 or leaf_count & (leaf_count - 1):
            raise CodecError("a stored tree's width is no power of two")
        subtrees = _read_subtrees(suite, entries)
        places = sorted(subtrees)
        if places and places[-1] > 2 * leaf_count - 2:
            raise CodecError("a stored key is outside of its tree")
        return cls(leaf_count, _build(subtrees, places, 0, leaf_count))


def _name(what: str, leaf: int, kind: RatchetKind) -> str:
    return f"{what}/{leaf}/{kind.text}"


def _node_name(low: int, size: int) -> str:
    # The subtree over leaves low … low+size-1 has this number in the array of Appendix C.
    return f"node/{2 * low + size - 1}"


def _encode_secret(secret: Secret) -> Secret:
    return Secret(VERSION + secret)


def _split(suite: CipherSuite, secret: Secret) -> tuple[Secret, Secret]:
    size = suite.hash_size
    return (
        suite.hkdf_expand(secret, kdf_label("tree", b"left", size), size),
        suite.hkdf_expand(secret, kdf_label("tree", b"right", size), size),
    )


def _divided(suite: CipherSuite, node: _Node, size: int) -> _Node:
    if size <= SUBTREE or not isinstance(node, Secret):
        return node
    left, right = _split(suite, node)
    return _Split(_divided(suite, left, size // 2), _divided(suite, right, size // 2))


def _start(suite: CipherSuite, secret: Secret) -> _Leaf:
    handshake = derive_secret(suite, secret, "handshake")
    application = derive_secret(suite, secret, "application")
    return _Leaf(Ratchet(0, handshake), Ratchet(0, application))


def _forgotten(node: _Node, low: int, size: int, leaf: int, changes: Entries) -> _Node:
    if isinstance(node, _Leaf):
        for kind in RatchetKind:
            changes[_name("ratchet", leaf, kind)] = None
            if node.ratchet(kind).skipped:
                changes[_name("skipped", leaf, kind)] = None
        return None
    if not isinstance(node, _Split):
        return node
    half = size // 2
    if leaf < low + half:
        return _Split(_forgotten(node.left, low, half, leaf, changes), node.right)
    return _Split(node.left, _forgotten(node.right, low + half, half, leaf, changes))


def _entries(node: _Node, low: int, size: int) -> Iterator[tuple[str, bytes]]:
    if isinstance(node, Secret):
        yield _node_name(low, size), _encode_secret(node)
    elif isinstance(node, _Leaf):
        for kind in RatchetKind:
            ratchet = node.ratchet(kind)
            yield _name("ratchet", low, kind), ratchet.encode()
            skipped = ratchet.encode_skipped()
            if skipped is not None:
                yield _name("skipped", low, kind), skipped
    elif isinstance(node, _Split):
        half = size // 2
        yield from _entries(node.left, low, half)
        yield from _entries(node.right, low + half, half)


def _compare(before: _Node, after: _Node, low: int, size: int, changes: Entries) -> None:
    """Add the changes between two subtrees; parts that they share cost nothing."""
    if before is after:
        return
    if isinstance(before, _Split) and isinstance(after, _Split):
        half = size // 2
        _compare(before.left, after.left, low, half, changes)
        _compare(before.right, after.right, low + half, half, changes)
        return
    old, new = dict(_entries(before, low, size)), dict(_entries(after, low, size))
    changes.update((name, None) for name in old if name not in new)
    changes.update((name, value) for name, value in new.items() if old.get(name) != value)


def _read_subtrees(suite: CipherSuite, entries: Mapping[str, bytes]) -> dict[int, Secret | _Leaf]:
    """Unsplit secrets and leaves in use, by node number (Appendix C)."""
    found: dict[int, Secret | _Leaf] = {}
    in_use: dict[int, dict[str, bytes]] = {}
    for name, data in entries.items():
        what, _, rest = name.partition("/")
        if what == "node":
            secret = read_stored(data, lambda r: Secret(r.bytes(suite.hash_size)), "a tree secret")
            found[number(rest)] = secret
        else:
            leaf, _, kind = rest.partition("/")
            in_use.setdefault(number(leaf), {})[f"{what}/{kind}"] = data
    for leaf_index, parts in in_use.items():
        ratchets = []
        for ratchet_kind in (RatchetKind.HANDSHAKE, RatchetKind.APPLICATION):
            data_of = parts.pop(f"ratchet/{ratchet_kind.value}", None)
            if data_of is None:
                raise CodecError("a stored ratchet is missing")
            skipped = parts.pop(f"skipped/{ratchet_kind.value}", None)
            ratchets.append(Ratchet.decode(suite, data_of, skipped))
        if parts or 2 * leaf_index in found:
            raise CodecError("a stored key belongs to nothing")
        found[2 * leaf_index] = _Leaf(ratchets[0], ratchets[1])
    return found


def _build(
    subtrees: Mapping[int, Secret | _Leaf], places: Sequence[int], low: int, size: int
) -> _Node:
    """The subtree over these leaves from what is stored of it, whose numbers are `places`."""
    if not places:
        return None
    top = 2 * low + size - 1
    if len(places) == 1 and places[0] == top:
        return subtrees[top]
    half = size // 2
    middle = bisect_left(places, top)
    if size == 1 or places[middle : middle + 1] == [top]:
        raise CodecError("a stored key is that of a subtree already split")
    return _Split(
        _build(subtrees, places[:middle], low, half),
        _build(subtrees, places[middle:], low + half, half),
    )
