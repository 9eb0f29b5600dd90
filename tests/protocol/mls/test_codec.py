"""Presentation language (RFC 9420 §2.1)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls.codec import Reader, Writer, decode, encode, varint
from pli_protocol.mls.credential import read_credential
from pli_protocol.mls.errors import CodecError
from pli_protocol.mls.extension import RequiredCapabilities
from pli_protocol.mls.key_package import KeyPackage
from pli_protocol.mls.leaf_node import LeafNode
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.update_path import UpdatePath


@pytest.mark.parametrize(
    ("length", "encoded"),
    [
        (0, "00"),
        (63, "3f"),
        (64, "4040"),
        (16383, "7fff"),
        (16384, "80004000"),
        (2**30 - 1, "bfffffff"),
    ],
)
def test_a_length_has_its_shortest_form(length: int, encoded: str) -> None:
    assert varint(length).hex() == encoded
    assert Reader(bytes.fromhex(encoded)).length() == length


def test_a_length_of_more_than_30_bits_cannot_be_written() -> None:
    with pytest.raises(CodecError):
        varint(2**30)


@pytest.mark.parametrize(
    "encoded", ["4001", "403f", "80000001", "80003fff", "c0", "ffffffffffffffff"]
)
def test_a_length_that_is_not_shortest_or_has_an_unknown_prefix_is_refused(encoded: str) -> None:
    with pytest.raises(CodecError):
        Reader(bytes.fromhex(encoded)).length()


@pytest.mark.parametrize("encoded", ["", "05abcd", "4040ab", "80"])
def test_a_vector_never_reaches_beyond_the_data(encoded: str) -> None:
    with pytest.raises(CodecError):
        Reader(bytes.fromhex(encoded)).opaque()


def test_an_item_may_not_reach_beyond_its_vector() -> None:
    # The vector has two bytes, its item wants three; there would be enough bytes after the vector.
    with pytest.raises(CodecError):
        Reader(bytes.fromhex("02 02aa bbcc")).vector(Reader.opaque)


def test_a_vector_of_items_that_take_no_space_is_refused() -> None:
    with pytest.raises(CodecError):
        Reader(b"\x01\x00").vector(lambda r: None)


def test_the_presence_byte_is_0_or_1() -> None:
    assert Reader(b"\x00").optional(Reader.u8) is None
    assert Reader(b"\x01\x07").optional(Reader.u8) == 7
    with pytest.raises(CodecError):
        Reader(b"\x02\x07").optional(Reader.u8)


def test_decode_refuses_bytes_after_the_struct() -> None:
    with pytest.raises(CodecError):
        decode(RequiredCapabilities, encode(RequiredCapabilities()) + b"\x00")


@given(
    st.integers(0, 2**8 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=70),
    st.lists(st.integers(0, 2**16 - 1)),
    st.none() | st.binary(),
)
def test_every_field_reads_what_was_written(
    one: int, two: int, four: int, eight: int, data: bytes, items: list[int], maybe: bytes | None
) -> None:
    w = Writer()
    w.u8(one)
    w.u16(two)
    w.u32(four)
    w.u64(eight)
    w.opaque(data)
    w.vector(items, Writer.u16)
    w.optional(maybe, Writer.opaque)
    r = Reader(w.getvalue())
    assert (r.u8(), r.u16(), r.u32(), r.u64(), r.opaque()) == (one, two, four, eight, data)
    assert r.vector(Reader.u16) == tuple(items)
    assert r.optional(Reader.opaque) == maybe
    r.finish()


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_a_codec_error(data: bytes) -> None:
    for kind in (LeafNode, KeyPackage, RatchetTree, UpdatePath, RequiredCapabilities):
        try:
            value = decode(kind, data)
        except CodecError:
            continue
        assert encode(value) == data
    with contextlib.suppress(CodecError):
        read_credential(Reader(data))
