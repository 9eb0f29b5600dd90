"""The right edge of a growing tree: all that appending needs, 32 bytes for each bit of its size."""

from dataclasses import dataclass
from typing import NamedTuple, Self

from .hashing import EMPTY_ROOT, node_hash

HASH = 32


class Node(NamedTuple):
    """A complete subtree: the 2**level leaves from no * 2**level on."""

    level: int
    no: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Frontier:
    """The complete subtrees that make up a tree, the largest (leftmost) first. A value."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> tuple[Self, list[Node]]:
        """One leaf hash more: the tree after it, and the subtrees above the leaf that it completed."""
        done: list[Node] = []
        hashes, size, current, level = list(self.hashes), self.size, leaf, 0
        while size >> level & 1:
            current = node_hash(hashes.pop(), current)
            level += 1
            done.append(Node(level, size >> level, current))
        return type(self)(size + 1, (*hashes, current)), done

    @property
    def root(self) -> bytes:
        """The root of the whole tree (32 bytes)."""
        if not self.hashes:
            return EMPTY_ROOT
        *left, root = self.hashes
        for subtree in reversed(left):
            root = node_hash(subtree, root)
        return root

    def encode(self) -> bytes:
        """The hashes one after another; the size says how many they are."""
        return b"".join(self.hashes)

    @classmethod
    def decode(cls, size: int, data: bytes) -> Self:
        """Raises ValueError where there are not as many hashes as the size has bits set."""
        if len(data) != HASH * size.bit_count():
            raise ValueError("not the frontier of a tree of this size")
        return cls(size, tuple(data[i : i + HASH] for i in range(0, len(data), HASH)))
