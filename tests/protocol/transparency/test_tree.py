"""The Merkle tree beside a naive one, every size to 130; proofs that were changed are refused."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.transparency import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

SIZES = 131
LEAVES = [leaf_hash(number.to_bytes(2, "big")) for number in range(SIZES)]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH, word for word (RFC 9162 §2.1.1), over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    both = b"\1" + naive_root(leaves[:split]) + naive_root(leaves[split:])
    return hashlib.sha256(both).digest()


def read(level: int, index: int) -> bytes:
    return naive_root(LEAVES[index << level : index + 1 << level])


ROOTS = [naive_root(LEAVES[:size]) for size in range(SIZES)]


def test_a_leaf_and_a_node_are_hashed_apart() -> None:
    assert leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()
    assert hashlib.sha256(b"").digest() == EMPTY_ROOT


def test_a_growing_frontier_has_the_root_of_every_size_and_tells_each_subtree_once() -> None:
    frontier, seen = Frontier(), {}
    for size in range(SIZES):
        assert (frontier.size, frontier.root) == (size, ROOTS[size])
        assert root_of(LEAVES[:size]) == ROOTS[size]
        assert Frontier.decode(size, frontier.encode()) == frontier
        if size < SIZES - 1:
            frontier, done = frontier.append(LEAVES[size])
            for node in done:
                assert node.hash == read(node.level, node.no)
                assert seen.setdefault((node.level, node.no), node.hash) is node.hash
    assert len(seen) == sum((SIZES - 1) >> level for level in range(1, 8))


def test_a_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier.decode(3, bytes(32))


def test_every_leaf_of_every_size_is_proven_included_and_nowhere_else() -> None:
    for size in range(1, SIZES):
        for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
            path = inclusion_path(index, size, read)
            verify_inclusion(LEAVES[index], index, size, path, ROOTS[size])
            for wrong in {index - 1, index + 1, size} - {index}:
                with pytest.raises(ProofError):
                    verify_inclusion(LEAVES[index], wrong, size, path, ROOTS[size])


def test_every_two_sizes_are_proven_consistent() -> None:
    for second in range(SIZES):
        for first in range(second + 1):
            path = consistency_path(first, second, read)
            verify_consistency(first, ROOTS[first], second, ROOTS[second], path)


@given(st.data())
def test_a_changed_proof_of_inclusion_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, SIZES - 1))
    index = data.draw(st.integers(0, size - 1))
    path = list(inclusion_path(index, size, read))
    changed = mutated(data, path)
    with pytest.raises(ProofError):
        verify_inclusion(LEAVES[index], index, size, changed, ROOTS[size])


@given(st.data())
def test_a_changed_proof_of_consistency_is_refused(data: st.DataObject) -> None:
    second = data.draw(st.integers(2, SIZES - 1))
    first = data.draw(st.integers(1, second - 1))
    path = list(consistency_path(first, second, read))
    changed = mutated(data, path)
    with pytest.raises(ProofError):
        verify_consistency(first, ROOTS[first], second, ROOTS[second], changed)


@given(st.integers(0, SIZES - 1), st.integers(0, SIZES - 1), st.integers(0, 255))
def test_another_root_is_never_a_prefix(first: int, second: int, bit: int) -> None:
    first, second = sorted((first, second))
    path = consistency_path(first, second, read)
    wrong = bytearray(ROOTS[first])
    wrong[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProofError):
        verify_consistency(first, bytes(wrong), second, ROOTS[second], path)


@given(
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.lists(st.binary(min_size=32, max_size=32), max_size=70),
)
def test_any_path_ends_in_an_answer(first: int, second: int, path: list[bytes]) -> None:
    with pytest.raises(ProofError):
        verify_consistency(first, bytes(32), second, b"\1" * 32, path)
    with pytest.raises(ProofError):
        verify_inclusion(bytes(32), first, second, path, b"\1" * 32)


def test_what_is_not_there_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion_path(3, 3, read)
    with pytest.raises(ValueError, match="older"):
        consistency_path(4, 3, read)


def mutated(data: st.DataObject, path: list[bytes]) -> list[bytes]:
    """The path with one bit changed, one hash left out, put in twice, or added."""
    place = data.draw(st.integers(0, len(path) - 1))
    how = data.draw(st.sampled_from(("bit", "less", "twice", "more")))
    if how == "bit":
        wrong = bytearray(path[place])
        wrong[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
        return [*path[:place], bytes(wrong), *path[place + 1 :]]
    if how == "less":
        return path[:place] + path[place + 1 :]
    if how == "twice":
        return [*path[: place + 1], *path[place:]]
    return [*path, data.draw(st.binary(min_size=32, max_size=32))]
