"""The index that follows a tree's changes says what one made from nothing says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls import suite
from pli_protocol.mls.leaf_node import LeafNode
from pli_protocol.mls.node import ParentNode
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.tree_index import TreeIndex

from .trees import TreeGroup, key_package, seeded

SUITE = suite(3)
LEAVES = [key_package(SUITE, str(n), seeded(n))[0].leaf_node for n in range(6)]
CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "update", "ask"]), st.integers(0, 63)), max_size=30
)


def changed(tree: RatchetTree, what: str, number: int) -> RatchetTree:
    leaf: LeafNode = LEAVES[number % len(LEAVES)]
    taken = [index for index, _ in tree.leaves()]
    at = taken[number % len(taken)]
    match what:
        case "add":
            return tree.add_leaf(leaf)[0]
        case "remove" if len(taken) > 1:
            return tree.remove_leaf(at)
        case "update":
            return tree.update_leaf(at, leaf)
    return tree


@given(CHANGES)
def test_it_follows_any_change(changes: list[tuple[str, int]]) -> None:
    """The same leaf may stand twice: that is what the counts are for."""
    tree = TreeGroup.create(SUITE, size=5).tree
    for what, number in changes:
        tree = changed(tree, what, number)
        if what == "ask":
            assert tree.index == TreeIndex.of(tree.nodes)
    assert tree.index == TreeIndex.of(tree.nodes)


@given(CHANGES)
def test_tree_hashes_follow_any_change(changes: list[tuple[str, int]]) -> None:
    tree = TreeGroup.create(SUITE, size=5).tree
    for what, number in changes:
        tree = changed(tree, what, number)
        if what == "ask":
            tree.node_hash(SUITE, number % tree.width)
    assert tree.tree_hash(SUITE) == RatchetTree(tree.nodes).tree_hash(SUITE)


def test_it_forgets_a_parent_node_that_is_cut_off_with_a_blank_half() -> None:
    """A node above a blank half may be in a tree that others made: its key is free again."""
    one, two, three = LEAVES[:3]
    nodes = {0: one, 1: ParentNode(b"low"), 2: two, 3: ParentNode(b"above blanks"), 8: three}
    tree = RatchetTree.from_nodes(nodes)
    assert b"above blanks" in tree.index.encryption_keys
    for smaller in (tree.changed([], [4], [])[0], tree.remove_leaf(4)):
        assert smaller.width == 3
        assert smaller.index == TreeIndex.of(smaller.nodes)


def test_asking_twice_looks_once() -> None:
    tree = TreeGroup.create(SUITE, size=3).tree
    assert tree.index is tree.index
