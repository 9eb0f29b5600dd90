"""The log's hash chain, the challenges, a commit's roster change, the error codes."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.relay.errors import CODES
from pli_protocol.relay.frames import BlobRef, Position
from pli_protocol.relay.log import (
    FIRST_CHAIN,
    RosterChange,
    chain_hash,
    device_id,
    payload_hash,
    registration_challenge,
    sign_in_challenge,
)

ROW = {
    "previous": FIRST_CHAIN,
    "group": b"g" * 16,
    "position": Position(1, 1),
    "epoch": 0,
    "kind": "application",
    "sender": b"d" * 16,
    "send_id": b"s" * 16,
    "payload": b"message",
}


def chained(**changes: object) -> bytes:
    return chain_hash(**{**ROW, **changes})  # type: ignore[arg-type]


def test_chain_is_the_documented_hash() -> None:
    expected = hashlib.sha256(
        b"pli log v1"
        + bytes(32)
        + b"\x10"
        + b"g" * 16
        + struct.pack(">QQQ", 1, 1, 0)
        + b"\x0bapplication"
        + b"d" * 16
        + b"s" * 16
        + hashlib.sha256(b"message").digest()
    ).digest()
    assert chained() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"previous": b"\x01" * 32},
        {"group": b"h" * 16},
        {"group": b"g" * 17},
        {"position": Position(2, 1)},
        {"position": Position(1, 2)},
        {"epoch": 1},
        {"kind": "commit"},
        {"sender": b"e" * 16},
        {"send_id": b"t" * 16},
        {"payload": b"other"},
    ],
)
def test_chain_changes_with_every_part_of_a_row(change: dict[str, object]) -> None:
    assert chained(**change) != chained()


def test_payload_and_the_blob_that_holds_it_have_the_same_hash() -> None:
    digest = hashlib.sha256(b"message").digest()
    assert payload_hash(BlobRef(bytes(32), 7, digest)) == payload_hash(b"message") == digest


def test_sign_in_is_bound_to_relay_challenge_and_token() -> None:
    challenges = {
        sign_in_challenge("relais.example.org", bytes(32), None),
        sign_in_challenge("relais.example.net", bytes(32), None),
        sign_in_challenge("relais.example.org", b"c" * 32, None),
        sign_in_challenge("relais.example.org", bytes(32), b"t" * 16),
        registration_challenge("relais.example.org", bytes(32), ""),
        registration_challenge("relais.example.org", bytes(32), "code"),
    }
    assert len(challenges) == 6


def test_device_id_is_the_start_of_the_hash_of_its_key() -> None:
    assert device_id(b"k" * 32) == hashlib.sha256(b"k" * 32).digest()[:16]


ids = st.lists(st.binary(min_size=16, max_size=16), max_size=5).map(tuple)


@given(ids, ids)
def test_roster_change_comes_back_as_it_was(
    added: tuple[bytes, ...], removed: tuple[bytes, ...]
) -> None:
    change = RosterChange(added, removed)
    assert RosterChange.decode(change.encode()) == change


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"\x90",
        b"\x91\x90",
        b"\x92\x90\x90\x00",
        b"\x93\x90\x90\x90",
        b"\x92\x91\xc4\x0f" + bytes(15) + b"\x90",
        b"\x92\xdc\x00\x00\x90",
        b"\x92" + b"\x91" * 2000,
        b"\x82\xa5added\x90\xa7removed\x90",
    ],
)
def test_what_is_not_one_roster_change_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="roster change"):
        RosterChange.decode(data)


def test_every_error_code_has_a_meaning_and_fits_a_frame() -> None:
    assert all(code == code.lower() and len(code) <= 256 and CODES[code] for code in CODES)
