"""Inclusion and consistency proofs (RFC 9162 §2.1.3 and §2.1.4): made from stored subtrees, checked.

Proofs are made over `read(level, index)`, which gives the hash of a complete subtree: the 2**level
leaves from index * 2**level on. A tree of n leaves costs O(log² n) reads.
"""

from collections.abc import Callable, Sequence
from typing import Final

from .hashing import EMPTY_ROOT, node_hash

ReadNode = Callable[[int, int], bytes]

MAX_PATH: Final = 64
"""Hashes in the longest proof that is read: a tree of 2**53 leaves needs no more."""


class ProofError(Exception):
    """A proof does not hold: the text says which, never why."""


def inclusion_path(index: int, size: int, read: ReadNode) -> tuple[bytes, ...]:
    """The proof that leaf `index` (from 0) is in the tree of `size` leaves: PATH(m, D_n).

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError("no such leaf in a tree of this size")
    return tuple(_path(index, 0, size, read))


def _path(index: int, start: int, end: int, read: ReadNode) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + _split(end - start)
    if index < middle:
        return [*_path(index, start, middle, read), _subtree(middle, end, read)]
    return [*_path(index, middle, end, read), _subtree(start, middle, read)]


def consistency_path(first: int, second: int, read: ReadNode) -> tuple[bytes, ...]:
    """The proof that the tree of `first` leaves is a prefix of that of `second`: PROOF(m, D_n).

    Raises:
        ValueError: the sizes are in the wrong order.
    """
    if not 0 <= first <= second:
        raise ValueError("the older tree is not the smaller one")
    if first in (0, second):
        return ()
    return tuple(_subproof(first, 0, second, read, whole=True))


def _subproof(first: int, start: int, end: int, read: ReadNode, *, whole: bool) -> list[bytes]:
    if first == end:
        return [] if whole else [_subtree(start, end, read)]
    middle = start + _split(end - start)
    if first <= middle:
        return [*_subproof(first, start, middle, read, whole=whole), _subtree(middle, end, read)]
    return [*_subproof(first, middle, end, read, whole=False), _subtree(start, middle, read)]


def _subtree(start: int, end: int, read: ReadNode) -> bytes:
    """The root over leaves start to end; `start` is a multiple of a power of two not below its size."""
    size = end - start
    if size & (size - 1) == 0:
        return read(size.bit_length() - 1, start // size)
    middle = start + _split(size)
    return node_hash(_subtree(start, middle, read), _subtree(middle, end, read))


def _split(size: int) -> int:
    """The largest power of two below size."""
    return 1 << (size - 1).bit_length() - 1


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf hash stands at `index` of the tree with this root (RFC 9162 §2.1.3.2).

    Raises:
        ProofError: it does not.
    """
    if not 0 <= index < size:
        raise ProofError("inclusion")
    position, last, current = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofError("inclusion")
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or current != root:
        raise ProofError("inclusion")


def verify_consistency(
    first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the first tree is a prefix of the second (RFC 9162 §2.1.4.2).

    Raises:
        ProofError: it is not, or the sizes are in the wrong order.
    """
    if not 0 <= first <= second:
        raise ProofError("consistency")
    if first in (0, second):
        same = first_root == (EMPTY_ROOT if first == 0 else second_root)
        if path or not same:
            raise ProofError("consistency")
        return
    _verify_growth(first, first_root, second, second_root, list(path))


def _verify_growth(
    first: int, first_root: bytes, second: int, second_root: bytes, path: list[bytes]
) -> None:
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        raise ProofError("consistency")
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    older = newer = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("consistency")
        if position & 1 or position == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or (older, newer) != (first_root, second_root):
        raise ProofError("consistency")
