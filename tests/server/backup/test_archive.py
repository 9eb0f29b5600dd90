"""The archive: what was put in comes out, and nothing else ever does."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from pli_server.backup.archive import (
    MAGIC,
    ArchiveReader,
    ArchiveWriter,
    DamagedArchive,
    Manifest,
)
from pli_server.errors import OperatorError

KEY = PrivateKey(bytes(range(32)))
NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=20)
PARTS = st.dictionaries(NAMES, st.lists(st.binary(max_size=200), max_size=5), max_size=5)


def written(parts: dict[str, list[bytes]]) -> bytes:
    file = io.BytesIO()
    archive = ArchiveWriter(file, KEY.public_key)
    for name, pieces in parts.items():
        archive.add(name, pieces)
    archive.finish(
        Manifest(
            relay="relay.test",
            made=1,
            schema="0002",
            timeline=1,
            rows={},
            gone=(),
            parts=archive.parts,
        )
    )
    return file.getvalue()


def read(data: bytes, key: PrivateKey = KEY) -> dict[str, bytes]:
    reader = ArchiveReader(io.BytesIO(data), key)
    return {name: b"".join(pieces) for name, pieces in reader.parts()}


SMALL = written({"a": [b"one", b"two"], "b": [b"x" * 300]})


@given(PARTS)
def test_what_was_put_in_comes_out(parts: dict[str, list[bytes]]) -> None:
    assert read(written(parts)) == {name: b"".join(pieces) for name, pieces in parts.items()}


def test_a_part_is_cut_into_chunks() -> None:
    assert read(written({"large": [b"x" * 200_000]})) == {"large": b"x" * 200_000}


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
def test_one_changed_byte_is_found(place: int, change: int) -> None:
    data = bytearray(SMALL)
    data[place] ^= change
    with pytest.raises(OperatorError):
        read(bytes(data))


@given(st.integers(0, len(SMALL) - 1))
def test_an_archive_that_is_cut_is_found(length: int) -> None:
    with pytest.raises(OperatorError):
        read(SMALL[:length])


def test_chunks_that_change_places_or_come_twice_are_found() -> None:
    start = len(MAGIC) + 80 + 24
    chunks, rest = [], SMALL[start:]
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        chunks.append(rest[: 4 + length])
        rest = rest[4 + length :]
    head = SMALL[:start]
    assert read(head + b"".join(chunks))
    for wrong in (
        [chunks[1], chunks[0], *chunks[2:]],
        [chunks[0], *chunks],
        chunks[:-1],
        [*chunks, chunks[-1]],
        [*chunks, b"\0"],
    ):
        with pytest.raises(DamagedArchive):
            read(head + b"".join(wrong))


def test_another_key_opens_nothing() -> None:
    with pytest.raises(OperatorError, match="does not open with this key"):
        read(SMALL, PrivateKey(bytes(32)))


def test_nothing_of_the_parts_can_be_read_in_the_file() -> None:
    data = written({"name-of-a-part": [b"a sentence that must not be seen"]})
    assert b"name-of-a-part" not in data
    assert b"must not be seen" not in data
