"""Tree maths (RFC 9420 appendix C) against the picture of a tree with eight leaves."""

from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls import tree_math

nodes = st.integers(0, 2**20)
parents = nodes.map(lambda n: 2 * n + 1)


def test_the_tree_of_eight_leaves_is_numbered_as_in_the_appendix() -> None:
    assert tree_math.root(8) == 7
    assert (tree_math.left(7), tree_math.right(7)) == (3, 11)
    assert (tree_math.left(11), tree_math.right(11)) == (9, 13)
    assert [tree_math.level(n) for n in range(15)] == [0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0]
    assert list(tree_math.direct_path(4, 8)) == [5, 3, 7]
    assert list(tree_math.copath(4, 8)) == [6, 1, 11]
    assert tree_math.common_ancestor(0, 6) == 3
    assert tree_math.common_ancestor(8, 6) == 7


def test_a_tree_of_one_leaf_has_no_paths() -> None:
    assert tree_math.root(1) == 0
    assert list(tree_math.direct_path(0, 1)) == []
    assert list(tree_math.copath(0, 1)) == []


@given(parents)
def test_children_name_their_parent_and_each_other(node: int) -> None:
    left, right = tree_math.left(node), tree_math.right(node)
    assert tree_math.parent(left) == tree_math.parent(right) == node
    assert (tree_math.sibling(left), tree_math.sibling(right)) == (right, left)
    assert tree_math.level(left) == tree_math.level(right) == tree_math.level(node) - 1


@given(parents)
def test_a_subtree_is_its_node_between_its_childrens_subtrees(node: int) -> None:
    first, last = tree_math.subtree(node)
    assert tree_math.subtree(tree_math.left(node)) == (first, node - 1)
    assert tree_math.subtree(tree_math.right(node)) == (node + 1, last)


@given(nodes, nodes)
def test_the_common_ancestor_is_the_lowest_node_above_both(one: int, other: int) -> None:
    ancestor = tree_math.common_ancestor(one, other)
    assert tree_math.in_subtree(one, ancestor)
    assert tree_math.in_subtree(other, ancestor)
    assert ancestor == tree_math.common_ancestor(other, one)
    if ancestor not in (one, other):
        left = tree_math.left(ancestor)
        assert tree_math.in_subtree(one, left) != tree_math.in_subtree(other, left)


@given(st.integers(1, 2**12))
def test_the_smallest_full_tree_holds_the_nodes_and_half_of_it_would_not(count: int) -> None:
    leaves = tree_math.full_leaf_count(count)
    assert leaves & (leaves - 1) == 0
    assert tree_math.node_width(leaves) >= count
    assert leaves == 1 or tree_math.node_width(leaves // 2) < count
