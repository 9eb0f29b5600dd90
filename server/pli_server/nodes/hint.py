"""What one node tells the others after a COMMIT: where to look. The database is the truth.

A hint is MessagePack: an array of a version, the sender, and four lists. Whoever gets one compares the
database with what it holds in memory, so that a hint that is lost, repeated, late, or forged changes
only when it looks. Nothing in a hint is believed.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from pli_protocol.relay.frames.values import GroupId, Id16, Number

from ..storage.changes import Changes

MAX_HINT: Final = 64 * 1024
"""Bytes; longer ones are dropped unread."""

MOST: Final = 300
"""Entries in one list: a full hint stays well below MAX_HINT."""

EstablishmentId = Annotated[bytes, Meta(min_length=16, max_length=64)]


class BadHint(Exception):
    """Bytes that are no hint."""


class Hint(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Places to look at."""

    version: Literal[1]
    sender: Id16
    """A node's number, made at random when it starts."""
    groups: Annotated[tuple[tuple[GroupId, Number], ...], Meta(max_length=MOST)] = ()
    """With the last row that the sender knows."""
    devices: Annotated[tuple[Number, ...], Meta(max_length=MOST)] = ()
    establishments: Annotated[tuple[EstablishmentId, ...], Meta(max_length=MOST)] = ()
    enrolments: Annotated[tuple[Id16, ...], Meta(max_length=MOST)] = ()


_DECODER: Final = msgspec.msgpack.Decoder(Hint)


def encode_hints(sender: bytes, changes: Changes) -> Iterator[bytes]:
    """The hints about these changes, as many as it takes."""
    groups, devices = iter(changes.groups.items()), iter(changes.devices)
    establishments, enrolments = iter(changes.establishments), iter(changes.enrolments)
    while True:
        hint = Hint(
            1,
            sender,
            tuple(islice(groups, MOST)),
            tuple(islice(devices, MOST)),
            tuple(islice(establishments, MOST)),
            tuple(islice(enrolments, MOST)),
        )
        if not (hint.groups or hint.devices or hint.establishments or hint.enrolments):
            return
        yield msgspec.msgpack.encode(hint)


def decode_hint(data: bytes) -> Hint:
    """Raises BadHint."""
    if len(data) > MAX_HINT:
        raise BadHint
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise BadHint from None
