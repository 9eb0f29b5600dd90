"""Signed tree heads: what the relay commits to, once and for all, for one timeline of its log."""

import base64
import struct
from typing import Annotated, Final

from msgspec import Meta, Struct

from .hashing import Count, Hash, Millis

DOMAIN: Final = b"pli tree head v1"


class TreeHead(Struct, frozen=True, forbid_unknown_fields=True):
    """The log of a timeline when it had `size` entries, all of which `root` fixes."""

    timeline: Count
    size: Count
    root: Hash
    time: Millis
    """Milliseconds since 1970, by the relay's clock, when it was signed."""

    def signed_bytes(self, relay: str) -> bytes:
        """What the relay signs: "pli tree head v1" 00 relay name 00 timeline size root time.

        The name in small letters, numbers as 8 bytes big-endian.
        """
        numbers = struct.pack(">QQ32sQ", self.timeline, self.size, self.root, self.time)
        return b"\0".join((DOMAIN, relay.lower().encode(), numbers))


class SignedHead(Struct, frozen=True, forbid_unknown_fields=True):
    """A head with the relay's Ed25519 signature (64 bytes)."""

    head: TreeHead
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


def head_code(head: TreeHead) -> str:
    """A code to print or read out: timeline, size, and the root's first 15 bytes in six groups of four.

    Enough to compare two heads of the same size by eye or on paper: 120 bits.
    """
    text = base64.b32encode(head.root[:15]).decode()
    groups = "-".join(text[i : i + 4] for i in range(0, len(text), 4))
    return f"{head.timeline}.{head.size}.{groups}"
