"""Linking: the address, the request's code, the letter that opens for one request only."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.identity import InvitationError
from pli_protocol.identity.errors import LinkingError
from pli_protocol.identity.linking import (
    AccountAddress,
    Letter,
    LinkingRequest,
    is_code_of,
    linking_code,
    new_key,
    open_letter,
    request_id,
    seal_letter,
)
from pli_protocol.identity.password import Cost, derive

KEY = new_key()
RELAY = "wss://pli.example.fr"


def request_of(**changes: object) -> LinkingRequest:
    fields: dict[str, object] = {
        "version": 1,
        "establishment": bytes(16),
        "account": bytes(16),
        "device_key": bytes(32),
        "kem_key": KEY.public,
        "nonce": bytes(16),
        "made_at": 1_795_000_000,
    }
    return LinkingRequest(**(fields | changes))  # type: ignore[arg-type]


LETTER = Letter(
    1, (b"d", b"p", b"i"), b"s" * 32, b"authority", (b"i",), None, None, None, "portable"
)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_an_address_is_read_as_it_was_written(establishment: bytes, account: bytes) -> None:
    address = AccountAddress(establishment, account, RELAY)
    assert AccountAddress.parse(address.text().lower().replace("-", " ")) == address


@pytest.mark.parametrize("place", range(0, 80, 7))
def test_a_wrong_letter_of_an_address_is_found(place: int) -> None:
    text = AccountAddress(bytes(16), bytes(16), RELAY).text().replace("-", "")
    letter = "A" if text[place] != "A" else "B"
    with pytest.raises(InvitationError) as caught:
        AccountAddress.parse(text[:place] + letter + text[place + 1 :])
    assert caught.value.cause == "checksum"


def test_an_invitation_is_no_address() -> None:
    from pli_protocol.identity import Invitation
    from pli_protocol.secret import Secret

    code = Invitation(Secret(bytes(16)), bytes(16), RELAY).text()
    with pytest.raises(InvitationError, match="wrong"):
        AccountAddress.parse(code)


def test_a_request_is_read_as_it_was_written_and_only_so() -> None:
    request = request_of()
    assert LinkingRequest.decode(request.encode()) == request
    for data in (b"", request.encode() + b"\0", request.encode()[:-1], b"\x93\x01\x02\x03"):
        with pytest.raises(LinkingError):
            LinkingRequest.decode(data)


def test_the_code_has_eighty_bits_over_everything_in_the_request() -> None:
    codes = {
        linking_code(request.encode())
        for request in (
            request_of(),
            request_of(account=b"a" * 16),
            request_of(establishment=b"e" * 16),
            request_of(device_key=b"k" * 32),
            request_of(kem_key=new_key().public),
            request_of(nonce=b"n" * 16),
            request_of(made_at=1),
        )
    }
    assert len(codes) == 7
    assert all(len(code.replace("-", "")) * 5 == 80 for code in codes)


def test_a_code_is_recognised_however_it_is_typed() -> None:
    request, other = request_of().encode(), request_of(nonce=b"n" * 16).encode()
    typed = linking_code(request).lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert is_code_of(typed, request)
    assert not is_code_of(typed, other)
    for nothing in ("", "u" * 16, "abcd"):
        with pytest.raises(InvitationError):
            is_code_of(nothing, request)


def test_a_letter_opens_for_its_request_with_its_key_only() -> None:
    request = request_of().encode()
    sealed = seal_letter(LETTER, request)
    assert open_letter(sealed, request, KEY) == LETTER
    assert b"portable" not in sealed
    wrong = (
        (sealed, request_of(nonce=b"n" * 16).encode(), KEY),
        (sealed, request, new_key()),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), request, KEY),
        (b"", request, KEY),
        (os.urandom(64), request, KEY),
    )
    for case in wrong:
        with pytest.raises(LinkingError):
            open_letter(*case)


def test_a_request_with_a_key_that_is_none_gets_no_letter() -> None:
    with pytest.raises(LinkingError):
        seal_letter(LETTER, request_of(kem_key=b"\xff" * 1216).encode())


def test_nothing_secret_is_shown() -> None:
    assert "s" * 32 not in repr(LETTER)


def test_two_requests_lie_under_two_ids() -> None:
    assert request_id(request_of().encode()) != request_id(request_of(made_at=5).encode())


def test_a_password_is_derived_for_one_account_of_one_establishment() -> None:
    cheap = Cost(memory=64, passes=1, lanes=1)
    derived = {
        bytes(derive(*case, cheap))
        for case in (
            ("mot de passe", bytes(16), bytes(16)),
            ("mot de passé", bytes(16), bytes(16)),
            ("mot de passe", b"e" * 16, bytes(16)),
            ("mot de passe", bytes(16), b"a" * 16),
        )
    }
    assert len(derived) == 4
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert derive(composed, bytes(16), bytes(16), cheap) == derive(
        apart, bytes(16), bytes(16), cheap
    )


def test_the_derived_password_stays_the_same_for_ever() -> None:
    """Made with argon2-cffi 25.1; another value would shut everybody out."""
    made = derive("Rose des vents", bytes(range(16)), bytes(range(16, 32)))
    assert made.hex() == "8015637362b86a44b478a21675a675f81e4becb626421d5c5651a94bd5b0b75f"
