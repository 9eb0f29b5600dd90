"""Message content: every message comes back, there is one encoding, bounds hold, texts are safe."""

import hashlib
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pli_protocol.content import (
    MAX_CONTENT,
    MAX_WITH_PROOF,
    NOTE_TYPES,
    Attach,
    ContentError,
    Detach,
    Filed,
    FilePart,
    Forward,
    Info,
    LogHead,
    Message,
    Objection,
    Post,
    Proof,
    Receipt,
    RecordRef,
    Rename,
    RevocationHead,
    TextPart,
    decode,
    encode,
    message_id,
)
from pli_protocol.display_text import displayable
from pli_protocol.relay.frames import Position

# Texts that the sanitiser leaves alone, so that what comes out equals what went in.
text = st.text(st.characters(categories=("L", "N", "P"), max_codepoint=0x2FF), max_size=100)
label = st.text(st.characters(categories=("L", "N"), max_codepoint=0x2FF), min_size=1, max_size=128)
id16 = st.binary(min_size=16, max_size=16)
id32 = st.binary(min_size=32, max_size=32)
number = st.integers(0, 2**53 - 1)
time = st.integers(0, 2**43 - 1)
certificate = st.binary(min_size=1, max_size=100)

positions = st.builds(Position, number, number)
records = st.builds(RecordRef, label, label)
note_types = st.sampled_from((*NOTE_TYPES, None))
proofs = st.builds(
    Proof,
    st.binary(min_size=1, max_size=500),
    st.binary(min_size=1, max_size=300),
    id16,
    st.tuples(certificate, certificate, certificate),
    st.none() | positions,
    st.none() | time,
)
parts = st.builds(TextPart, text) | st.builds(
    FilePart, label, label, number, id32, id32, id32, st.integers(2**10, 2**20), text, number
)
bodies = (
    st.builds(Post, st.lists(parts, min_size=1, max_size=5).map(tuple))
    | st.builds(Rename, label)
    | st.builds(Info, text, st.sampled_from(("team", "service")))
    | st.builds(Attach, id32, records, note_types)
    | st.builds(Detach, id32, records, text)
    | st.builds(Objection, id32, records, text)
    | st.builds(Forward, proofs, st.none() | proofs)
    | st.builds(Receipt, id32, records, st.booleans(), text, text.map(lambda t: t[:64]), text)
    | st.builds(Filed, id32, records, proofs)
)
messages = st.builds(
    Message,
    id16,
    time,
    bodies,
    st.none() | id32,
    st.none() | records,
    note_types,
    st.booleans(),
    st.none() | time,
    st.none() | id32,
    st.none() | st.builds(RevocationHead, number, id32),
    st.none() | st.builds(LogHead, positions, id32),
)

SIMPLE = Message(bytes(16), 5, Post((TextPart("bonjour"),)))


def plain(data: bytes) -> Any:
    return msgpack.unpackb(data, strict_map_key=False)


def packed(value: object) -> bytes:
    data = msgpack.packb(value)
    assert isinstance(data, bytes)
    return data


def refused(data: bytes) -> bool:
    try:
        decode(data)
    except ContentError:
        return True
    return False


# --- there and back ---------------------------------------------------------------------------


@settings(max_examples=300)
@given(messages)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    data = encode(message)
    assert decode(data) == message
    assert encode(decode(data)) == data


@settings(max_examples=100)
@given(messages)
def test_independent_library_reads_the_same_and_writes_the_same_bytes(message: Message) -> None:
    data = encode(message)
    assert packed(plain(data)) == data
    assert packed(msgspec.to_builtins(message, builtin_types=(bytes,))) == data


@settings(max_examples=500)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_content_error(data: bytes) -> None:
    assert refused(data) or encode(decode(data))


@settings(max_examples=200)
@given(messages, st.data())
def test_changed_bytes_are_another_message_or_refused(message: Message, data: Any) -> None:
    encoded = encode(message)
    at = data.draw(st.integers(0, len(encoded) - 1))
    changed = (
        encoded[:at] + bytes([encoded[at] ^ data.draw(st.integers(1, 255))]) + encoded[at + 1 :]
    )
    assert refused(changed) or message_id(bytes(16), bytes(16), changed) != message_id(
        bytes(16), bytes(16), encoded
    )


# --- one encoding -----------------------------------------------------------------------------


def with_defaults() -> bytes:
    return packed({**plain(encode(SIMPLE)), "urgent": False})


def keys_in_another_order() -> bytes:
    return packed(dict(reversed(plain(encode(SIMPLE)).items())))


def key_twice() -> bytes:
    data = encode(SIMPLE)
    return bytes([data[0] + 1]) + data[1:] + b"\xa7sent_at\x05"


def long_number() -> bytes:
    return encode(SIMPLE).replace(b"sent_at\x05", b"sent_at\xcc\x05")


def float_number() -> bytes:
    return encode(SIMPLE).replace(b"sent_at\x05", b"sent_at\xcb\x40\x14\0\0\0\0\0\0")


def not_a_number() -> bytes:
    return encode(SIMPLE).replace(b"sent_at\x05", b"sent_at\xcb\x7f\xf8\0\0\0\0\0\0")


