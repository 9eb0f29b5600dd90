"""Parent hashes (RFC 9420 §7.9): the chain from every key down to a member who set it."""

from dataclasses import replace

import pytest

from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.errors import ValidationError
from pli_protocol.mls.parent_hash import check_parent_hashes, parent_hash, set_path
from pli_protocol.mls.ratchet_tree import RatchetTree

from .trees import TreeGroup

SUITE = suite(1)


@pytest.fixture(scope="module")
def tree() -> RatchetTree:
    """Nine members, one of them unmerged below the root's left child, some nodes blank."""
    group = TreeGroup.create(SUITE, size=9)
    group.commit(8, removes=[5])
    group.commit(0, updates=[2])
    group.commit(8, adds=1, path=False)
    return group.tree


def test_a_tree_of_commits_is_parent_hash_valid(tree: RatchetTree) -> None:
    assert any(node.unmerged_leaves for _, node in tree.parents())
    check_parent_hashes(SUITE, tree)


def test_every_parent_node_is_covered(tree: RatchetTree) -> None:
    """A key put in by a stranger is found, wherever it is."""
    for index, node in tree.parents():
        forged = tree.with_nodes({index: replace(node, encryption_key=bytes(32))})
        with pytest.raises(ValidationError, match="parent-hash"):
            check_parent_hashes(SUITE, forged)


def test_a_node_that_no_member_set_is_found(tree: RatchetTree) -> None:
    blank = next(at for at in range(1, tree.width, 2) if tree.node(at) is None)
    some = next(node for _, node in tree.parents())
    with pytest.raises(ValidationError, match="parent-hash"):
        check_parent_hashes(SUITE, tree.with_nodes({blank: some}))


def test_a_parent_hash_chain_ends_at_a_leaf_that_a_commit_set() -> None:
    group = TreeGroup.create(SUITE, size=2)
    check_parent_hashes(SUITE, group.tree)
    committer, other = group.leaf(0), group.leaf(1)
    assert (committer.parent_hash is None, other.parent_hash is None) == (False, True)
    without = group.tree.with_nodes({0: replace(other, signature=b"")})
    with pytest.raises(ValidationError, match="parent-hash"):
        check_parent_hashes(SUITE, without)


def test_leaves_added_since_do_not_break_the_chain() -> None:
    """Original tree hashes leave out what was unmerged later (§7.9)."""
    group = TreeGroup.create(SUITE, size=6)
    group.commit(0, removes=[1, 4])
    group.commit(5)
    group.commit(0)
    group.commit(3, adds=2, path=False)
    root = group.tree.parent_node(7)
    assert root is not None
    assert root.unmerged_leaves == (1, 4)
    check_parent_hashes(SUITE, group.tree)


def test_leaves_that_hide_from_unmerged_leaves_are_found() -> None:
    group = TreeGroup.create(SUITE, size=4)
    group.commit(0, removes=[3])
    group.commit(0, adds=1, path=False)
    node = group.tree.parent_node(3)
    assert node is not None
    assert node.unmerged_leaves == (3,)
    hidden = group.tree.with_nodes({3: replace(node, unmerged_leaves=())})
    with pytest.raises(ValidationError, match="parent-hash"):
        check_parent_hashes(SUITE, hidden)


def test_the_root_has_no_parent_hash_and_a_leaf_without_a_path_an_empty_one() -> None:
    group = TreeGroup.create(SUITE, size=4)
    keys = [SUITE.generate_kem_key().public for _ in range(2)]
    tree, leaf_hash = set_path(SUITE, group.tree, 0, keys)
    root, below = tree.parent_node(3), tree.parent_node(1)
    assert root is not None
    assert below is not None
    assert (root.parent_hash, root.encryption_key) == (b"", keys[1])
    assert below.parent_hash == parent_hash(SUITE, keys[1], b"", tree.node_hash(SUITE, 5))
    assert leaf_hash == parent_hash(SUITE, keys[0], below.parent_hash, tree.node_hash(SUITE, 2))
    alone = RatchetTree.of_leaf(group.leaf(0))
    assert set_path(SUITE, alone, 0, []) == (alone, b"")
