"""Pre-shared keys: how they are chained, and how they are found."""

from __future__ import annotations

import pytest

from pli_protocol.mls import PreSharedKeyID, PSKType, ResumptionPSKUsage, ValidationError, suite
from pli_protocol.mls.psk import find_psk, psk_secret
from pli_protocol.secret import Secret

SUITE = suite(1)
FIRST = PreSharedKeyID.external(b"first", bytes(32))
SECOND = PreSharedKeyID.external(b"second", bytes(32))
RESUMED = PreSharedKeyID.resumption(ResumptionPSKUsage.APPLICATION, b"group", 7, bytes(32))


def test_without_a_key_the_secret_is_zero() -> None:
    assert psk_secret(SUITE, []) == bytes(SUITE.hash_size)


def test_the_secret_depends_on_keys_ids_nonces_and_their_order() -> None:
    secrets = {
        bytes(psk_secret(SUITE, psks))
        for psks in (
            [(FIRST, b"one")],
            [(FIRST, b"two")],
            [(SECOND, b"one")],
            [(PreSharedKeyID.external(b"first", bytes([1]) * 32), b"one")],
            [(RESUMED, b"one")],
            [(FIRST, b"one"), (SECOND, b"two")],
            [(SECOND, b"two"), (FIRST, b"one")],
        )
    }
    assert len(secrets) == 7


def test_external_keys_are_found_by_their_id() -> None:
    found = find_psk({b"first": b"one"}, FIRST)
    assert found == b"one"
    assert isinstance(found, Secret)


def test_a_function_finds_keys_of_any_kind() -> None:
    asked = []

    def find(psk: PreSharedKeyID) -> bytes | None:
        asked.append(psk)
        return b"resumed" if psk.psktype is PSKType.RESUMPTION else None

    assert find_psk(find, RESUMED) == b"resumed"
    with pytest.raises(ValidationError) as failed:
        find_psk(find, FIRST)
    assert failed.value.rule == "psk-unknown"
    assert asked == [RESUMED, FIRST]


def test_a_table_of_external_keys_has_no_resumption_secrets() -> None:
    with pytest.raises(ValidationError):
        find_psk({b"": b"zero", b"group": b"one"}, RESUMED)
