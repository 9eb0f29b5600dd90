"""Statements that may be too large for a frame: as a blob there, as bytes here."""

import hashlib
from collections.abc import Callable

from pli_protocol.relay.frames import (
    BLOB_PART,
    MAX_INLINE,
    BlobRef,
    GetBlob,
    Payload,
    PutBlob,
)

from .connection import Requests
from .errors import RelayMisbehaved


async def as_payload(relay: Requests, data: bytes, random: Callable[[int], bytes]) -> Payload:
    """The bytes themselves, or the reference to the blob in which they now lie at the relay."""
    if len(data) <= MAX_INLINE:
        return data
    blob = random(32)
    for offset in range(0, len(data), BLOB_PART):
        part = data[offset : offset + BLOB_PART]
        await relay.request(PutBlob(0, blob, offset, len(data), part))
    return BlobRef(blob, len(data), hashlib.sha256(data).digest())


async def from_payload(relay: Requests, payload: Payload, limit: int = 4 * 1024 * 1024) -> bytes:
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
