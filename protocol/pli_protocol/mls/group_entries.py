"""How a group is stored: named entries, so that a message rewrites only a few small ones.

| entry | holds |
|---|---|
| `group` | context, transcript, own leaf, ReInit: what changes with the epoch |
| `secrets` | the epoch's secrets |
| `private` | the private keys of the own path |
| `tree/N` | node N of the ratchet tree (blank nodes have none) |
| `keys/E/…` | the secret tree of epoch E (see `secret_tree`) |
| `past/E` | what else opens late messages of epoch E |
| `proposal/E/N` | the Nth pending proposal of epoch E |

Every entry begins with a byte that tells its version. Signature keys are in none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from ..secret import Secret
from .ciphersuite import SignatureKeyPair, suite
from .codec import Reader, Writer
from .credential import read_credential, write_credential
from .epoch import Member, PastEpoch
from .errors import CodecError
from .group import Group
from .group_context import GroupContext
from .key_schedule import EpochSecrets, InitSecret
from .node import Node, read_node, write_node
from .pending import PendingProposal
from .private_tree import PrivateTree
from .proposal import ReInit
from .ratchet_tree import RatchetTree
from .secret_tree import SecretTree

_VERSION = 1
_TREE, _KEYS, _PAST, _PROPOSAL = "tree/", "keys/", "past/", "proposal/"

T = TypeVar("T")


def _writer() -> Writer:
    w = Writer()
    w.u8(_VERSION)
    return w


def _reader(entries: Mapping[str, bytes], name: str) -> Reader:
    data = entries.get(name)
    if data is None:
        raise CodecError(f"the entry {name} is missing")
    r = Reader(data)
    version = r.u8()
    if version != _VERSION:
        raise CodecError(f"the entry {name} is of version {version}, not {_VERSION}")
    return r


def entries_of(group: Group) -> dict[str, bytes]:
    """Everything to store of a group."""
    entries = dict(_epoch_entries(group))
    for index in range(group.tree.width):
        node = group.tree.node(index)
        if node is not None:
            entries[f"{_TREE}{index}"] = _encode_node(node)
    for epoch, tree in _secret_trees(group).items():
        entries.update(_prefixed(epoch, tree.entries()))
    return entries


def changes_between(old: Group, new: Group) -> dict[str, bytes | None]:
    """What turns the stored entries of `old` into those of `new`; shared parts are skipped."""
    before, after = dict(_epoch_entries(old)), dict(_epoch_entries(new))
    changes = _difference(before, after)
    if old.tree is not new.tree:
        changes.update(_tree_changes(old.tree, new.tree))
    old_trees, new_trees = _secret_trees(old), _secret_trees(new)
    for epoch in old_trees.keys() | new_trees.keys():
        old_tree, new_tree = old_trees.get(epoch), new_trees.get(epoch)
        if old_tree is not new_tree:
            old_keys = old_tree.entries() if old_tree is not None else {}
            new_keys = new_tree.entries() if new_tree is not None else {}
            changes.update(_prefixed(epoch, _difference(old_keys, new_keys)))
    return changes


def key_changes(epoch: int, changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """The changes of one secret tree under their names in the store."""
    return _prefixed(epoch, changes)


def proposal_entry(epoch: int, position: int, pending: PendingProposal) -> tuple[str, bytes]:
    """Name and content of a pending proposal's entry; names sort in the order of coming."""
    w = _writer()
    pending.write(w)
    return f"{_PROPOSAL}{epoch}/{position:06}", w.getvalue()


def group_from(entries: Mapping[str, bytes], signer: SignatureKeyPair) -> Group:
    """Read `entries_of` back. Raises CodecError when they are damaged or incomplete."""
    r = _reader(entries, "group")
    context, own_leaf = GroupContext.read(r), r.u32()
    interim, tag, reinit = r.opaque(), r.opaque(), r.optional(ReInit.read)
    r.finish()
    tree = _read_tree(entries)
    past = tuple(
        _read_past(entries, int(name.removeprefix(_PAST)))
        for name in entries
        if name.startswith(_PAST)
    )
    return Group(
        suite=suite(context.cipher_suite),
        context=context,
        tree=tree,
        own_leaf=own_leaf,
        signer=signer,
        private_tree=_read_one(entries, "private", PrivateTree.read),
        secrets=_read_one(entries, "secrets", _read_secrets),
        secret_tree=_read_keys(entries, context.epoch, tree.leaf_count),
        interim_transcript_hash=interim,
        confirmation_tag=tag,
        proposals=_read_proposals(entries, context.epoch),
        past=tuple(sorted(past, key=lambda epoch: epoch.context.epoch)),
        reinit=reinit,
    )


def _prefixed(epoch: int, entries: Mapping[str, T]) -> dict[str, T]:
    return {f"{_KEYS}{epoch}/{name}": value for name, value in entries.items()}


