"""Array-based tree arithmetic (RFC 9420 §4.1, appendix C).

Leaves sit at even node indices, parents at odd ones; a tree of 2^k leaves is always full, its root is
node 2^k - 1. All functions are O(log n).
"""

from typing import NewType

LeafIndex = NewType("LeafIndex", int)
NodeIndex = NewType("NodeIndex", int)


def leaf_node_index(leaf: int) -> NodeIndex:
    """The node index of a leaf."""
    return NodeIndex(2 * leaf)


def leaf_index(node: int) -> LeafIndex:
    """The leaf index of an even node index."""
    assert node % 2 == 0, "only even node indices describe leaves"
    return LeafIndex(node // 2)


def is_leaf(node: int) -> bool:
    return node & 1 == 0


def level(node: int) -> int:
    """Height above the leaves: the number of low one bits."""
    return (~node & (node + 1)).bit_length() - 1


def node_width(leaf_count: int) -> int:
    """Nodes of a tree with so many leaves."""
    return 0 if leaf_count == 0 else 2 * leaf_count - 1


def full_leaf_count(node_count: int) -> int:
    """Leaves of the smallest full tree (2^d leaves) with at least so many nodes."""
    return 1 << ((node_count + 2) // 2 - 1).bit_length()


def root(leaf_count: int) -> NodeIndex:
    """The root of a full tree of 2^d leaves."""
    return NodeIndex(leaf_count - 1)


def left(node: int) -> NodeIndex:
    """The left child of a parent; a leaf has none (ValueError)."""
    return NodeIndex(node ^ (1 << (level(node) - 1)))


def right(node: int) -> NodeIndex:
    """The right child of a parent; a leaf has none (ValueError)."""
    return NodeIndex(node ^ (3 << (level(node) - 1)))


def parent(node: int) -> NodeIndex:
    """The parent of a node, as if the tree went on above."""
    k = level(node)
    return NodeIndex((node | (1 << k)) & ~(1 << (k + 1)))


def sibling(node: int) -> NodeIndex:
    """The other child of the node's parent."""
    return NodeIndex(node ^ (2 << level(node)))


def direct_path(node: int, leaf_count: int) -> list[NodeIndex]:
    """The nodes above this one, from its parent to the root (§4.1.1)."""
    top = root(leaf_count)
    path: list[NodeIndex] = []
    bit = 1 << level(node)
    while node != top:
        # As `parent`, one level up each time.
        node = (node | bit) & ~(bit << 1)
        bit <<= 1
        path.append(node)  # type: ignore[arg-type]
    return path


def copath(node: int, leaf_count: int) -> list[NodeIndex]:
    """The siblings of the node and of its direct path without the root (§4.1.1)."""
    top = root(leaf_count)
    path: list[NodeIndex] = []
    bit = 1 << level(node)
    while node != top:
        # As `sibling` and `parent`, one level up each time.
        path.append(node ^ (bit << 1))  # type: ignore[arg-type]
        node = (node | bit) & ~(bit << 1)
        bit <<= 1
    return path


def subtree(node: int) -> tuple[int, int]:
    """First and last node index under a node, itself included."""
    reach = (1 << level(node)) - 1
    return node - reach, node + reach


def in_subtree(node: int, top: int) -> bool:
    """Whether `node` is `top` or below it."""
    first, last = subtree(top)
    return first <= node <= last


def common_ancestor(a: int, b: int) -> NodeIndex:
    """The lowest node that has both below it (or is one of them)."""
    while not in_subtree(b, a):
        a = parent(a)
    return NodeIndex(a)
