"""What frames are made of: their base classes, bounded types, values inside them."""

from typing import Annotated

from msgspec import Meta, Struct

PROTOCOL_VERSIONS = (1,)
"""The versions of this protocol that this code speaks, newest first."""

MAX_FRAME = 64 * 1024
"""Bytes of the largest frame."""

MAX_INLINE = 48 * 1024
"""Bytes of the largest payload inside a frame; a larger commit or Welcome goes up as a blob first."""

BLOB_PART = 48 * 1024
"""Bytes of the largest part of a blob in one frame."""

WINDOW = 256
"""Rows per device that the relay pushes ahead of the device's acknowledgements."""

Id16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Id32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
GroupId = Annotated[bytes, Meta(min_length=16, max_length=64)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Certificate = Annotated[bytes, Meta(min_length=1, max_length=4096)]
Number = Annotated[int, Meta(ge=0, lt=2**53)]
Time = Annotated[int, Meta(ge=0, lt=2**43)]
"""Milliseconds since 1970, up to the year 2248: every calendar can show it."""
Rid = Annotated[int, Meta(ge=0, lt=2**32)]
Inline = Annotated[bytes, Meta(min_length=1, max_length=MAX_INLINE)]
Short = Annotated[str, Meta(max_length=256)]
Chain = Annotated[tuple[Certificate, ...], Meta(min_length=1, max_length=3)]


class Frame(Struct, frozen=True, forbid_unknown_fields=True, tag_field="t", omit_defaults=True):
    """A frame; its tag on the wire is the class's name."""


class Request(Frame, frozen=True):
    """A frame that the relay answers once."""

    rid: Rid


class BlobRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A payload that was uploaded as a blob, since it is larger than MAX_INLINE."""

    blob: Id32
    size: Number
    sha256: Id32


Payload = Inline | BlobRef


class Position(Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """A place in a group's log. A relay restored from a backup begins a new timeline."""

    timeline: Number
    seq: Number


class Origin(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a row stood in the timeline in which it was accepted, and that log's chain at it."""

    position: Position
    chain: Id32


class ClaimedKeyPackage(Struct, frozen=True, forbid_unknown_fields=True):
    """A key package handed to the claimant and to nobody else (unless it is a last resort)."""

    account: Id16
    device: Id16
    key_package: Inline
    last_resort: bool = False


class PendingEnrolment(Struct, frozen=True, forbid_unknown_fields=True):
    """A request to be enrolled, sealed to the establishment's issuer."""

    request_id: Id16
    sealed: Inline


class CommitReport(Struct, frozen=True, forbid_unknown_fields=True):
    """What one device said of one commit: applied, or refused for a reason."""

    device: Id16
    applied: bool
    reason: Short = ""


class Acknowledgement(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything of this group up to this seq is durable on the device."""

    group: GroupId
    seq: Number
