"""Hashes of the tree: leaves and nodes apart, so that neither passes for the other (RFC 9162 §2.1.1)."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Millis = Annotated[int, Meta(ge=0, lt=2**43)]
"""Milliseconds since 1970, up to the year 2248."""

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a tree without leaves (32 bytes)."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(00 || data): 32 bytes."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(01 || left || right): 32 bytes, the node above two others."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, all at hand (for a tree that fits in memory)."""
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:
        # A node without a neighbour goes up as it is: the same as splitting at powers of two.
        level = [
            node_hash(level[i], level[i + 1]) if i + 1 < len(level) else level[i]
            for i in range(0, len(level), 2)
        ]
    return level[0]
