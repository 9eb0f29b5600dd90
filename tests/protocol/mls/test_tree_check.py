"""Checks of a tree on joining (RFC 9420 §12.4.3.1): each rule, broken alone."""

from dataclasses import replace

import pytest

from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.errors import ValidationError
from pli_protocol.mls.node import ParentNode
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.tree_check import check_tree, check_unique_keys, check_unmerged_leaves

from .trees import GROUP, TreeGroup

SUITE = suite(1)


@pytest.fixture(scope="module")
def group() -> TreeGroup:
    """Eight leaves, full of keys; leaf 7 is unmerged at all its ancestors that are set."""
    group = TreeGroup.create(SUITE, size=8)
    group.commit(6, removes=[7])
    group.commit(5)
    group.commit(6, adds=1, path=False)
    return group


def with_unmerged(tree: RatchetTree, at: int, *leaves: int) -> RatchetTree:
    node = tree.parent_node(at)
    assert node is not None
    return tree.with_nodes({at: replace(node, unmerged_leaves=leaves)})


def test_a_tree_of_commits_passes(group: TreeGroup) -> None:
    check_tree(SUITE, group.tree, GROUP)


def test_a_leaf_may_be_unmerged_below_a_node_that_knows_it() -> None:
    """Others refused this: the root was set after the leaf came, its child was not."""
    group = TreeGroup.create(SUITE, size=8)
    group.commit(4)
    group.commit(6, removes=[7])
    group.commit(4)
    group.commit(4, adds=1, path=False)
    group.commit(0)
    root, below = group.tree.parent_node(7), group.tree.parent_node(11)
    assert root is not None
    assert below is not None
    assert (root.unmerged_leaves, below.unmerged_leaves) == ((), (7,))
    check_tree(SUITE, group.tree, GROUP)


def test_unmerged_leaves_must_be_members_below_the_node(group: TreeGroup) -> None:
    check_unmerged_leaves(group.tree)
    for leaf in (0, 99):
        with pytest.raises(ValidationError, match="unmerged-leaves"):
            check_unmerged_leaves(with_unmerged(group.tree, 11, leaf))
    blank = group.tree.with_nodes({14: None})
    with pytest.raises(ValidationError, match="unmerged-leaves"):
        check_unmerged_leaves(blank)


def test_nodes_between_must_know_an_unmerged_leaf(group: TreeGroup) -> None:
    assert isinstance(group.tree.node(11), ParentNode)
    with pytest.raises(ValidationError, match="unmerged-leaves"):
        check_unmerged_leaves(with_unmerged(group.tree, 11))


def test_no_encryption_key_may_stand_twice(group: TreeGroup) -> None:
    check_unique_keys(group.tree)
    node = group.tree.parent_node(3)
    assert node is not None
    for key in (group.leaf(5).encryption_key, group.tree.nodes[11].encryption_key):  # type: ignore[union-attr]
        twice = group.tree.with_nodes({3: replace(node, encryption_key=key)})
        with pytest.raises(ValidationError, match="tree-keys"):
            check_unique_keys(twice)


def test_no_signature_key_may_stand_twice(group: TreeGroup) -> None:
    double = replace(group.leaf(0), signature_key=group.leaf(1).signature_key)
    with pytest.raises(ValidationError, match="signature-key-twice"):
        check_unique_keys(group.tree.with_nodes({0: double}))


def test_a_key_that_nobody_can_encrypt_to_is_refused(group: TreeGroup) -> None:
    node = group.tree.parent_node(3)
    assert node is not None
    forged = group.tree.with_nodes({3: replace(node, encryption_key=bytes(32))})
    with pytest.raises(ValidationError, match="encryption-key"):
        check_tree(SUITE, forged, GROUP)


def test_every_leaf_is_verified_at_its_place(group: TreeGroup) -> None:
    for index, leaf in group.tree.leaves():
        forged = group.tree.with_nodes({2 * index: replace(leaf, signature=bytes(64))})
        with pytest.raises(ValidationError):
            check_tree(SUITE, forged, GROUP)
    with pytest.raises(ValidationError, match="leaf-signature"):
        check_tree(SUITE, group.tree, b"another group")


def test_a_tree_with_a_foreign_key_is_refused(group: TreeGroup) -> None:
    node = group.tree.parent_node(3)
    assert node is not None
    forged = group.tree.with_nodes(
        {3: replace(node, encryption_key=SUITE.generate_kem_key().public)}
    )
    with pytest.raises(ValidationError, match="parent-hash"):
        check_tree(SUITE, forged, GROUP)
