"""Frames: every class there and back, an independent reader, and everything that is no frame."""

import contextlib
import tracemalloc
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pli_protocol.relay import frames
from pli_protocol.relay.codec import (
    FrameError,
    decode_client_frame,
    decode_relay_frame,
    encode,
)
from pli_protocol.relay.frames import MAX_FRAME, MAX_INLINE

from .values import CLIENT_FRAMES, RELAY_FRAMES
from .values import frames as random_frames

QUICK = settings(max_examples=25)
ALL_FRAMES = (*CLIENT_FRAMES, *RELAY_FRAMES)


def decoder(kind: type[msgspec.Struct]) -> Any:
    return decode_client_frame if kind in CLIENT_FRAMES else decode_relay_frame


def packed(value: object) -> bytes:
    data = msgpack.packb(value)
    assert isinstance(data, bytes)
    return data


def plain(data: bytes) -> Any:
    return msgpack.unpackb(data)


def refused(data: bytes) -> bool:
    """By both decoders, with an error that quotes nothing of the data."""
    with pytest.raises(FrameError) as client:
        decode_client_frame(data)
    with pytest.raises(FrameError) as relay:
        decode_relay_frame(data)
    return all(
        str(caught.value).startswith(("not a frame", "a frame of"))
        and caught.value.__cause__ is None
        for caught in (client, relay)
    )


SEND = frames.Send(7, bytes(16), None, b"message")
DATA = encode(SEND)


# --- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL_FRAMES)
@QUICK
@given(data=st.data())
def test_every_frame_comes_back_as_it_was(kind: type[msgspec.Struct], data: Any) -> None:
    frame = data.draw(random_frames(kind))
    assert decoder(kind)(encode(frame)) == frame


@pytest.mark.parametrize("kind", ALL_FRAMES)
@QUICK
@given(data=st.data())
def test_independent_library_reads_the_same_and_writes_the_same_bytes(
    kind: type[msgspec.Struct], data: Any
) -> None:
    frame = data.draw(random_frames(kind))
    encoded = encode(frame)
    assert plain(encoded)["t"] == kind.__name__
    assert packed(plain(encoded)) == encoded
    assert packed(msgspec.to_builtins(frame, builtin_types=(bytes,))) == encoded


@pytest.mark.parametrize("kind", ALL_FRAMES)
@QUICK
@given(data=st.data())
def test_frame_of_one_direction_is_refused_in_the_other(
    kind: type[msgspec.Struct], data: Any
) -> None:
    encoded = encode(data.draw(random_frames(kind)))
    other = decode_relay_frame if kind in CLIENT_FRAMES else decode_client_frame
    with pytest.raises(FrameError):
        other(encoded)


def test_every_frame_class_is_of_one_direction() -> None:
    assert not set(CLIENT_FRAMES) & set(RELAY_FRAMES)
    defined = {
        value
        for value in vars(frames).values()
        if isinstance(value, type)
        and issubclass(value, frames.Frame)
        and value not in (frames.Frame, frames.Request)
    }
    assert defined == set(ALL_FRAMES)


# --- mangled ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL_FRAMES)
@QUICK
@given(data=st.data())
def test_frame_with_a_field_of_a_wrong_type_is_refused(
    kind: type[msgspec.Struct], data: Any
) -> None:
    fields = plain(encode(data.draw(random_frames(kind))))
    names = [name for name in kind.__struct_fields__]
    if not names:
        return
    fields[data.draw(st.sampled_from(names))] = data.draw(
        st.sampled_from(
            [1.5, float("nan"), float("inf"), -1, {"a": 1}, [[[1]]], 2**63, "\x00" * 300]
        )
    )
    assert refused(packed(fields))


