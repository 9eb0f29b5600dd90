"""Parent hashes (RFC 9420 §7.9): proof that members, not strangers, set the tree's keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import tree_math
from .ciphersuite import CipherSuite
from .codec import Writer
from .errors import ValidationError
from .node import Node, ParentNode
from .ratchet_tree import RatchetTree
from .tree_hash import hash_without_leaves


# struct {
#     HPKEPublicKey encryption_key;
#     opaque parent_hash<V>;
#     opaque original_sibling_tree_hash<V>;
# } ParentHashInput;
def parent_hash(
    suite: CipherSuite, encryption_key: bytes, above: bytes, sibling_tree_hash: bytes
) -> bytes:
    """The parent hash of a node.

    Args:
        encryption_key: the node's.
        above: the node's own `parent_hash`, empty for the root.
        sibling_tree_hash: original tree hash of the node's child on the copath.
    """
    w = Writer()
    w.opaque(encryption_key)
    w.opaque(above)
    w.opaque(sibling_tree_hash)
    return suite.hash(w.getvalue())


def set_path(
    suite: CipherSuite, tree: RatchetTree, leaf: int, keys: Sequence[bytes]
) -> tuple[RatchetTree, bytes]:
    """Put new keys on a leaf's filtered direct path, blank what else is above it (§7.5).

    Returns:
        The tree, its leaf as before, and the parent hash that belongs into the leaf. It is empty
        when the filtered direct path is.
    """
    changed, above = path_nodes(suite, tree, leaf, tree.filtered_path(leaf), keys)
    return tree.with_nodes(changed), above


def path_nodes(
    suite: CipherSuite,
    tree: RatchetTree,
    leaf: int,
    path: Sequence[tuple[int, int]],
    keys: Sequence[bytes],
) -> tuple[dict[int, Node | None], bytes]:
    """As `set_path`, but the nodes that change instead of the tree; `path` is the filtered one."""
    changed: dict[int, Node | None] = {
        ancestor: None for ancestor in tree.direct_path(leaf) if tree.nodes[ancestor] is not None
    }
    above = b""
    for (node, child), key in zip(reversed(path), reversed(keys), strict=True):
        # A copath subtree is not touched here, hence its hash is the original one.
        changed[node] = ParentNode(key, above)
        above = parent_hash(suite, key, above, tree.node_hash(suite, child))
    return changed, above


def check_parent_hashes(suite: CipherSuite, tree: RatchetTree) -> None:
    """Every non-blank parent node must be parent-hash valid (§7.9.2).

    Raises:
        ValidationError: "parent-hash".
    """
    parents: Mapping[int, ParentNode] = dict(tree.parents())
    for index, node in parents.items():
        left, right = tree_math.left(index), tree_math.right(index)
        if not (
            _is_chained(suite, tree, index, node, left, right)
            or _is_chained(suite, tree, index, node, right, left)
        ):
            raise ValidationError("parent-hash", "§7.9.2", f"node {index}")


def _is_chained(
    suite: CipherSuite,
    tree: RatchetTree,
    index: int,
    node: ParentNode,
    child: int,
    sibling: int,
) -> bool:
    """Whether a node D below `child` (C) holds the parent hash of P = `node` with `sibling` (S)."""
    first, last = tree_math.subtree(child)
    unmerged = {2 * leaf for leaf in node.unmerged_leaves if first <= 2 * leaf <= last}
    resolution = set(tree.resolution(child))
    # The leaves that P has unmerged below C are the resolution of C without D.
    if len(resolution) != len(unmerged) + 1 or not unmerged < resolution:
        return False
    (descendant,) = resolution - unmerged
    value = tree.nodes[descendant]
    if value is None or value.parent_hash is None:
        return False
    first, last = tree_math.subtree(sibling)
    left_out = [leaf for leaf in node.unmerged_leaves if first <= 2 * leaf <= last]
    original = hash_without_leaves(
        suite, tree.nodes, lambda other: tree.node_hash(suite, other), sibling, left_out
    )
    return value.parent_hash == parent_hash(suite, node.encryption_key, node.parent_hash, original)
