"""Reading a stored group back (`group_entries` writes it): what does not fit together is refused.

A store may be damaged, of another version, or hold entries of something else. Whatever it holds,
reading costs O(entries) and ends in a value or in a CodecError. Public parts that were altered are
always found (tree hash, transcript, keys of the own path); of secrets, lengths are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from ..secret import Secret
from .ciphersuite import CipherSuite, SignatureKeyPair, suite
from .codec import Reader
from .credential import read_credential
from .epoch import PAST_EPOCHS, Member, PastEpoch
from .errors import CodecError, UsageError
from .group import Group
from .group_context import GroupContext
from .group_entries import KEYS, PAST, PROPOSAL, TREE
from .key_schedule import EpochSecrets, InitSecret
from .node import Node, read_node
from .pending import PendingProposal
from .private_tree import PrivateTree
from .proposal import ReInit, Update
from .ratchet_tree import RatchetTree
from .secret_tree import SecretTree
from .stored import fixed, number, read_stored
from .transcript_hash import interim_transcript_hash, tag_is_valid

_LARGEST_FIRST = 1 << 21
"""Leaves of the largest tree that is read from version 1, which did not tell its width."""

T = TypeVar("T")


class _Store:
    """The entries by kind; each must be asked for."""

    def __init__(self, entries: Mapping[str, bytes]) -> None:
        self._single: dict[str, bytes] = {}
        self._several: dict[str, dict[int, bytes]] = {TREE: {}, PAST: {}}
        self._by_epoch: dict[str, dict[int, dict[str, bytes]]] = {KEYS: {}, PROPOSAL: {}}
        for name, data in entries.items():
            if not isinstance(data, bytes):
                # Most likely a None of `changes`, which says that the entry is to be deleted.
                raise CodecError(f"a stored entry is not bytes: {name[:40]!a}")
            kind, slash, rest = name.partition("/")
            kind += slash
            if kind in self._several:
                self._several[kind][number(rest)] = data
            elif kind in self._by_epoch:
                epoch, _, inner = rest.partition("/")
                self._by_epoch[kind].setdefault(number(epoch), {})[inner] = data
            else:
                self._single[name] = data

    def one(
        self,
        name: str,
        read: Callable[[Reader], T],
        first: Callable[[Reader], T] | None = None,
    ) -> T:
        data = self._single.pop(name, None)
        if data is None:
            raise CodecError(f"the entry {name} is missing")
        return read_stored(data, read, f"the entry {name}", first)

    def has(self, name: str) -> bool:
        return name in self._single

    def numbered(
        self,
        kind: str,
        read: Callable[[Reader], T],
        first: Callable[[Reader], T] | None = None,
    ) -> dict[int, T]:
        """All entries `kind/N`, by N."""
        found = sorted(self._several.pop(kind).items())
        return {at: read_stored(data, read, f"the entry {kind}{at}", first) for at, data in found}

    def of_epoch(self, kind: str, epoch: int) -> dict[str, bytes]:
        """All entries `kind/E/…`, by what follows."""
        return self._by_epoch[kind].pop(epoch, {})

    def finish(self) -> None:
        """Raises CodecError for entries that belong to nothing, such as those of epochs not kept."""
        left = [*self._single, *(kind for kind in self._several if self._several[kind])]
        left += [kind for kind in self._by_epoch if self._by_epoch[kind]]
        if left:
            raise CodecError(f"a stored entry belongs to nothing: {left[0][:40]!a}")


def group_from(entries: Mapping[str, bytes], signer: SignatureKeyPair) -> Group:
    """Read a group from all of its entries.

    Raises:
        CodecError: they are damaged, incomplete, of another version, or too many.
        UnsupportedError: the group's suite is none of ours.
        UsageError: the signature key is not the one of the own leaf.

    """
    store = _Store(entries)
    head = store.one("group", _Head.read, _Head.read_first)
    kind = suite(head.context.cipher_suite)
    tree = _tree(head, store.numbered(TREE, read_node))
    group = _group(store, head, kind, tree, signer)
    past = _past_epochs(store, kind, head.context)
    store.finish()
    group = replace(group, past=past)
    _check(group)
    return group


def group_after(current: Group, changes: Mapping[str, bytes | None]) -> Group:
    """The next epoch, from the value before it and the stored changes of an own commit.

    Raises:
        CodecError: they are damaged, or not those of a commit in this epoch.

    """
    given = {name: data for name, data in changes.items() if data is not None}
    gone = [name for name, data in changes.items() if data is None]
    own = {
        name: data
        for name, data in given.items()
        # Keys of epochs that are known already come from `current`, which has used some since.
        if not name.startswith(KEYS) or name.startswith(f"{KEYS}{current.epoch + 1}/")
    }
    store = _Store(own)
    head = store.one("group", _Head.read)
    if head.context.epoch != current.epoch + 1 or head.context.group_id != current.group_id:
        raise CodecError("these changes do not follow this epoch")
    nodes = {at: node for at in range(current.tree.width) if (node := current.tree.node(at))}
    for name in gone:
        if name.startswith(TREE):
            nodes.pop(number(name.removeprefix(TREE)), None)
    nodes.update(store.numbered(TREE, read_node))
    group = _group(
        store,
        head,
        current.suite,
        _tree(head, nodes),
        current.signer,
        None if store.has("private") else current.private_tree,
    )
    if head.own_leaf != current.own_leaf:
        raise CodecError("these changes are another member's")
    secret_tree, _ = current.secret_tree.without_leaf(current.own_leaf)
    last = _past_epochs(store, current.suite, head.context, {current.epoch: secret_tree})
    store.finish()
    kept = current.past[-(PAST_EPOCHS - 1) :]
    if [past.context for past in last] != [current.context]:
        raise CodecError("these changes do not follow this epoch")
    group = replace(group, past=(*kept, *last))
    _check(group)
    return group


@dataclass(frozen=True, slots=True)
class _Head:
    """The entry `group`; version 1 did not tell the number of leaves."""

    context: GroupContext
    own_leaf: int
    leaf_count: int | None
    interim: bytes
    tag: bytes
    reinit: ReInit | None

    @classmethod
    def read(cls, r: Reader) -> _Head:
        context, own_leaf, leaf_count = GroupContext.read(r), r.u32(), r.u32()
        return cls(context, own_leaf, leaf_count, r.opaque(), r.opaque(), r.optional(ReInit.read))

    @classmethod
    def read_first(cls, r: Reader) -> _Head:
        context, own_leaf = GroupContext.read(r), r.u32()
        return cls(context, own_leaf, None, r.opaque(), r.opaque(), r.optional(ReInit.read))


def _group(
    store: _Store,
    head: _Head,
    kind: CipherSuite,
    tree: RatchetTree,
    signer: SignatureKeyPair,
    private_tree: PrivateTree | None = None,
) -> Group:
    epoch = head.context.epoch
    return Group(
        suite=kind,
        context=head.context,
        tree=tree,
        own_leaf=head.own_leaf,
        signer=signer,
        private_tree=private_tree or store.one("private", PrivateTree.read),
        secrets=store.one("secrets", lambda r: _read_secrets(r, kind.hash_size)),
        secret_tree=SecretTree.from_entries(kind, tree.leaf_count, store.of_epoch(KEYS, epoch)),
        interim_transcript_hash=head.interim,
        confirmation_tag=head.tag,
        proposals=_proposals(kind, store.of_epoch(PROPOSAL, epoch)),
        reinit=head.reinit,
    )


def _tree(head: _Head, nodes: dict[int, Node]) -> RatchetTree:
    # Before anything is laid out by its number: one name could ask for all memory.
    leaf_count = _LARGEST_FIRST if head.leaf_count is None else head.leaf_count
    if not nodes or max(nodes) > 2 * leaf_count - 2:
        raise CodecError("the stored tree does not have its width")
    tree = RatchetTree.from_nodes(nodes)
    if head.leaf_count is not None and tree.leaf_count != head.leaf_count:
        raise CodecError("the stored tree does not have its width")
    return tree


def _proposals(kind: CipherSuite, entries: Mapping[str, bytes]) -> tuple[PendingProposal, ...]:
    found = []
    for position, name in enumerate(sorted(entries)):
        if name != f"{position:06}":
            raise CodecError("a stored proposal is missing, or one too many is there")
        pending = read_stored(entries[name], PendingProposal.read, "a pending proposal")
        proposal, key = pending.proposal, pending.leaf_key
        if pending.reference != pending.signed.proposal_ref(kind):
            raise CodecError("a stored proposal is not the one that was referred to")
        if key is not None and not (
            isinstance(proposal, Update) and proposal.leaf_node.encryption_key == key.public
        ):
            raise CodecError("a stored proposal does not fit its key")
        found.append(pending)
    return tuple(found)


def _read_secrets(r: Reader, size: int) -> EpochSecrets:
    init = InitSecret(fixed(r.opaque(), size))
    return EpochSecrets(init, *(fixed(r.opaque(), size) for _ in range(7)))


# --- past epochs --------------------------------------------------------------------------------


def _past_epochs(
    store: _Store,
    kind: CipherSuite,
    now: GroupContext,
    keys: Mapping[int, SecretTree] | None = None,
) -> tuple[PastEpoch, ...]:
    epochs = []
    size = kind.hash_size
    found = store.numbered(
        PAST, lambda r: _read_past(r, size), lambda r: _read_past(r, size, first=True)
    )
    for epoch, read in found.items():
        context, sender_data, psk, leaf_count, replaced, ended = read
        if context.epoch != epoch or epoch >= now.epoch or context.group_id != now.group_id:
            raise CodecError("a stored past epoch is not the one it says")
        tree = (keys or {}).get(epoch)
        if tree is None:
            tree = SecretTree.from_entries(kind, leaf_count, store.of_epoch(KEYS, epoch))
        epochs.append(PastEpoch(context, sender_data, psk, tree, replaced, ended))
    return tuple(epochs)


def _read_past(
    r: Reader, size: int, *, first: bool = False
) -> tuple[GroupContext, Secret, Secret, int, dict[int, Member | None], int | None]:
    context = GroupContext.read(r)
    sender_data, psk = fixed(r.opaque(), size), fixed(r.opaque(), size)
    leaf_count, replaced = r.u32(), dict(r.vector(_read_replaced))
    ended = None if first else r.optional(Reader.u64)  # version 1 did not tell
    return context, sender_data, psk, leaf_count, replaced, ended


def _read_replaced(r: Reader) -> tuple[int, Member | None]:
    leaf = r.u32()

    def read_member(r: Reader) -> Member:
        signature_key = r.opaque()
        return Member(leaf, read_credential(r), signature_key)

    return leaf, r.optional(read_member)


# --- what must fit together ---------------------------------------------------------------------


def _check(group: Group) -> None:
    """Raises CodecError, or UsageError for another member's signature key."""
    kind, context, private = group.suite, group.context, group.private_tree
    leaf = group.tree.leaf(group.own_leaf)
    if leaf is None or private.leaf != group.own_leaf:
        raise CodecError("the stored group has no own leaf")
    for index, pair in ((2 * private.leaf, private.leaf_key), *private.path_keys.items()):
        node = group.tree.node(index)
        if node is None or node.encryption_key != pair.public:
            raise CodecError("the stored private keys are not those of the tree")
        fixed(pair.private, kind.kem.private_size)
    if group.tree.tree_hash(kind) != context.tree_hash:
        raise CodecError("the stored tree is not that of the epoch")
    confirmed, tag = context.confirmed_transcript_hash, group.confirmation_tag
    if not tag_is_valid(kind, group.secrets.confirmation_key, confirmed, tag):
        raise CodecError("the stored secrets are not those of the epoch")
    if interim_transcript_hash(kind, confirmed, tag) != group.interim_transcript_hash:
        raise CodecError("the stored transcript is not that of the epoch")
    if leaf.signature_key != group.signer.public:
        raise UsageError("this is not the signature key of the group's own leaf")