@pytest.mark.parametrize("kind", ALL_FRAMES)
@QUICK
@given(data=st.data())
def test_frame_that_lacks_a_field_is_refused(kind: type[msgspec.Struct], data: Any) -> None:
    fields = plain(encode(data.draw(random_frames(kind))))
    needed = [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
    for name in ("t", *needed):
        assert refused(packed({key: value for key, value in fields.items() if key != name}))


@pytest.mark.parametrize("kind", ALL_FRAMES)
@QUICK
@given(data=st.data())
def test_frame_with_an_unknown_field_is_refused(kind: type[msgspec.Struct], data: Any) -> None:
    fields = plain(encode(data.draw(random_frames(kind))))
    assert refused(packed({**fields, "admin": True}))


@pytest.mark.parametrize("kind", ALL_FRAMES)
@QUICK
@given(data=st.data())
def test_frame_cut_short_or_with_bytes_behind_is_refused(
    kind: type[msgspec.Struct], data: Any
) -> None:
    encoded = encode(data.draw(random_frames(kind)))
    cut = data.draw(st.integers(0, len(encoded) - 1))
    assert refused(encoded[:cut])
    for more in (b"\0", b"\xc0", encoded):
        assert refused(encoded + more)


@settings(max_examples=500)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_frame_or_a_frame_error(data: bytes) -> None:
    for decode in (decode_client_frame, decode_relay_frame):
        try:
            frame = decode(data)
        except FrameError:
            continue
        assert isinstance(frame, frames.Frame)


@settings(max_examples=300)
@given(st.data())
def test_one_changed_byte_is_a_frame_or_a_frame_error(data: Any) -> None:
    kind = data.draw(st.sampled_from(ALL_FRAMES))
    encoded = bytearray(encode(data.draw(random_frames(kind))))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(FrameError):
        assert isinstance(decoder(kind)(bytes(encoded)), frames.Frame)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"\x01",
        b"\xa4Send",
        b"\x80",
        b"\x90",
        packed([1, 2, 3]),
        packed({"t": "Sent", "rid": 1}),
        packed({"t": "send", "rid": 1}),
        packed({"t": ["Send"], "rid": 1}),
        packed({"t": None}),
        packed({"t": "Request", "rid": 1}),
        packed({"t": "Frame"}),
        packed({1: 2}),
        DATA.replace(b"\xa3rid\x07", b"\xa3rid\xcb\x7f\xf8\0\0\0\0\0\0"),
        DATA.replace(b"\xa3rid\x07", b"\xa3rid\xcb\x40\x1e\0\0\0\0\0\0"),
        DATA.replace(b"\xa3rid\x07", b"\xa3rid\xd4\x01\x07"),
        DATA.replace(b"\xa3rid\x07", b"\xa3rid\xce\xff\xff\xff\xff").replace(b"\xce", b"\xd2"),
        DATA.replace(b"\xa7message", b"\xa7mess"),
        DATA.replace(b"\xa3rid", b"\xa3r\xff\xfe"),
        DATA.replace(b"\xc4\x07message", b"\xa7message"),
        packed({**plain(DATA), "send_id": bytes(15)}),
        packed({**plain(DATA), "send_id": bytes(17)}),
        packed({**plain(DATA), "message": b""}),
        packed({**plain(DATA), "rid": 2**32}),
        packed({**plain(DATA), "rid": -1}),
        packed({**plain(DATA), "rid": "7"}),
        packed({**plain(DATA), "rid": None}),
        packed({**plain(DATA), "rid": True}),
    ],
)
def test_what_is_not_quite_a_frame_is_refused(data: bytes) -> None:
    assert data != DATA
    assert refused(data)


# --- bombs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x91" * MAX_FRAME,
        b"\x81\xa1t" * (MAX_FRAME // 3),
        b"\x81" * MAX_FRAME,
        b"\x80" * MAX_FRAME,
        b"\xdc\xff\xff" + b"\x80" * (MAX_FRAME - 3),
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\x7f\xff\xff\xff" + b"\x90" * 60_000,
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\x82\xa1t\xacClaimKeyPack" + b"\xdd\xff\xff\xff\xff",
        packed({"t": "ClaimKeyPackages", "rid": 1, "accounts": [b""] * 30_000}),
        packed({"t": "ClaimKeyPackages", "rid": 1, "accounts": [[[[]]]] * 15_000}),
        packed({"t": "Hello", "versions": list(range(60_000))[:20_000]}),
        packed({"t": "Hello", "versions": [1], "software": "x" * 60_000}),
        packed({"t": "Rows", "rid": 1, "rows": [{}] * 60_000, "last": 1}),
    ],
)
def test_bombs_are_refused_in_little_memory(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        assert refused(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MAX_FRAME


def test_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    for size in (MAX_FRAME + 1, 1024 * 1024):
        with pytest.raises(FrameError, match="over the limit"):
            decode_client_frame(b"\x80" * size)


def test_frame_over_the_limit_is_never_sent() -> None:
    rows = tuple(
        frames.Row(
            bytes(16),
            frames.Position(1, seq),
            0,
            "application",
            bytes(16),
            bytes(16),
            0,
            bytes(MAX_INLINE),
            bytes(32),
        )
        for seq in (1, 2)
    )
    with pytest.raises(FrameError, match="over the limit"):
        encode(frames.Rows(1, rows, 2))
    assert encode(frames.Rows(1, rows[:1], 2))


def test_largest_payload_fits_a_frame_with_its_welcome_as_a_blob() -> None:
    blob = frames.BlobRef(bytes(32), 2**53 - 1, bytes(32))
    send = frames.Send(2**32 - 1, bytes(16), bytes(16), bytes(MAX_INLINE), blob)
    assert decode_client_frame(encode(send)) == send


def test_payload_over_the_inline_limit_is_refused() -> None:
    assert refused(packed({**plain(DATA), "message": bytes(MAX_INLINE + 1)}))
