"""Every struct of the upper half decodes to what was encoded, and garbage raises CodecError."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pli_protocol.mls.codec import Reader, Writer, decode, encode
from pli_protocol.mls.commit import Commit
from pli_protocol.mls.errors import CodecError
from pli_protocol.mls.external_senders import ExternalSender
from pli_protocol.mls.framing import AuthenticatedContent, FramedContent, Sender
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.mls.group_info import GroupInfo
from pli_protocol.mls.message import MLSMessage, peek
from pli_protocol.mls.private_message import PrivateMessage, SenderData
from pli_protocol.mls.proposal import decode_proposal, encode_proposal
from pli_protocol.mls.psk import PreSharedKeyID
from pli_protocol.mls.public_message import PublicMessage
from pli_protocol.mls.welcome import GroupSecrets, Welcome

from . import strategies

STRUCTS: dict[Any, st.SearchStrategy[Any]] = {
    GroupContext: strategies.group_contexts,
    PreSharedKeyID: strategies.psk_ids,
    Commit: strategies.commits,
    Sender: strategies.senders,
    FramedContent: strategies.framed_contents,
    AuthenticatedContent: strategies.authenticated_contents(),
    PublicMessage: strategies.public_messages(),
    PrivateMessage: strategies.private_messages,
    SenderData: strategies.sender_data,
    GroupInfo: strategies.group_infos,
    GroupSecrets: strategies.group_secrets,
    Welcome: strategies.welcomes,
    MLSMessage: strategies.messages,
    ExternalSender: strategies.external_senders,
}
quick = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_a_struct_decodes_to_itself(struct: Any) -> None:
    @quick
    @given(STRUCTS[struct])
    def check(value: Any) -> None:
        data = encode(value)
        again = decode(struct, data)
        assert again == value
        assert encode(again) == data

    check()


@quick
@given(strategies.proposals)
def test_a_proposal_decodes_to_itself(proposal: Any) -> None:
    assert decode_proposal(encode_proposal(proposal)) == proposal


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_cut_data_is_refused(struct: Any) -> None:
    @quick
    @given(STRUCTS[struct], st.data())
    def check(value: Any, data: st.DataObject) -> None:
        encoded = encode(value)
        cut = data.draw(st.integers(0, len(encoded) - 1))
        with pytest.raises(CodecError):
            decode(struct, encoded[:cut])
        with pytest.raises(CodecError):
            decode(struct, encoded + b"\x00")

    check()


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_garbage_decodes_or_raises_a_codec_error(struct: Any) -> None:
    @quick
    @given(STRUCTS[struct], st.data())
    def check(value: Any, data: st.DataObject) -> None:
        garbage = bytearray(encode(value))
        for _ in range(data.draw(st.integers(1, 4))):
            garbage[data.draw(st.integers(0, len(garbage) - 1))] = data.draw(st.integers(0, 255))
        try:
            again = decode(struct, bytes(garbage))
        except CodecError:
            return
        # The codec knows one form of a value only.
        assert encode(again) == bytes(garbage)

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