def long_text_header() -> bytes:
    return encode(SIMPLE).replace(b"\xa7bonjour", b"\xd9\x07bonjour")


def text_as_bytes() -> bytes:
    return encode(SIMPLE).replace(b"\xa7bonjour", b"\xc4\x07bonjour")


def bytes_as_text() -> bytes:
    return encode(SIMPLE).replace(b"\xc4\x10" + bytes(16), b"\xb0" + bytes(16))


def not_utf8() -> bytes:
    return encode(SIMPLE).replace(b"bonjour", b"bonj\xff\xfer")


def surrogate_in_utf8() -> bytes:
    return encode(SIMPLE).replace(b"\xa7bonjour", b"\xa7bonj\xed\xa0\x80")


def trailing() -> bytes:
    return encode(SIMPLE) + b"\xc0"


def extension_type() -> bytes:
    return encode(SIMPLE).replace(b"sent_at\x05", b"sent_at\xd4\x01\x05")


def unknown_field() -> bytes:
    return packed({**plain(encode(SIMPLE)), "zzz": 1})


def unknown_body() -> bytes:
    return encode(SIMPLE).replace(b"\xa4post", b"\xa4pest")


def missing_field() -> bytes:
    return packed({k: v for k, v in plain(encode(SIMPLE)).items() if k != "sent_at"})


@pytest.mark.parametrize(
    "make",
    [
        with_defaults,
        keys_in_another_order,
        key_twice,
        long_number,
        float_number,
        not_a_number,
        long_text_header,
        text_as_bytes,
        bytes_as_text,
        not_utf8,
        surrogate_in_utf8,
        trailing,
        extension_type,
        unknown_field,
        unknown_body,
        missing_field,
    ],
)
def test_second_encoding_or_malformed_message_is_refused(make: Any) -> None:
    data = make()
    assert data != encode(SIMPLE)
    with pytest.raises(ContentError):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x80",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 40_000,
        b"\x81\xa4body" * 8_000,
        b"\x80" * 36_000,
    ],
)
def test_bombs_and_endless_nesting_are_refused(data: bytes) -> None:
    assert refused(data)


# --- bounds -----------------------------------------------------------------------------------


def posted(*parts: TextPart | FilePart) -> Message:
    return Message(bytes(16), 0, Post(tuple(parts)))


def test_thirty_two_parts_are_the_most() -> None:
    assert encode(posted(*[TextPart("x")] * 32))
    with pytest.raises(ContentError):
        encode(posted(*[TextPart("x")] * 33))
    with pytest.raises(ContentError):
        encode(posted())


def test_text_of_32_kib_is_the_longest() -> None:
    assert decode(encode(posted(TextPart("x" * 32 * 1024)))).text == "x" * 32 * 1024
    with pytest.raises(ContentError):
        encode(posted(TextPart("x" * (32 * 1024 + 1))))


def test_whole_message_is_bounded_in_bytes() -> None:
    with pytest.raises(ContentError):
        encode(posted(TextPart("é" * 20_000)))
    with pytest.raises(ContentError):
        encode(posted(*[TextPart("x" * 1200)] * 32))


def test_message_with_a_proof_may_be_larger_up_to_a_bound() -> None:
    def forward(size: int) -> Message:
        proof = Proof(bytes(size), b"c", bytes(16), (b"d", b"p", b"i"))
        return Message(bytes(16), 0, Forward(proof))

    data = encode(forward(MAX_CONTENT))
    assert MAX_CONTENT < len(data) <= MAX_WITH_PROOF
    assert decode(data)
    with pytest.raises(ContentError):
        encode(forward(MAX_WITH_PROOF))


@pytest.mark.parametrize(
    "message",
    [
        Message(bytes(15), 0, SIMPLE.body),
        Message(bytes(16), -1, SIMPLE.body),
        Message(bytes(16), 2**53, SIMPLE.body),
        Message(bytes(16), 2**70, SIMPLE.body),
        Message(bytes(16), 0, Rename("")),
        Message(bytes(16), 0, Rename("x" * 129)),
        Message(bytes(16), 0, Attach(bytes(31), RecordRef("s", "i"))),
        Message(bytes(16), 0, Attach(bytes(32), RecordRef("", "i"))),
        Message(bytes(16), 0, SIMPLE.body, note_type="NOTE"),  # type: ignore[arg-type]
        Message(bytes(16), 0, Post((TextPart("\ud800"),))),
        Message(bytes(16), 0, Post((FilePart("", "m", 0, *[bytes(32)] * 3, 1024),))),
    ],
)
def test_message_out_of_bounds_is_never_sent(message: Message) -> None:
    with pytest.raises(ContentError):
        encode(message)


# --- display ----------------------------------------------------------------------------------

