"""Tree hashes (RFC 9420 §7.8, §7.9)."""

from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.node import Node, ParentNode
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.tree_hash import hash_without_leaves
from pli_protocol.mls.tree_math import in_subtree

from .structs import ratchet_trees

SUITE = suite(1)


def without(tree: RatchetTree, leaves: set[int]) -> RatchetTree:
    """The tree that §7.9 describes: these leaves blank, and in no unmerged_leaves."""
    nodes: dict[int, Node | None] = {
        at: ParentNode(
            node.encryption_key,
            node.parent_hash,
            tuple(leaf for leaf in node.unmerged_leaves if leaf not in leaves),
        )
        for at, node in tree.parents()
    }
    nodes.update({2 * leaf: None for leaf in leaves})
    return RatchetTree(tree.with_nodes(nodes).nodes)


@given(ratchet_trees(), st.data())
def test_the_original_hash_is_that_of_the_tree_without_the_leaves(
    tree: RatchetTree, data: st.DataObject
) -> None:
    # As in a valid tree: what a node lists as unmerged are members below it.
    taken = [index for index, _ in tree.leaves()]
    tree = tree.with_nodes(
        {
            at: ParentNode(
                node.encryption_key,
                node.parent_hash,
                tuple(
                    leaf for leaf in taken if in_subtree(2 * leaf, at) and data.draw(st.booleans())
                ),
            )
            for at, node in tree.parents()
        }
    )
    left_out = sorted(leaf for leaf in taken if data.draw(st.booleans()))
    hashed = hash_without_leaves(
        SUITE, tree.nodes, lambda node: tree.node_hash(SUITE, node), tree.root, left_out
    )
    assert hashed == without(tree, set(left_out)).tree_hash(SUITE)


@given(ratchet_trees())
def test_any_change_of_a_node_changes_the_root_hash(tree: RatchetTree) -> None:
    before = tree.tree_hash(SUITE)
    for at, node in enumerate(tree.nodes):
        if node is not None:
            assert tree.with_nodes({at: None}).tree_hash(SUITE) != before


@given(ratchet_trees())
def test_a_wider_tree_has_another_hash(tree: RatchetTree) -> None:
    assert RatchetTree(tree.nodes + (None,) * (tree.width + 1)).tree_hash(SUITE) != tree.tree_hash(
        SUITE
    )