def _difference(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> dict[str, bytes | None]:
    changes: dict[str, bytes | None] = {name: None for name in old if name not in new}
    changes.update((name, value) for name, value in new.items() if old.get(name) != value)
    return changes


def _secret_trees(group: Group) -> dict[int, SecretTree]:
    trees = {past.context.epoch: past.secret_tree for past in group.past}
    trees[group.epoch] = group.secret_tree
    return trees


def _epoch_entries(group: Group) -> Iterator[tuple[str, bytes]]:
    """Everything but ratchet tree and secret trees: what does not grow with the group."""
    w = _writer()
    group.context.write(w)
    w.u32(group.own_leaf)
    w.opaque(group.interim_transcript_hash)
    w.opaque(group.confirmation_tag)
    w.optional(group.reinit, lambda w, reinit: reinit.write(w))
    yield "group", w.getvalue()
    w = _writer()
    _write_secrets(w, group.secrets)
    yield "secrets", w.getvalue()
    w = _writer()
    group.private_tree.write(w)
    yield "private", w.getvalue()
    for past in group.past:
        w = _writer()
        _write_past(w, past)
        yield f"{_PAST}{past.context.epoch}", w.getvalue()
    for position, pending in enumerate(group.proposals):
        yield proposal_entry(group.epoch, position, pending)


def _tree_changes(old: RatchetTree, new: RatchetTree) -> dict[str, bytes | None]:
    """Nodes that are not the same object in both trees; equal ones cost a comparison only."""
    changes: dict[str, bytes | None] = {}
    for index in range(max(old.width, new.width)):
        before, after = old.node(index), new.node(index)
        if before is after or before == after:
            continue
        changes[f"{_TREE}{index}"] = None if after is None else _encode_node(after)
    return changes


def _encode_node(node: Node) -> bytes:
    w = _writer()
    write_node(w, node)
    return w.getvalue()


def _read_tree(entries: Mapping[str, bytes]) -> RatchetTree:
    return RatchetTree.from_nodes(
        {
            int(name.removeprefix(_TREE)): _read_one(entries, name, read_node)
            for name in entries
            if name.startswith(_TREE)
        }
    )


def _read_one(entries: Mapping[str, bytes], name: str, read: Callable[[Reader], T]) -> T:
    r = _reader(entries, name)
    value = read(r)
    r.finish()
    return value


def _read_keys(entries: Mapping[str, bytes], epoch: int, leaf_count: int) -> SecretTree:
    prefix = f"{_KEYS}{epoch}/"
    keys = {
        name.removeprefix(prefix): value
        for name, value in entries.items()
        if name.startswith(prefix)
    }
    return SecretTree.from_entries(leaf_count, keys)


def _read_proposals(entries: Mapping[str, bytes], epoch: int) -> tuple[PendingProposal, ...]:
    prefix = f"{_PROPOSAL}{epoch}/"
    names = sorted(name for name in entries if name.startswith(prefix))
    return tuple(_read_one(entries, name, PendingProposal.read) for name in names)


def _write_secrets(w: Writer, secrets: EpochSecrets) -> None:
    for secret in (
        secrets.init_secret,
        secrets.sender_data_secret,
        secrets.exporter_secret,
        secrets.external_secret,
        secrets.confirmation_key,
        secrets.membership_key,
        secrets.resumption_psk,
        secrets.epoch_authenticator,
    ):
        w.opaque(secret)


def _read_secrets(r: Reader) -> EpochSecrets:
    return EpochSecrets(InitSecret(r.opaque()), *(Secret(r.opaque()) for _ in range(7)))


def _write_past(w: Writer, past: PastEpoch) -> None:
    past.context.write(w)
    w.opaque(past.sender_data_secret)
    w.opaque(past.resumption_psk)
    w.u32(past.secret_tree.leaf_count)
    w.vector(sorted(past.replaced.items()), _write_replaced)
    w.optional(past.ended, Writer.u64)


def _read_past(entries: Mapping[str, bytes], epoch: int) -> PastEpoch:
    r = _reader(entries, f"{_PAST}{epoch}")
    context, sender_data, psk = GroupContext.read(r), Secret(r.opaque()), Secret(r.opaque())
    leaf_count = r.u32()
    replaced, ended = dict(r.vector(_read_replaced)), r.optional(Reader.u64)
    r.finish()
    keys = _read_keys(entries, epoch, leaf_count)
    return PastEpoch(context, sender_data, psk, keys, replaced, ended)


def _write_replaced(w: Writer, item: tuple[int, Member | None]) -> None:
    w.u32(item[0])
    w.optional(item[1], _write_member)


def _write_member(w: Writer, member: Member) -> None:
    w.opaque(member.signature_key)
    write_credential(w, member.credential)


def _read_replaced(r: Reader) -> tuple[int, Member | None]:
    leaf = r.u32()

    def read_member(r: Reader) -> Member:
        signature_key = r.opaque()
        return Member(leaf, read_credential(r), signature_key)

    return leaf, r.optional(read_member)
