"""TreeKEM (RFC 9420 §7.4–7.6): members agree, keys follow the tree invariant, faults are refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pli_protocol.mls.ciphersuite import SUITES, CipherSuite, suite
from pli_protocol.mls.codec import decode, encode
from pli_protocol.mls.errors import ValidationError
from pli_protocol.mls.labels import derive_secret, encrypt_with_label
from pli_protocol.mls.leaf_node import LeafNode, sign_leaf
from pli_protocol.mls.parent_hash import set_path
from pli_protocol.mls.private_tree import PrivateTree
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.tree_check import check_tree
from pli_protocol.mls.update_path import (
    CreatedPath,
    ProcessedPath,
    UpdatePath,
    UpdatePathNode,
    apply_update_path,
    create_update_path,
    process_update_path,
)

from .trees import GROUP, TreeGroup, context_of, key_package, seeded

SUITE = suite(1)
suites = pytest.mark.parametrize("used", SUITES.values(), ids=lambda s: f"{s.number:#06x}")


def check_invariants(group: TreeGroup) -> None:
    """Everybody's keys are the tree's; each non-blank node's key is known to whom it is meant for."""
    tree = group.tree
    assert {index for index, _ in tree.leaves()} == group.members.keys()
    check_tree(group.suite, tree, GROUP)
    assert decode(RatchetTree, encode(tree)).tree_hash(group.suite) == tree.tree_hash(group.suite)
    for index, member in group.members.items():
        assert member.private.leaf == index
        assert member.private.leaf_key.public == group.leaf(index).encryption_key
        expected = {
            node
            for node in tree.direct_path(index)
            if (value := tree.parent_node(node)) and index not in value.unmerged_leaves
        }
        assert member.private.path_keys.keys() == expected
        for node, pair in member.private.path_keys.items():
            value = tree.parent_node(node)
            assert value is not None
            assert value.encryption_key == pair.public


@suites
def test_all_members_follow_a_series_of_commits(used: CipherSuite) -> None:
    group = TreeGroup.create(used)
    group.commit(0, adds=4)
    check_invariants(group)
    group.commit(2, updates=[1, 3], removes=[4])
    check_invariants(group)
    group.commit(3, adds=3, path=False)
    check_invariants(group)
    group.commit(6, removes=[0], adds=1)
    check_invariants(group)


