"""Integrity of a ratchet tree that came from outside, for who joins (RFC 9420 §12.4.3.1)."""

from __future__ import annotations

from . import tree_math
from .ciphersuite import CipherSuite
from .errors import ValidationError
from .leaf_check import check_encryption_key, check_tree_leaf
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
    unmerged = {int(index): frozenset(node.unmerged_leaves) for index, node in tree.parents()}
    for top, leaves in unmerged.items():
        first, last = tree_math.subtree(top)
        for leaf in leaves:
            if not first <= 2 * leaf <= last or tree.leaf(leaf) is None:
                raise ValidationError("unmerged-leaves", "§12.4.3.1")
            between = tree_math.parent(2 * leaf)
            while between != top:
                if between in unmerged and leaf not in unmerged[between]:
                    raise ValidationError("unmerged-leaves", "§12.4.3.1")
                between = tree_math.parent(between)


def check_unique_keys(tree: RatchetTree) -> None:
    """No encryption key stands twice in the tree, no signature key twice among leaves (§7.3)."""
    index = tree.index
    if len(index.encryption_keys) != index.nodes:
        raise ValidationError("tree-keys", "§12.4.3.1", "an encryption key stands twice")
    if len(index.signature_keys) != index.leaves:
        raise ValidationError("signature-key-twice", "§7.3")
