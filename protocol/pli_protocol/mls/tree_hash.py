"""Tree hashes (RFC 9420 §7.8): one hash that stands for a subtree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import tree_math
from .ciphersuite import CipherSuite
from .codec import varint
from .leaf_node import LeafNode
from .node import Node, ParentNode

NodeHash = Callable[[int], bytes]


# struct {
#   NodeType node_type;
#   select (TreeHashInput.node_type) {
#     case leaf:   LeafNodeHashInput leaf_node;
#     case parent: ParentNodeHashInput parent_node;
#   };
# } TreeHashInput;
#
# struct {
#   uint32 leaf_index;
#   optional<LeafNode> leaf_node;
# } LeafNodeHashInput;
def leaf_hash(suite: CipherSuite, leaf_index: int, leaf: LeafNode | None) -> bytes:
    """Tree hash of a leaf, blank or not."""
    prefix = b"\x01" + leaf_index.to_bytes(4, "big")
    if leaf is None:
        return suite.hash(prefix + b"\x00")
    return suite.hash(prefix + b"\x01" + leaf.encoded)


# struct {
#   optional<ParentNode> parent_node;
#   opaque left_hash<V>;
#   opaque right_hash<V>;
# } ParentNodeHashInput;
def parent_node_hash(
    suite: CipherSuite, node: ParentNode | None, left_hash: bytes, right_hash: bytes
) -> bytes:
    """Tree hash of a parent node from those of its children."""
    length = varint(suite.hash_size)
    present = b"\x02\x00" if node is None else b"\x02\x01" + node.encoded
    return suite.hash(b"".join((present, length, left_hash, length, right_hash)))


def fill_hashes(
    suite: CipherSuite, nodes: Sequence[Node | None], hashes: list[bytes | None], node: int
) -> bytes:
    """Tree hash of a node; computes what `hashes` lacks below it, and keeps it there."""
    known = hashes[node]
    if known is not None:
        return known
    value = nodes[node]
    if tree_math.is_leaf(node):
        assert value is None or isinstance(value, LeafNode)
        result = leaf_hash(suite, node >> 1, value)
    else:
        assert value is None or isinstance(value, ParentNode)
        left = fill_hashes(suite, nodes, hashes, tree_math.left(node))
        right = fill_hashes(suite, nodes, hashes, tree_math.right(node))
        result = parent_node_hash(suite, value, left, right)
    hashes[node] = result
    return result


def hash_without_leaves(
    suite: CipherSuite,
    nodes: Sequence[Node | None],
    current: NodeHash,
    node: int,
    leaves: Sequence[int],
) -> bytes:
    """Tree hash of a node as if `leaves` were blank and merged nowhere (§7.9).

    Args:
        current: tree hashes of the tree as it is, used where no leaf is left out.
        leaves: leaf indices in increasing order, all below the node.
    """
    if not leaves:
        return current(node)
    if tree_math.is_leaf(node):
        return leaf_hash(suite, node >> 1, None)
    value = nodes[node]
    assert value is None or isinstance(value, ParentNode)
    middle = (node + 1) // 2
    lower = [leaf for leaf in leaves if leaf < middle]
    upper = [leaf for leaf in leaves if leaf >= middle]
    if value is not None and value.unmerged_leaves:
        left_out = set(leaves)
        merged = tuple(leaf for leaf in value.unmerged_leaves if leaf not in left_out)
        value = ParentNode(value.encryption_key, value.parent_hash, merged)
    return parent_node_hash(
        suite,
        value,
        hash_without_leaves(suite, nodes, current, tree_math.left(node), lower),
        hash_without_leaves(suite, nodes, current, tree_math.right(node), upper),
    )
