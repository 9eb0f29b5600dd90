"""Blobs: parts of ciphertext up and down."""

from typing import Annotated

from msgspec import Meta

from .values import BLOB_PART, Frame, Id32, Number, Request, Rid


class PutBlob(Request, frozen=True):
    """One part of a blob. Its id is a capability: 32 random bytes, known to those who were told it.

    Parts come in order from offset 0, each but the last of BLOB_PART bytes; a part
    that is held already is answered Done again.
    """

    blob: Id32
    offset: Number
    size: Number
    """Bytes of the whole blob."""
    data: Annotated[bytes, Meta(min_length=1, max_length=BLOB_PART)]


class GetUpload(Request, frozen=True):
    """How much of a blob that this account began does the relay hold?"""

    blob: Id32


class Upload(Frame, frozen=True):
    """Answer to GetUpload: the upload goes on at `held`.

    Bytes from the blob's beginning, a multiple of BLOB_PART; the blob's size when it is complete.
    """

    rid: Rid
    held: Number


class GetBlob(Request, frozen=True):
    blob: Id32
    offset: Number


class BlobPart(Frame, frozen=True):
    rid: Rid
    size: Number
    data: Annotated[bytes, Meta(max_length=BLOB_PART)]


FromClient = PutBlob | GetUpload | GetBlob
FromRelay = BlobPart | Upload
