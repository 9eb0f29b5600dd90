"""Every struct decodes to what was encoded, in one form only; anything else raises CodecError."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pli_protocol.mls.codec import Reader, Writer, decode, encode
from pli_protocol.mls.commit import Commit
from pli_protocol.mls.errors import CodecError
from pli_protocol.mls.framing import AuthenticatedContent, Sender
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.mls.group_info import GroupInfo
from pli_protocol.mls.message import MLSMessage, peek
from pli_protocol.mls.private_message import PrivateMessage
from pli_protocol.mls.proposal import decode_proposal
from pli_protocol.mls.psk import PreSharedKeyID
from pli_protocol.mls.public_message import PublicMessage

from . import strategies
from .struct_classes import struct_classes, struct_functions

quick = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
KINDS = [*strategies.STRUCTS, *strategies.FUNCTIONS]


def strategy(kind: str) -> st.SearchStrategy[Any]:
    return (strategies.STRUCTS | strategies.FUNCTIONS)[kind]


def write(kind: str, value: Any) -> bytes:
    if kind in strategies.STRUCTS:
        return encode(value)
    w = Writer()
    struct_functions()[kind][1](w, value)
    return w.getvalue()


def read(kind: str, data: bytes) -> Any:
    if kind in strategies.STRUCTS:
        return decode(struct_classes()[kind], data)
    r = Reader(data)
    value = struct_functions()[kind][0](r)
    r.finish()
    return value


def test_every_struct_of_the_package_is_tried() -> None:
    """Found by looking: whoever adds a struct adds a strategy for it."""
    # Its form depends on the content it stands beside: an AuthenticatedContent has both.
    within = {"FramedContentAuthData"}
    assert struct_classes().keys() - within == strategies.STRUCTS.keys()
    assert struct_functions().keys() == strategies.FUNCTIONS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_struct_decodes_to_itself(kind: str) -> None:
    @quick
    @given(strategy(kind))
    def check(value: Any) -> None:
        data = write(kind, value)
        again = read(kind, data)
        assert again == value
        assert type(again) is type(value)
        assert write(kind, again) == data

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_cut_data_and_trailing_bytes_are_refused(kind: str) -> None:
    @quick
    @given(strategy(kind), st.data())
    def check(value: Any, data: st.DataObject) -> None:
        encoded = write(kind, value)
        cut = data.draw(st.integers(0, len(encoded) - 1))
        with pytest.raises(CodecError):
            read(kind, encoded[:cut])
        with pytest.raises(CodecError):
            read(kind, encoded + data.draw(st.binary(min_size=1, max_size=3)))

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_data_is_refused_or_another_value(kind: str) -> None:
    @quick
    @given(strategy(kind), st.data())
    def check(value: Any, data: st.DataObject) -> None:
        encoded = write(kind, value)
        damaged = bytearray(encoded)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(damaged) - 1))
            damaged[at] = data.draw(st.integers(0, 255))
        try:
            again = read(kind, bytes(damaged))
        except CodecError:
            return
        # The codec knows one form of a value only: two encodings never stand for one.
        assert write(kind, again) == bytes(damaged)
        assert (again == value) == (damaged == encoded)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_is_refused_or_decodes_to_what_encodes_to_it(kind: str) -> None:
    @quick
    @given(st.binary(max_size=200))
    def check(garbage: bytes) -> None:
        try:
            value = read(kind, garbage)
        except CodecError:
            return
        assert write(kind, value) == garbage

    check()


@quick
@given(strategies.messages)
def test_peek_reads_what_the_message_says(message: MLSMessage) -> None:
    header = peek(encode(message))
    assert header.wire_format is message.wire_format
    match message.body:
        case PrivateMessage() as private:
            assert header.group_id == private.group_id
            assert header.epoch == private.epoch
            assert header.content_type is private.content_type
            assert header.authenticated_data == private.authenticated_data
        case PublicMessage() as public:
            assert header.group_id == public.content.group_id
            assert header.epoch == public.content.epoch
            assert header.content_type is public.content.content_type
            assert header.authenticated_data == public.content.authenticated_data
        case GroupInfo() as info:
            assert header.group_id == info.group_context.group_id
            assert header.epoch == info.group_context.epoch
        case _:
            assert header.group_id is None
            assert header.epoch is None


@given(st.binary(max_size=60))
def test_peek_refuses_garbage_with_a_codec_error(data: bytes) -> None:
    try:
        peek(data)
    except CodecError:
        return
    assert data[:2] == b"\x00\x01"


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x02\x00\x02",  # another protocol version
        b"\x00\x01\x00\x06",  # another wire format
        b"\x00\x01\x00\x00",
    ],
)
def test_an_unknown_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        peek(data)
    with pytest.raises(CodecError):
        decode(MLSMessage, data)


def test_an_unknown_proposal_type_is_refused() -> None:
    for number in (0, 8, 0x0A0A, 0xF001):
        with pytest.raises(CodecError):
            decode_proposal(number.to_bytes(2, "big") + bytes(8))


@pytest.mark.parametrize(
    ("read", "data"),
    [
        (Sender.read, b"\x00"),
        (Sender.read, b"\x05\x00\x00\x00\x00"),
        (PreSharedKeyID.read, b"\x03\x00\x00"),
        (PreSharedKeyID.read, b"\x02\x04\x00" + bytes(9)),
        (Commit.read, b"\x02\x03\x00\x00"),
        (AuthenticatedContent.read, b"\x00\x03"),
    ],
)
def test_closed_enums_refuse_other_values(read: Any, data: bytes) -> None:
    with pytest.raises(CodecError):
        read(Reader(data))


def test_a_group_context_of_another_version_is_refused() -> None:
    w = Writer()
    w.u16(2)
    w.raw(GroupContext(1, b"g", 0, b"", b"").encoded[2:])
    with pytest.raises(CodecError):
        decode(GroupContext, w.getvalue())