steps = st.lists(
    st.tuples(
        st.integers(0, 99),  # committer
        st.integers(0, 3),  # members added
        st.lists(st.integers(0, 99), max_size=2),  # removed
        st.lists(st.integers(0, 99), max_size=2),  # updated
        st.booleans(),  # path, where none is needed
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_any_history_keeps_the_tree_invariant(
    history: list[tuple[int, int, list[int], list[int], bool]],
) -> None:
    group = TreeGroup.create(SUITE, size=3)
    for committer_at, adds, removed_at, updated_at, path in history:
        members = sorted(group.members)
        committer = members[committer_at % len(members)]
        removes = {members[at % len(members)] for at in removed_at} - {committer}
        updates = {members[at % len(members)] for at in updated_at} - {committer} - removes
        needed = bool(removes or updates or not adds)
        group.commit(committer, adds=adds, removes=removes, updates=updates, path=path or needed)
        check_invariants(group)


def test_a_blank_root_adds_no_step_to_the_commit_secret() -> None:
    """The left half of the tree is empty, hence the root is not on the filtered direct path."""
    group = TreeGroup.create(SUITE, size=6)
    created = group.commit(4, removes=[0, 1, 2, 3])
    assert created is not None
    assert (group.tree.leaf_count, group.tree.node(7)) == (8, None)
    assert created.path_secrets.keys() == {9}
    assert created.commit_secret == derive_secret(SUITE, created.path_secrets[9], "path")
    check_invariants(group)
    group.commit(5, adds=1)
    check_invariants(group)


def test_the_only_member_can_commit_a_path() -> None:
    group = TreeGroup.create(SUITE)
    first, second = group.commit(0), group.commit(0)
    assert first is not None
    assert second is not None
    assert first.path.nodes == ()
    assert first.path.leaf_node.parent_hash == b""
    assert len(first.commit_secret) == SUITE.hash_size
    assert first.commit_secret != second.commit_secret
    check_invariants(group)


def test_newcomers_get_no_ciphertext_but_the_secret_of_the_common_ancestor() -> None:
    group = TreeGroup.create(SUITE)
    created = group.commit(0, adds=3)
    assert created is not None
    assert [len(node.encrypted_path_secret) for node in created.path.nodes] == [0, 0]
    assert created.path_secret_for(1) == created.path_secrets[1]
    assert created.path_secret_for(2) == created.path_secret_for(3) == created.path_secrets[3]
    check_invariants(group)


def test_an_unmerged_member_is_reached_by_its_leaf_key() -> None:
    group = TreeGroup.create(SUITE, size=4)
    group.commit(0, removes=[3])
    group.commit(0, adds=1, path=False)
    assert group.tree.resolution(3) == (3, 6)
    assert group.members[3].private.path_keys == {}
    group.commit(0, adds=2, path=False)
    group.commit(4)
    check_invariants(group)
    assert set(group.members[3].private.path_keys) == {7}


def test_a_removed_member_cannot_take_part_in_the_next_path() -> None:
    group = TreeGroup.create(SUITE, size=4)
    lost = group.members[3].private
    tree = group.tree.remove_leaf(3)
    created = create_path(group, tree, 0)
    with pytest.raises(ValidationError, match="path-not-for-us"):
        process(group, tree, lost, 0, created.path)


def test_an_outsider_commits_from_a_free_leaf() -> None:
    group = TreeGroup.create(SUITE, size=4)
    package, _, signer = key_package(SUITE, "outside", seeded(9))
    tree, index = group.tree.with_free_leaf()
    assert index == 4
    created = create_update_path(
        SUITE,
        tree,
        index,
        package.leaf_node.content,
        signer,
        group_id=GROUP,
        context=lambda merged: context_of(SUITE, merged),
    )
    for member in group.members.values():
        result = process(group, tree, member.private, index, created.path)
        assert result.commit_secret == created.commit_secret
    check_tree(SUITE, created.tree, GROUP)


# --- faults ----------------------------------------------------------------------------------------


def create_path(group: TreeGroup, tree: RatchetTree, sender: int) -> CreatedPath:
    return create_update_path(
        SUITE,
        tree,
        sender,
        group.leaf(sender).content,
        group.members[sender].signer,
        group_id=GROUP,
        context=lambda merged: context_of(SUITE, merged),
        random=group.source,
    )


def process(
    group: TreeGroup, tree: RatchetTree, private: PrivateTree, sender: int, path: UpdatePath
) -> ProcessedPath:
    return process_update_path(
        SUITE,
        tree,
        private,
        sender,
        path,
        group_id=GROUP,
        context=lambda merged: context_of(SUITE, merged),
    )


@pytest.fixture(scope="module")
def group() -> TreeGroup:
    return TreeGroup.create(SUITE, size=4)


def resigned(group: TreeGroup, created: CreatedPath, key: bytes, parent_hash: bytes) -> LeafNode:
    """The path's leaf with another key or parent hash, signed by its owner all the same."""
    leaf = created.path.leaf_node
    signer = group.members[0].signer
    return sign_leaf(SUITE, signer, leaf.content, key, parent_hash, GROUP, 0)


def change_node(path: UpdatePath, at: int, **changes: object) -> UpdatePath:
    nodes = list(path.nodes)
    nodes[at] = replace(nodes[at], **changes)  # type: ignore[arg-type]
    return replace(path, nodes=tuple(nodes))


def _with_leaf(group: TreeGroup, made: CreatedPath, key: bytes, parent_hash: bytes) -> UpdatePath:
    return replace(made.path, leaf_node=resigned(group, made, key, parent_hash))


def _other_key(group: TreeGroup, made: CreatedPath, at: int, key: bytes) -> UpdatePath:
    """A path whose node `at` has another key, with a leaf that vouches for it."""
    changed = change_node(made.path, at, encryption_key=key)
    keys = [node.encryption_key for node in changed.nodes]
    _, parent_hash = set_path(SUITE, group.tree, 0, keys)
    leaf = resigned(group, made, made.path.leaf_node.encryption_key, parent_hash)
    return replace(changed, leaf_node=leaf)


Fault = Callable[[TreeGroup, CreatedPath], UpdatePath]
FAULTS: dict[str, tuple[str, Fault]] = {
    "too few nodes": (
        "path-length",
        lambda group, made: replace(made.path, nodes=made.path.nodes[:1]),
    ),
    "too many nodes": (
        "path-length",
        lambda group, made: replace(
            made.path, nodes=(*made.path.nodes, UpdatePathNode(bytes(32), ()))
        ),
    ),
    "a ciphertext too few": (
        "path-ciphertexts",
        lambda group, made: change_node(made.path, 0, encrypted_path_secret=()),
    ),
    "a ciphertext too many, not for us": (
        "path-ciphertexts",
        lambda group, made: change_node(
            made.path, 0, encrypted_path_secret=made.path.nodes[0].encrypted_path_secret * 2
        ),
    ),
    "a leaf of another source": (
        "leaf-source",
        lambda group, made: replace(
            made.path, leaf_node=key_package(SUITE, "x", seeded(3))[0].leaf_node
        ),
    ),
    "a leaf signed by somebody else": (
        "leaf-signature",
        lambda group, made: replace(
            made.path, leaf_node=replace(made.path.leaf_node, signature=bytes(64))
        ),
    ),
    "a wrong parent hash": (
        "path-parent-hash",
        lambda group, made: _with_leaf(
            group, made, made.path.leaf_node.encryption_key, bytes(SUITE.hash_size)
        ),
    ),
    "the leaf key as before": (
        "path-key-reused",
        lambda group, made: _with_leaf(
            group, made, group.leaf(0).encryption_key, made.path.leaf_node.parent_hash or b""
        ),
    ),
    "a node key that another node has": (
        "path-key-reused",
        lambda group, made: _other_key(group, made, 1, group.leaf(3).encryption_key),
    ),
    "one key twice in the path": (
        "path-key-reused",
        lambda group, made: _other_key(group, made, 1, made.path.nodes[0].encryption_key),
    ),
    "a node key of a wrong length": (
        "path-key",
        lambda group, made: _other_key(group, made, 1, b"short"),
    ),
    "a ciphertext for another": (
        "path-secret",
        lambda group, made: change_node(
            made.path, 1, encrypted_path_secret=made.path.nodes[0].encrypted_path_secret
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_path_with_one_fault_is_refused_for_it(group: TreeGroup, fault: str) -> None:
    rule, broken = FAULTS[fault]
    made = create_path(group, group.tree, 0)
    private = group.members[2].private
    process(group, group.tree, private, 0, made.path)
    with pytest.raises(ValidationError) as caught:
        process(group, group.tree, private, 0, broken(group, made))
    assert caught.value.rule == rule


def test_a_path_whose_public_key_is_not_that_of_its_path_secret_is_refused(
    group: TreeGroup,
) -> None:
    """The committer signs and encrypts everything well, but announces a key that nobody can derive."""
    made = create_path(group, group.tree, 0)
    path = _other_key(group, made, 1, SUITE.generate_kem_key().public)
    merged = apply_update_path(SUITE, group.tree, 0, path, group_id=GROUP)
    receiver = group.tree.parent_node(5)
    assert receiver is not None
    sealed = encrypt_with_label(
        SUITE,
        receiver.encryption_key,
        "UpdatePathNode",
        context_of(SUITE, merged),
        made.path_secrets[3],
    )
    path = change_node(path, 1, encrypted_path_secret=(sealed,))
    with pytest.raises(ValidationError, match="path-key-mismatch"):
        process(group, group.tree, group.members[2].private, 0, path)


def test_a_path_is_bound_to_the_group_context(group: TreeGroup) -> None:
    made = create_path(group, group.tree, 0)
    with pytest.raises(ValidationError, match="path-secret"):
        process_update_path(
            SUITE,
            group.tree,
            group.members[2].private,
            0,
            made.path,
            group_id=GROUP,
            context=lambda merged: b"another context",
        )


def test_a_path_is_bound_to_group_and_sender(group: TreeGroup) -> None:
    made = create_path(group, group.tree, 0)
    with pytest.raises(ValidationError, match="leaf-signature"):
        apply_update_path(SUITE, group.tree, 0, made.path, group_id=b"another group")
    with pytest.raises(ValidationError, match="leaf-signature"):
        apply_update_path(SUITE, group.tree, 1, made.path, group_id=GROUP)


def test_no_secret_of_a_path_is_shown(group: TreeGroup) -> None:
    made = create_path(group, group.tree, 0)
    received = process(group, group.tree, group.members[2].private, 0, made.path)
    shown = repr((made, received))
    for secret in (*made.path_secrets.values(), made.commit_secret, received.path_secret):
        assert repr(bytes(secret)) not in shown
        assert secret.hex() not in shown


def test_making_and_receiving_a_path_changes_no_value_that_went_in(group: TreeGroup) -> None:
    before = (encode(group.tree), encode(group.members[2].private))
    made = create_path(group, group.tree, 0)
    process(group, group.tree, group.members[2].private, 0, made.path)
    assert (encode(group.tree), encode(group.members[2].private)) == before
