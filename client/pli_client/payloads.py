"""Statements that may be too large for a frame: as a blob there, as bytes here."""

import hashlib
from collections.abc import Callable
from typing import Final

from pli_protocol.relay.frames import (
    BLOB_PART,
    MAX_INLINE,
    BlobRef,
    GetBlob,
    Payload,
    PutBlob,
)

from .connection import Requests
from .errors import RelayMisbehaved, RelayRefused


async def as_payload(
    relay: Requests, data: bytes, random: Callable[[int], bytes], room: int = MAX_INLINE
) -> Payload:
    """The bytes themselves, or the reference to the blob in which they now lie at the relay.

    Args:
        room: bytes that the frame has for it.
    """
    if len(data) <= room:
        return data
    blob = random(32)
    for offset in range(0, len(data), BLOB_PART):
        part = data[offset : offset + BLOB_PART]
        await relay.request(PutBlob(0, blob, offset, len(data), part))
    return BlobRef(blob, len(data), hashlib.sha256(data).digest())


LARGEST: Final = 16 * 1024 * 1024
"""Bytes of the largest payload that is fetched; a relay takes no larger one."""


async def from_payload(relay: Requests, payload: Payload, limit: int = LARGEST) -> bytes:
    """The bytes of a payload, fetched and compared with its hash where it is a blob.

    Raises:
        RelayMisbehaved: larger than `limit` bytes, or not what was announced.
    """
    if not isinstance(payload, BlobRef):
        return payload
    if payload.size > limit:
        raise RelayMisbehaved("a payload is too large")
    data = b""
    while len(data) < payload.size:
        part = await relay.request(GetBlob(0, payload.blob, len(data)))
        if not part.data or part.size != payload.size:
            raise RelayMisbehaved("a blob of another size")
        data += part.data
    if hashlib.sha256(data).digest() != payload.sha256:
        raise RelayMisbehaved("a blob of another content")
    return data


async def if_there(relay: Requests, payload: Payload) -> bytes | None:
    """Like `from_payload`; None where it cannot be had: gone, too large, or not what was announced.

    Whoever waits for it would wait for ever, and hold up all that comes behind.
    """
    try:
        return await from_payload(relay, payload)
    except RelayMisbehaved:
        return None
    except RelayRefused as refused:
        if refused.refusal not in ("not-found", "invalid", "too-large"):
            raise
        return None
