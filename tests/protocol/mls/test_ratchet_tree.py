"""The ratchet tree as a value (RFC 9420 §4, §7.7, §12.1): examples of the RFC, then properties."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls import tree_math
from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.codec import Reader, Writer, decode, encode, varint
from pli_protocol.mls.credential import BasicCredential
from pli_protocol.mls.errors import CodecError, UsageError
from pli_protocol.mls.leaf_node import Capabilities, LeafNode, LeafNodeSource
from pli_protocol.mls.node import Node, ParentNode, write_node
from pli_protocol.mls.ratchet_tree import MAX_LEAVES, RatchetTree

from .structs import ratchet_trees

SUITE = suite(1)


def leaf(name: str) -> LeafNode:
    """A leaf of that name; nothing in it is signed."""
    key = SUITE.hash(name.encode())
    update = LeafNodeSource.UPDATE
    return LeafNode(
        key, key, BasicCredential(name.encode()), Capabilities(), update, None, None, (), b""
    )


def parent(name: str, *unmerged: int) -> ParentNode:
    return ParentNode(SUITE.hash(name.encode()), b"", unmerged)


def tree_of(nodes: Mapping[int, Node | str]) -> RatchetTree:
    return RatchetTree.from_nodes(
        {at: leaf(node) if isinstance(node, str) else node for at, node in nodes.items()}
    )


@pytest.fixture
def figure() -> RatchetTree:
    """X over A and B, Y over E, F (unmerged there) and G; the other parents and leaves 3, 7 are blank.

              _
          ____|____
         _         Y[F]
        _|_        _|_
       X   _      _   _
      / \\ / \\    / \\ / \\
      A B C _    E F G _
    """
    return tree_of(
        {
            **{0: "A", 2: "B", 4: "C", 8: "E", 10: "F", 12: "G"},
            1: parent("X"),
            11: parent("Y", 5),
        }
    )


def test_resolutions_are_those_of_the_definition(figure: RatchetTree) -> None:
    assert figure.resolution(1) == (1,)
    assert figure.resolution(11) == (11, 10)
    assert figure.resolution(6) == ()
    assert figure.resolution(5) == (4,)
    assert figure.resolution(3) == (1, 4)
    assert figure.resolution(7) == (1, 4, 11, 10)
    assert figure.resolution(9) == (8, 10)


def test_the_filtered_direct_path_leaves_out_nodes_whose_copath_child_covers_nobody(
    figure: RatchetTree,
) -> None:
    assert figure.direct_path(2) == (5, 3, 7)
    assert figure.copath(2) == (6, 1, 11)
    assert figure.filtered_direct_path(2) == (3, 7)
    assert figure.filtered_path(6) == ((11, 9), (7, 3))


def test_a_member_is_added_at_the_leftmost_blank_leaf_and_unmerged_above(
    figure: RatchetTree,
) -> None:
    tree, index = figure.add_leaf(leaf("D"))
    assert index == 3
    tree, index = tree.add_leaf(leaf("H"))
    assert index == 7
    assert tree.parent_node(11) == parent("Y", 5, 7)
    assert tree.parent_node(1) == parent("X")
    assert tree.leaf_count == 8
    tree, index = tree.add_leaf(leaf("I"))
    assert (index, tree.leaf_count, tree.width) == (8, 16, 31)


def test_a_tree_that_is_too_wide_is_refused_before_it_is_laid_out() -> None:
    """A blank node is one byte to whoever sends it."""
    blanks = 1 << 20
    r = Reader(varint(blanks) + bytes(blanks))
    with pytest.raises(CodecError) as failed:
        RatchetTree.read(r)
    assert failed.value.rule == "tree-width"
    assert r.position <= len(varint(blanks)) + 2 * MAX_LEAVES


def test_a_tree_may_be_as_wide_as_the_reader_says() -> None:
    for leaves in (1, 2, 8, MAX_LEAVES):
        data = encode(tree_of({2 * leaves - 2: "last"}))
        assert RatchetTree.read(Reader(data), leaves).leaf_count == leaves
        if leaves > 1:
            with pytest.raises(CodecError):
                RatchetTree.read(Reader(data), leaves // 2)


def test_unmerged_leaves_stay_in_order() -> None:
    tree = tree_of({0: "A", 4: "C", 3: parent("P", 2)})
    tree, index = tree.add_leaf(leaf("B"))
    assert index == 1
    assert tree.parent_node(3) == parent("P", 1, 2)


def test_a_removed_member_leaves_blanks_and_the_tree_is_truncated() -> None:
    tree = tree_of({0: "A", 2: "B", 8: "E", 1: parent("X"), 7: parent("W")})
    smaller = tree.remove_leaf(4)
    assert smaller == tree_of({0: "A", 2: "B", 1: parent("X")})
    assert smaller.width == 3
    assert tree.remove_leaf(0) == tree_of({2: "B", 8: "E"})


def test_an_update_blanks_the_direct_path_and_nothing_else() -> None:
    tree = tree_of({0: "A", 2: "B", 4: "C", 6: "D", 1: parent("X"), 3: parent("W"), 5: parent("Z")})
    updated = tree.update_leaf(0, leaf("A2"))
    assert updated == tree_of({0: "A2", 2: "B", 4: "C", 6: "D", 5: parent("Z")})


def test_a_blank_leaf_cannot_be_removed_or_updated() -> None:
    tree = tree_of({0: "A", 4: "C"})
    with pytest.raises(UsageError):
        tree.remove_leaf(1)
    with pytest.raises(UsageError):
        tree.remove_leaf(9)
    with pytest.raises(UsageError):
        tree.update_leaf(1, leaf("B"))


def test_the_only_member_can_make_way_for_itself() -> None:
    for tree in (RatchetTree.of_leaf(leaf("A")), tree_of({0: "A", 4: "C"}).remove_leaf(2)):
        empty = tree.remove_leaf(0)
        assert empty.with_free_leaf() == (empty, 0)
        assert empty.add_leaf(leaf("A2")) == (RatchetTree.of_leaf(leaf("A2")), 0)
    assert tree_of({0: "A", 8: "E"}).remove_leaf(4).remove_leaf(0).width == 1


def test_a_free_leaf_is_found_without_filling_it(figure: RatchetTree) -> None:
    tree, index = figure.with_free_leaf()
    assert (tree, index) == (figure, 3)
    full = tree_of({0: "A", 2: "B"})
    tree, index = full.with_free_leaf()
    assert (tree.leaf_count, index, tree.leaf(index)) == (4, 2, None)


def test_leaves_outside_of_the_tree_are_blank(figure: RatchetTree) -> None:
    assert figure.leaf(8) is None
    assert figure.leaf(-1) is None
    assert figure.node(15) is None


def test_a_leaf_is_found_by_its_whole_content(figure: RatchetTree) -> None:
    assert figure.find_leaf(leaf("G")) == 6
    assert figure.find_leaf(leaf("H")) is None


def vector_of(*nodes: Node | None) -> bytes:
    w = Writer()
    w.vector(nodes, lambda w, node: w.u8(0) if node is None else (w.u8(1), write_node(w, node)))
    return w.getvalue()


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (None,),
        (leaf("A"), None),
        (leaf("A"), parent("X"), leaf("B"), None, None),
        (parent("X"),),
        (leaf("A"), leaf("B")),
    ],
    ids=["empty", "only-blank", "blank-end", "blank-end-2", "parent-as-leaf", "leaf-as-parent"],
)
def test_a_malformed_ratchet_tree_is_a_codec_error(nodes: tuple[Node | None, ...]) -> None:
    with pytest.raises(CodecError):
        decode(RatchetTree, vector_of(*nodes))


def test_the_six_member_example_has_eleven_entries() -> None:
    nodes: dict[int, Node] = {2 * at: leaf(name) for at, name in enumerate("ABCDEF")}
    tree = RatchetTree.from_nodes(nodes)
    assert (tree.width, tree.leaf_count) == (15, 8)
    data = encode(tree)
    assert data == vector_of(*(nodes.get(at) for at in range(11)))
    assert decode(RatchetTree, data) == tree


@given(ratchet_trees())
def test_a_tree_is_the_same_from_its_nodes_and_from_its_encoding(tree: RatchetTree) -> None:
    nodes = {at: node for at, node in enumerate(tree.nodes) if node is not None}
    assert RatchetTree.from_nodes(nodes) == tree
    assert decode(RatchetTree, encode(tree)) == tree


@given(ratchet_trees())
def test_a_resolution_covers_every_leaf_below_once(tree: RatchetTree) -> None:
    bare = tree.with_nodes(
        {
            at: ParentNode(node.encryption_key)
            for at, node in tree.parents()
            if not tree.is_blank_below(at)
        }
    )
    for top in range(bare.width):
        first, last = tree_math.subtree(top)
        below = {2 * at for at, _ in bare.leaves() if first <= 2 * at <= last}
        covered = [
            at
            for node in bare.resolution(top)
            for at in range(tree_math.subtree(node)[0], tree_math.subtree(node)[1] + 1, 2)
            if bare.nodes[at] is not None
        ]
        assert sorted(covered) == sorted(below)


@given(ratchet_trees(), st.data())
def test_adding_and_removing_a_member_leaves_no_trace_but_blanks(
    tree: RatchetTree, data: st.DataObject
) -> None:
    added, index = tree.add_leaf(leaf("new"))
    assert added.leaf(index) == leaf("new")
    for ancestor in added.direct_path(index):
        node = added.parent_node(ancestor)
        assert node is None or index in node.unmerged_leaves
    removed = added.remove_leaf(index)
    assert list(removed.leaves()) == list(tree.leaves())
    assert all(
        removed.node(at) is None for at in tree_math.direct_path(2 * index, added.leaf_count)
    )


@given(ratchet_trees(), st.lists(st.integers(0, 2**16), max_size=6))
def test_kept_tree_hashes_are_those_of_a_tree_made_anew(
    tree: RatchetTree, steps: list[int]
) -> None:
    for number, step in enumerate(steps):
        tree.tree_hash(SUITE)
        taken = [index for index, _ in tree.leaves()]
        chosen = taken[step % len(taken)]
        match step % 3:
            case 0:
                tree, _ = tree.add_leaf(leaf(f"new {number}"))
            case 1 if len(taken) > 1:
                tree = tree.remove_leaf(chosen)
            case _:
                tree = tree.update_leaf(chosen, leaf(f"updated {number}"))
        assert tree.tree_hash(SUITE) == decode(RatchetTree, encode(tree)).tree_hash(SUITE)


@given(ratchet_trees(), st.data())
def test_many_changes_at_once_are_those_changes_one_after_the_other(
    tree: RatchetTree, data: st.DataObject
) -> None:
    tree.tree_hash(SUITE)
    members = [int(index) for index, _ in tree.leaves()]
    touched = data.draw(st.lists(st.sampled_from(members), unique=True))
    cut = data.draw(st.integers(0, len(touched)))
    updated = [(index, leaf(f"updated {index}")) for index in touched[:cut]]
    removed = touched[cut:]
    added = [leaf(f"added {number}") for number in range(data.draw(st.integers(0, 12)))]

    expected, places = tree, []
    for index, new in updated:
        expected = expected.update_leaf(index, new)
    for index in removed:
        expected = expected.remove_leaf(index)
    for new in added:
        expected, place = expected.add_leaf(new)
        places.append(place)

    found, at = tree.changed(updated, removed, added)
    assert found == expected
    assert list(at) == places
    assert found.tree_hash(SUITE) == expected.tree_hash(SUITE)
