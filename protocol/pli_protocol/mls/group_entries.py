"""How a group is stored: named entries, so that a message rewrites only a few small ones.

| entry | holds |
|---|---|
| `group` | context, transcript, own leaf, width of the tree, ReInit: what changes with the epoch |
| `secrets` | the epoch's secrets |
| `private` | the private keys of the own path |
| `tree/N` | node N of the ratchet tree (blank nodes have none) |
| `keys/E/…` | the secret tree of epoch E (see `secret_tree`) |
| `past/E` | what else opens late messages of epoch E |
| `proposal/E/N` | the Nth pending proposal of epoch E |

Every entry begins with a byte that tells its version. Signature keys are in none of them. What reads
them back is in `group_reading`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from ..secret import Secret
from .codec import Writer
from .credential import write_credential
from .epoch import Member, PastEpoch
from .key_schedule import EpochSecrets
from .node import Node, write_node
from .pending import PendingProposal
from .ratchet_tree import RatchetTree
from .secret_tree import SecretTree
from .stored import stored

if TYPE_CHECKING:
    from .group import Group

TREE, KEYS, PAST, PROPOSAL = "tree/", "keys/", "past/", "proposal/"

T = TypeVar("T")


def entries_of(group: Group) -> dict[str, bytes]:
    """Everything to store of a group."""
    entries: dict[str, bytes] = dict(_epoch_entries(group))
    for index in range(group.tree.width):
        node = group.tree.node(index)
        if node is not None:
            entries[f"{TREE}{index}"] = _encode_node(node)
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


def proposal_entry(epoch: int, position: int, pending: PendingProposal) -> tuple[str, Secret]:
    """Name and content of a pending proposal's entry; names sort in the order of coming."""
    return f"{PROPOSAL}{epoch}/{position:06}", stored(pending.write)


def _prefixed(epoch: int, entries: Mapping[str, T]) -> dict[str, T]:
    return {f"{KEYS}{epoch}/{name}": value for name, value in entries.items()}


def _difference(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> dict[str, bytes | None]:
    changes: dict[str, bytes | None] = {name: None for name in old if name not in new}
    changes.update((name, value) for name, value in new.items() if old.get(name) != value)
    return changes


def _secret_trees(group: Group) -> dict[int, SecretTree]:
    trees = {past.context.epoch: past.secret_tree for past in group.past}
    trees[group.epoch] = group.secret_tree
    return trees


def _epoch_entries(group: Group) -> Iterator[tuple[str, Secret]]:
    """Everything but ratchet tree and secret trees: what does not grow with the group."""
    yield "group", stored(lambda w: _write_group(w, group))
    yield "secrets", stored(lambda w: _write_secrets(w, group.secrets))
    yield "private", stored(group.private_tree.write)
    for past in group.past:
        yield f"{PAST}{past.context.epoch}", stored(lambda w, past=past: _write_past(w, past))  # type: ignore[misc]
    for position, pending in enumerate(group.proposals):
        yield proposal_entry(group.epoch, position, pending)


def _tree_changes(old: RatchetTree, new: RatchetTree) -> dict[str, bytes | None]:
    """Nodes that are not the same object in both trees; equal ones cost a comparison only."""
    changes: dict[str, bytes | None] = {}
    for index in range(max(old.width, new.width)):
        before, after = old.node(index), new.node(index)
        if before is after or before == after:
            continue
        changes[f"{TREE}{index}"] = None if after is None else _encode_node(after)
    return changes


def _encode_node(node: Node) -> bytes:
    return stored(lambda w: write_node(w, node))


def _write_group(w: Writer, group: Group) -> None:
    group.context.write(w)
    w.u32(group.own_leaf)
    w.u32(group.tree.leaf_count)
    w.opaque(group.interim_transcript_hash)
    w.opaque(group.confirmation_tag)
    w.optional(group.reinit, lambda w, reinit: reinit.write(w))


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


def _write_past(w: Writer, past: PastEpoch) -> None:
    past.context.write(w)
    w.opaque(past.sender_data_secret)
    w.opaque(past.resumption_psk)
    w.u32(past.secret_tree.leaf_count)
    w.vector(sorted(past.replaced.items()), _write_replaced)
    w.optional(past.ended, Writer.u64)


def _write_replaced(w: Writer, item: tuple[int, Member | None]) -> None:
    w.u32(item[0])
    w.optional(item[1], _write_member)


def _write_member(w: Writer, member: Member) -> None:
    w.opaque(member.signature_key)
    write_credential(w, member.credential)
