"""Messages to bytes and back, strictly and in one way only; message ids.

What is decoded is safe to display (`display_text`), since the bytes, not the values, are what ids and
signatures are over: keep the bytes.
"""

import hashlib
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from ..display_text import displayable
from .messages import (
    Attach,
    Body,
    Detach,
    Filed,
    FilePart,
    Forward,
    Info,
    Message,
    Objection,
    Part,
    Post,
    Receipt,
    RecordRef,
    Rename,
    TextPart,
)

MAX_CONTENT = 36 * 1024
"""Bytes of the largest message, so that it and its proof fit a row of the log."""

MAX_WITH_PROOF = 44 * 1024
"""Bytes of the largest message that carries proofs (Forward, Filed)."""

_encoder = msgspec.msgpack.Encoder()
_decoder: "msgspec.msgpack.Decoder[Message]" = msgspec.msgpack.Decoder(Message)


class ContentError(Exception):
    """Bytes that are not a message, or a message that may not be sent. Quotes nothing of it."""


def encode(message: Message) -> bytes:
    """A message's bytes.

    Raises:
        ContentError: a field over its bounds, a lone surrogate, or too large as a whole.
    """
    try:
        data = _encoder.encode(message)
    except (UnicodeEncodeError, OverflowError, TypeError):
        raise ContentError("the message has a character or number that cannot be sent") from None
    _decode(data)
    return data


def decode(data: bytes) -> Message:
    """The message, its texts made safe to display.

    Raises:
        ContentError: not a message, not in its one encoding, too large, or of a newer version.
    """
    return _for_display(_decode(data))


def message_id(conversation_id: bytes, sender: bytes, data: bytes) -> bytes:
    """A message's id (32 bytes), the same for everyone, also when it is sealed again.

    SHA-256("pli message v1" || conversation id 16 || sender's person id 16 || SHA-256(data)).

    Raises:
        ValueError: an id of another size.
    """
    if len(conversation_id) != 16 or len(sender) != 16:
        raise ValueError("conversation and person ids have 16 bytes")
    digest = hashlib.sha256(data).digest()
    return hashlib.sha256(b"pli message v1" + conversation_id + sender + digest).digest()


def _decode(data: bytes) -> Message:
    if len(data) > MAX_WITH_PROOF:
        raise ContentError("the message is too large")
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ContentError("not a message that this version can read") from None
    if _encoder.encode(message) != data:
        raise ContentError("not the one encoding of the message")
    if len(data) > MAX_CONTENT and not isinstance(message.body, Forward | Filed):
        raise ContentError("the message is too large")
    return message


def _for_display(message: Message) -> Message:
    record = None if message.record is None else _record(message.record)
    return replace(message, body=_body(message.body), record=record)


def _line(text: str) -> str:
    return displayable(text, one_line=True)


def _record(record: RecordRef) -> RecordRef:
    return RecordRef(_line(record.system), _line(record.id))


_Recorded = TypeVar("_Recorded", bound=Attach | Detach | Objection | Receipt | Filed)


def _recorded(body: _Recorded) -> _Recorded:
    return replace(body, record=_record(body.record))


def _body(body: Body) -> Body:
    match body:
        case Post():
            return Post(tuple(map(_part, body.parts)))
        case Rename():
            return Rename(_line(body.title))
        case Info():
            return replace(body, title=_line(body.title))
        case Attach() | Filed():
            return _recorded(body)
        case Detach() | Objection():
            return replace(_recorded(body), reason=displayable(body.reason))
        case Receipt():
            return replace(
                _recorded(body),
                number=_line(body.number),
                code=_line(body.code),
                text=displayable(body.text),
            )
        case Forward():
            return body


def _part(part: Part) -> Part:
    match part:
        case TextPart():
            return TextPart(displayable(part.text))
        case FilePart():
            return replace(
                part,
                name=_line(part.name),
                mime=_line(part.mime),
                description=displayable(part.description),
            )
