"""MLSMessage: the envelope of everything on the wire (RFC 9420 §6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .ciphersuite import MLS10
from .codec import Reader, Writer
from .errors import CodecError
from .framing import ContentType, Sender, WireFormat, read_content_type
from .group_context import GroupContext
from .group_info import GroupInfo
from .key_package import KeyPackage
from .private_message import PrivateMessage
from .public_message import PublicMessage
from .quick import quick
from .welcome import Welcome

Body = PublicMessage | PrivateMessage | Welcome | GroupInfo | KeyPackage

_FORMATS: dict[type[Body], WireFormat] = {
    PublicMessage: WireFormat.PUBLIC_MESSAGE,
    PrivateMessage: WireFormat.PRIVATE_MESSAGE,
    Welcome: WireFormat.WELCOME,
    GroupInfo: WireFormat.GROUP_INFO,
    KeyPackage: WireFormat.KEY_PACKAGE,
}
_CLASSES: dict[int, type[Body]] = {int(number): cls for cls, number in _FORMATS.items()}


# struct {
#     ProtocolVersion version = mls10;
#     WireFormat wire_format;
#     select (MLSMessage.wire_format) {
#         case mls_public_message:  PublicMessage public_message;
#         case mls_private_message: PrivateMessage private_message;
#         case mls_welcome:         Welcome welcome;
#         case mls_group_info:      GroupInfo group_info;
#         case mls_key_package:     KeyPackage key_package;
#     };
# } MLSMessage;
@quick
@dataclass(frozen=True, slots=True)
class MLSMessage:
    """Version and wire format, then the message itself."""

    body: Body

    @property
    def wire_format(self) -> WireFormat:
        """Which kind of message it is."""
        return _FORMATS[type(self.body)]

    def write(self, w: Writer) -> None:
        """Append the struct of §6."""
        w.u16(MLS10)
        w.u16(self.wire_format)
        self.body.write(w)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §6; another version or an unknown wire format is a CodecError."""
        return cls(_CLASSES[_read_envelope(r)].read(r))


def _read_envelope(r: Reader) -> int:
    version, wire_format = r.u16(), r.u16()
    if version != MLS10:
        raise CodecError(f"MLSMessage of version {version}, not mls10", "version", "§6")
    if wire_format not in _CLASSES:
        raise CodecError(f"unknown wire format {wire_format}", "wire-format", "§6")
    return wire_format


@quick
@dataclass(frozen=True, slots=True)
class Header:
    """What anyone can read of a message; None where the message does not say it."""

    wire_format: WireFormat
    group_id: bytes | None = None
    epoch: int | None = None
    content_type: ContentType | None = None
    authenticated_data: bytes = b""


def peek(message: bytes) -> Header:
    """Read what a delivery service may read of an MLSMessage, without any key.

    Nothing in it is authenticated. Raises CodecError.
    """
    r = Reader(message)
    wire_format = WireFormat(_read_envelope(r))
    if wire_format is WireFormat.PRIVATE_MESSAGE:
        private = PrivateMessage.read(r)
        r.finish()
        return Header(
            wire_format,
            private.group_id,
            private.epoch,
            private.content_type,
            private.authenticated_data,
        )
    if wire_format is WireFormat.PUBLIC_MESSAGE:
        group_id, epoch, _sender, data = r.opaque(), r.u64(), Sender.read(r), r.opaque()
        return Header(wire_format, group_id, epoch, read_content_type(r), data)
    if wire_format is WireFormat.GROUP_INFO:
        context = GroupContext.read(r)
        return Header(wire_format, context.group_id, context.epoch)
    return Header(wire_format)
