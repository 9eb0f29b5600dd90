"""What the relay reads of an MLS message: its header, never more (RFC 9420 §6.3)."""

from typing import NamedTuple

from pli_protocol.mls.errors import MLSError
from pli_protocol.mls.framing import WireFormat
from pli_protocol.mls.message import peek
from pli_protocol.relay.log import RosterChange

from ..errors import Refusal
from ..storage.transaction import COMMIT

_ID_BYTES = 18
"""Bytes of an encoded device id."""

_LIST_BYTES = 16


class Header(NamedTuple):
    """Of a PrivateMessage."""

    group_id: bytes
    epoch: int
    kind: int
    authenticated_data: bytes


def read_header(message: bytes) -> Header:
    """Raises Refusal "invalid" for anything but a PrivateMessage."""
    try:
        header = peek(message)
    except MLSError:
        raise Refusal("invalid", "not an MLS message") from None
    if (
        header.wire_format is not WireFormat.PRIVATE_MESSAGE
        or header.group_id is None
        or header.epoch is None
        or header.content_type is None
    ):
        raise Refusal("invalid", "only private messages are carried")
    return Header(
        header.group_id, header.epoch, int(header.content_type), header.authenticated_data
    )


def roster_change(header: Header, devices: int = 1_000) -> RosterChange:
    """The roster change that a commit names.

    Args:
        devices: The most that a group may have. A longer list is not even decoded: a list of 16 MiB
            takes a second, in which nobody else would be served.

    Raises:
        Refusal: "roster" or "limit".
    """
    assert header.kind == COMMIT
    if len(header.authenticated_data) > 2 * devices * _ID_BYTES + _LIST_BYTES:
        raise Refusal("limit", f"a group has at most {devices} devices")
    try:
        change = RosterChange.decode(header.authenticated_data)
    except ValueError:
        raise Refusal("roster", "the commit's AAD is not a roster change") from None
    if len(set(change.added)) != len(change.added):
        raise Refusal("roster", "a device is added twice")
    if len(set(change.removed)) != len(change.removed):
        raise Refusal("roster", "a device is removed twice")
    return change
