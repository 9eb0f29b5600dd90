"""Frames to bytes and back, strictly: a frame that is not exactly one of ours is refused."""

from typing import TypeVar

import msgspec

from .frames import MAX_FRAME, ClientFrame, RelayFrame

T = TypeVar("T")


class FrameError(Exception):
    """Not a frame: too large, not MessagePack, unknown, of a wrong type or size."""


_encoder = msgspec.msgpack.Encoder()
_client: "msgspec.msgpack.Decoder[ClientFrame]" = msgspec.msgpack.Decoder(ClientFrame)
_relay: "msgspec.msgpack.Decoder[RelayFrame]" = msgspec.msgpack.Decoder(RelayFrame)


def encode(frame: ClientFrame | RelayFrame) -> bytes:
    """Encode a frame.

    Raises:
        FrameError: it would be larger than MAX_FRAME.
    """
    data = _encoder.encode(frame)
    if len(data) > MAX_FRAME:
        raise FrameError(f"a frame of {len(data)} bytes is over the limit of {MAX_FRAME}")
    return data


def decode_client_frame(data: bytes) -> ClientFrame:
    """What a client sent; raises FrameError, whose text quotes nothing of the data."""
    return _decode(_client, data)


def decode_relay_frame(data: bytes) -> RelayFrame:
    """What a relay sent; raises FrameError, whose text quotes nothing of the data."""
    return _decode(_relay, data)


def _decode(decoder: "msgspec.msgpack.Decoder[T]", data: bytes) -> T:
    if len(data) > MAX_FRAME:
        raise FrameError(f"a frame of {len(data)} bytes is over the limit of {MAX_FRAME}")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise FrameError("not a frame of this protocol") from None