EVIL = "a\x1b[2J\u202e\u200bb\x9b\u2028c"
LINE, LINES = displayable(EVIL, one_line=True), displayable(EVIL)
RECORD, SHOWN_RECORD = RecordRef(EVIL, EVIL), RecordRef(LINE, LINE)
KEYS = (bytes(32), bytes(32), bytes(32))


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (Post((TextPart(EVIL),)), Post((TextPart(LINES),))),
        (
            Post((FilePart(EVIL, EVIL, 1, *KEYS, 1024, EVIL),)),
            Post((FilePart(LINE, LINE, 1, *KEYS, 1024, LINES),)),
        ),
        (Rename(EVIL), Rename(LINE)),
        (Info(EVIL), Info(LINE)),
        (Attach(bytes(32), RECORD), Attach(bytes(32), SHOWN_RECORD)),
        (Detach(bytes(32), RECORD, EVIL), Detach(bytes(32), SHOWN_RECORD, LINES)),
        (Objection(bytes(32), RECORD, EVIL), Objection(bytes(32), SHOWN_RECORD, LINES)),
        (
            Receipt(bytes(32), RECORD, True, EVIL, EVIL, EVIL),
            Receipt(bytes(32), SHOWN_RECORD, True, LINE, LINE, LINES),
        ),
    ],
)
def test_every_displayed_field_is_safe(body: Any, shown: Any) -> None:
    message = decode(encode(Message(bytes(16), 0, body, record=RECORD)))
    assert message.body == shown
    assert message.record == SHOWN_RECORD


def test_no_text_field_is_forgotten_by_the_sanitiser() -> None:
    """Walks the values: whoever adds a field of text must show it here safe."""

    def texts(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        if isinstance(value, msgspec.Struct):
            value = [getattr(value, name) for name in value.__struct_fields__]
        if isinstance(value, list | tuple):
            return [text for item in value for text in texts(item)]
        return []

    bodies = [
        Post((TextPart(EVIL), FilePart(EVIL, EVIL, 1, *KEYS, 1024, EVIL))),
        Rename(EVIL),
        Info(EVIL),
        Attach(bytes(32), RECORD, "GEN"),
        Detach(bytes(32), RECORD, EVIL),
        Objection(bytes(32), RECORD, EVIL),
        Receipt(bytes(32), RECORD, True, EVIL, EVIL, EVIL),
        Filed(bytes(32), RECORD, Proof(b"s", b"c", bytes(16), (b"d", b"p", b"i"))),
    ]
    for body in bodies:
        message = decode(encode(Message(bytes(16), 0, body, record=RECORD)))
        for text in texts(message):
            assert "\x1b" not in text
            assert "\u202e" not in text


def test_text_and_files_of_a_message_are_at_hand() -> None:
    file = FilePart("plaie.jpg", "image/jpeg", 1, *KEYS, 1)
    message = posted(TextPart("un"), file, TextPart("deux"))
    assert message.text == "un\ndeux"
    assert message.files == (file,)
    assert Message(bytes(16), 0, Rename("x")).text == ""


def test_nothing_of_a_message_is_shown_by_repr() -> None:
    file = FilePart("plaie.jpg", "image/jpeg", 1, bytes(32), bytes(32), b"k" * 32, 1)
    shown = repr(posted(TextPart("Mme Lefèvre"), file))
    assert "Lefèvre" not in shown
    assert "plaie" not in shown
    assert "kkkk" not in shown


# --- records and ids --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "default", "record"),
    [
        ("dui|IPP-1", None, RecordRef("dui", "IPP-1")),
        ("IPP-1", "dui", RecordRef("dui", "IPP-1")),
        ("autre|IPP-1", "dui", RecordRef("autre", "IPP-1")),
        (" dui | IPP-1 ", None, RecordRef("dui", "IPP-1")),
        ("dui|a|b", None, RecordRef("dui", "a|b")),
    ],
)
def test_record_is_read_as_it_is_written(
    written: str, default: str | None, record: RecordRef
) -> None:
    assert RecordRef.parse(written, default) == record


@pytest.mark.parametrize("bad", ["", "|", "dui|", "|x", "x", "dui|" + "x" * 129])
def test_record_without_system_or_id_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="record"):
        RecordRef.parse(bad)


@given(label, label)
def test_record_reads_back_from_its_text(system: str, identifier: str) -> None:
    record = RecordRef(system, identifier)
    assert RecordRef.parse(str(record)) == record


def test_message_id_is_the_documented_hash() -> None:
    data = encode(SIMPLE)
    expected = hashlib.sha256(
        b"pli message v1" + b"c" * 16 + b"s" * 16 + hashlib.sha256(data).digest()
    ).digest()
    assert message_id(b"c" * 16, b"s" * 16, data) == expected


def test_message_id_depends_on_conversation_sender_and_salt() -> None:
    salted = msgspec.structs.replace(SIMPLE, salt=b"x" * 16)
    ids = {
        message_id(b"c" * 16, b"s" * 16, encode(SIMPLE)),
        message_id(b"d" * 16, b"s" * 16, encode(SIMPLE)),
        message_id(b"c" * 16, b"t" * 16, encode(SIMPLE)),
        message_id(b"c" * 16, b"s" * 16, encode(salted)),
    }
    assert len(ids) == 4
    with pytest.raises(ValueError, match="16 bytes"):
        message_id(b"c" * 15, b"s" * 17, encode(SIMPLE))
