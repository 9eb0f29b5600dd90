"""Integrity of a ratchet tree that came from outside, for who joins (RFC 9420 §12.4.3.1)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from . import tree_math
from .ciphersuite import CipherSuite
from .errors import ValidationError
from .leaf_check import check_encryption_key, check_tree_leaf
from .node import ParentNode
from .parent_hash import check_parent_hashes
from .ratchet_tree import RatchetTree


def check_tree(
    suite: CipherSuite, tree: RatchetTree, group_id: bytes, now: int | None = None
) -> None:
    """All that the tree alone can show; credentials and the group's parameters are not looked at.

    Raises:
        ValidationError: "unmerged-leaves", "tree-keys", "signature-key-twice", "parent-hash", and those of
            `check_tree_leaf`.
    """
    check_unmerged_leaves(tree)
    check_unique_keys(tree)
    for _, node in tree.parents():
        check_encryption_key(suite, node.encryption_key)
    check_parent_hashes(suite, tree)
    for index, leaf in tree.leaves():
        check_tree_leaf(suite, leaf, group_id, index, now)


def check_unmerged_leaves(tree: RatchetTree) -> None:
    """Entries are members below the node, known to all nodes *between* the two (§12.4.3.1).

    Nothing is asked of the nodes above: they may have been set since, or not have been blank.
    """
    for index, node in tree.parents():
        first, last = (at >> 1 for at in tree_math.subtree(index))
        for leaf in node.unmerged_leaves:
            if not first <= leaf <= last or tree.leaf(leaf) is None:
                raise ValidationError("unmerged-leaves", "§12.4.3.1")
        above = _nearest_parent(tree, index)
        if above is None:
            continue
        # What the next node above has unmerged below this one. The others above follow from it.
        leaves = above.unmerged_leaves
        here = leaves[bisect_left(leaves, first) : bisect_right(leaves, last)]
        if here and not set(here).issubset(node.unmerged_leaves):
            raise ValidationError("unmerged-leaves", "§12.4.3.1")


def _nearest_parent(tree: RatchetTree, node: int) -> ParentNode | None:
    """The first node above that is not blank."""
    while node != tree.root:
        node = tree_math.parent(node)
        value = tree.parent_node(node)
        if value is not None:
            return value
    return None


def check_unique_keys(tree: RatchetTree) -> None:
    """No encryption key stands twice in the tree, no signature key twice among leaves (§7.3)."""
    index = tree.index
    if len(index.encryption_keys) != index.nodes:
        raise ValidationError("tree-keys", "§12.4.3.1", "an encryption key stands twice")
    if len(index.signature_keys) != index.leaves:
        raise ValidationError("signature-key-twice", "§7.3")
