"""A member's private keys: from a Welcome's path secret, dropped when outdated, stored (RFC 9420 §7.4)."""

from dataclasses import replace

import pytest

from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.codec import decode, encode
from pli_protocol.mls.errors import CodecError, ValidationError
from pli_protocol.mls.private_tree import (
    PathSecret,
    PrivateTree,
    derive_keys,
    next_secret,
    node_key,
)

from .trees import TreeGroup

SUITE = suite(1)


@pytest.fixture(scope="module")
def group() -> TreeGroup:
    return TreeGroup.create(SUITE, size=4)


def test_keys_are_derived_one_step_up_the_path_each() -> None:
    first = PathSecret(bytes(SUITE.hash_size))
    second = next_secret(SUITE, first)
    pairs = {3: node_key(SUITE, first), 7: node_key(SUITE, second)}
    keys, commit_secret = derive_keys(
        SUITE, first, {index: pair.public for index, pair in pairs.items()}
    )
    assert keys == pairs
    assert commit_secret == next_secret(SUITE, second)
    with pytest.raises(ValidationError, match="path-key-mismatch"):
        derive_keys(SUITE, first, {3: pairs[3].public, 7: pairs[3].public})


def test_a_joiner_refuses_a_path_secret_that_is_not_the_trees(group: TreeGroup) -> None:
    pair = group.members[3].private.leaf_key
    with pytest.raises(ValidationError, match="path-key-mismatch"):
        PrivateTree.joined(SUITE, group.tree, 3, pair, 0, bytes(32))
    blank = group.tree.with_nodes({3: None})
    for tree, committer in ((blank, 0), (group.tree, 3)):
        with pytest.raises(ValidationError, match="path-key-mismatch"):
            PrivateTree.joined(SUITE, tree, 3, pair, committer, bytes(32))


def test_keys_of_blanked_or_replaced_nodes_are_dropped(group: TreeGroup) -> None:
    private = group.members[0].private
    assert private.pruned(group.tree) is private
    assert 3 not in private.pruned(group.tree.with_nodes({3: None})).path_keys
    other = replace(group.tree.parent_node(3), encryption_key=bytes(32))  # type: ignore[type-var]
    assert 3 not in private.pruned(group.tree.with_nodes({3: other})).path_keys


def test_a_private_tree_can_be_stored_and_shows_nothing(group: TreeGroup) -> None:
    private = group.members[0].private
    assert private.path_keys
    assert decode(PrivateTree, encode(private)) == private
    with pytest.raises(CodecError):
        decode(PrivateTree, encode(private)[:-1])
    for pair in (private.leaf_key, *private.path_keys.values()):
        assert repr(bytes(pair.private)) not in repr(private)
        assert pair.private.hex() not in repr(private)
