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

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import zip_longest
from operator import is_not
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..secret import Secret
from .codec import Writer
from .credential import write_credential
from .epoch import Member, PastEpoch
from .key_schedule import EpochSecrets
from .node import Node, encode_node
from .pending import PendingProposal
from .ratchet_tree import RatchetTree
from .secret_tree import SecretTree
from .stored import VERSION, stored

if TYPE_CHECKING:
    from .group import Group

TREE, KEYS, PAST, PROPOSAL = "tree/", "keys/", "past/", "proposal/"

T = TypeVar("T")


def entries_of(group: Group) -> dict[str, bytes]:
    """Everything to store of a group."""
    entries: dict[str, bytes] = {part.name: stored(part.write) for part in _epoch_parts(group)}
    for index in range(group.tree.width):
        node = group.tree.node(index)
        if node is not None:
            entries[f"{TREE}{index}"] = _encode_node(node)
    for epoch, tree in _secret_trees(group).items():
        entries.update(_prefixed(epoch, tree.entries()))
    return entries


def changes_between(old: Group, new: Group) -> dict[str, bytes | None]:
    """What turns the stored entries of `old` into those of `new`; shared parts are skipped."""
    shared = {id(past) for past in old.past}.intersection(map(id, new.past))
    before = {part.name: part.of for part in _epoch_parts(old, shared)}
    changes: dict[str, bytes | None] = {}
    for part in _epoch_parts(new, shared):
        known = before.pop(part.name, ())
        if len(known) != len(part.of) or any(map(is_not, known, part.of)):
            changes[part.name] = stored(part.write)
    changes.update(dict.fromkeys(before))
    if old.tree is not new.tree:
        changes.update(_tree_changes(old.tree, new.tree))
    old_trees, new_trees = _secret_trees(old, shared), _secret_trees(new, shared)
    for epoch in old_trees.keys() | new_trees.keys():
        old_tree, new_tree = old_trees.get(epoch), new_trees.get(epoch)
        if new_tree is None:
            changes.update(_prefixed(epoch, dict.fromkeys(old_trees[epoch].entries())))
        elif old_tree is not new_tree:
            changes.update(_prefixed(epoch, new_tree.changes_from(old_tree)))
    return changes


def key_changes(epoch: int, changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """The changes of one secret tree under their names in the store."""
    return _prefixed(epoch, changes)


def proposal_entry(epoch: int, position: int, pending: PendingProposal) -> tuple[str, Secret]:
    """Name and content of a pending proposal's entry; names sort in the order of coming."""
    return _proposal_name(epoch, position), stored(pending.write)


def _proposal_name(epoch: int, position: int) -> str:
    return f"{PROPOSAL}{epoch}/{position:06}"


def _prefixed(epoch: int, entries: Mapping[str, T]) -> dict[str, T]:
    return {f"{KEYS}{epoch}/{name}": value for name, value in entries.items()}


def _secret_trees(group: Group, left_out: Collection[int] = ()) -> dict[int, SecretTree]:
    trees = {
        past.context.epoch: past.secret_tree for past in group.past if id(past) not in left_out
    }
    trees[group.epoch] = group.secret_tree
    return trees


class _Part(NamedTuple):
    """An entry: where it has the same values, the very same objects, it need not be written."""

    name: str
    of: tuple[object, ...]
    write: Callable[[Writer], None]


def _epoch_parts(group: Group, left_out: Collection[int] = ()) -> Iterator[_Part]:
    """Everything but ratchet tree and secret trees: what does not grow with the group.

    `left_out` holds the identities of past epochs that need no look.
    """
    yield _Part("group", (group.context, group.reinit), partial(_write_group, group))
    yield _Part("secrets", (group.secrets,), partial(_write_secrets, group.secrets))
    yield _Part("private", (group.private_tree,), group.private_tree.write)
    for past in group.past:
        if id(past) in left_out:
            continue
        of = (past.context, past.replaced, past.ended)
        yield _Part(f"{PAST}{past.context.epoch}", of, partial(_write_past, past))
    for position, pending in enumerate(group.proposals):
        yield _Part(_proposal_name(group.epoch, position), (pending,), pending.write)


def _tree_changes(old: RatchetTree, new: RatchetTree) -> dict[str, bytes | None]:
    """Nodes that are not the same object in both trees."""
    changes: dict[str, bytes | None] = {}
    for index, (before, after) in enumerate(zip_longest(old.nodes, new.nodes)):
        if before is not after:
            changes[f"{TREE}{index}"] = None if after is None else _encode_node(after)
    return changes


def _encode_node(node: Node) -> bytes:
    return Secret(VERSION + encode_node(node))


def _write_group(group: Group, w: Writer) -> None:
    group.context.write(w)
    w.u32(group.own_leaf)
    w.u32(group.tree.leaf_count)
    w.opaque(group.interim_transcript_hash)
    w.opaque(group.confirmation_tag)
    w.optional(group.reinit, lambda w, reinit: reinit.write(w))


def _write_secrets(secrets: EpochSecrets, w: Writer) -> None:
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


def _write_past(past: PastEpoch, w: Writer) -> None:
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
