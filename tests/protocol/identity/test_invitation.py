"""Invitation codes: every class of typing mistake, and what a code may say."""

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.identity import Invitation, InvitationError
from pli_protocol.identity.invitation import check_relay
from pli_protocol.identity.letters import _to_base32
from pli_protocol.secret import Secret

SECRET, ESTABLISHMENT = Secret(bytes(range(16))), bytes(range(100, 116))
RELAY = "wss://relais.example.org/pli"
INVITATION = Invitation(SECRET, ESTABLISHMENT, RELAY)
CODE = INVITATION.text()


def cause(text: str) -> str:
    with pytest.raises(InvitationError) as caught:
        Invitation.parse(text)
    return caught.value.cause


def code_of(body: bytes) -> str:
    """A code with a right checksum, whatever it says."""
    return _to_base32(body + hashlib.sha256(b"pli invitation v1" + body).digest()[:4])


def test_code_says_what_the_invitation_says() -> None:
    assert Invitation.parse(CODE) == INVITATION


@given(
    secret=st.binary(min_size=16, max_size=16),
    establishment=st.binary(min_size=16, max_size=16),
    host=st.text(string.ascii_lowercase + string.digits + "-.", min_size=1, max_size=60),
)
def test_every_code_reads_back(secret: bytes, establishment: bytes, host: str) -> None:
    invitation = Invitation(Secret(secret), establishment, f"wss://{host}")
    assert Invitation.parse(invitation.text()) == invitation


@given(st.text(max_size=300))
def test_any_text_is_a_code_or_an_invitation_error(text: str) -> None:
    with pytest.raises(InvitationError):
        Invitation.parse(text)


@pytest.mark.parametrize(
    "typed",
    [
        CODE.lower(),
        CODE.replace("-", " "),
        CODE.replace("-", ""),
        CODE.replace("-", "\n"),
        CODE.replace("-", "\u2013"),
        CODE.replace("-", "\u00a0"),
        f"  {CODE}\r\n",
        CODE.replace("0", "O").replace("1", "I"),
        CODE.replace("0", "o").replace("1", "l"),
    ],
)
def test_code_is_read_however_it_was_typed(typed: str) -> None:
    assert Invitation.parse(typed) == INVITATION


def test_alphabet_has_no_letters_that_look_alike() -> None:
    assert not set("ILOU") & set(CODE)


@pytest.mark.parametrize("empty", ["", " ", "---", "\n"])
def test_empty_code_is_named_so(empty: str) -> None:
    assert cause(empty) == "empty"


@pytest.mark.parametrize("character", ["U", "!", "é", "٣", "\x1b", "\u202e", "\ud800", "=", "/"])
def test_character_that_no_code_has_is_named_so(character: str) -> None:
    assert cause(CODE[:20] + character + CODE[21:]) == "character"


def test_every_wrong_letter_is_noticed() -> None:
    for at, letter in enumerate(CODE):
        if letter != "-":
            wrong = "2" if letter != "2" else "3"
            assert cause(CODE[:at] + wrong + CODE[at + 1 :]) == "checksum"


def test_every_missing_letter_is_noticed() -> None:
    for at, letter in enumerate(CODE):
        if letter != "-":
            assert cause(CODE[:at] + CODE[at + 1 :]) == "checksum"


def test_every_letter_too_many_is_noticed() -> None:
    for at in range(len(CODE) + 1):
        assert cause(CODE[:at] + "7" + CODE[at:]) == "checksum"


def test_every_swap_of_neighbours_is_noticed() -> None:
    letters = CODE.replace("-", "")
    for at in range(len(letters) - 1):
        if letters[at] != letters[at + 1]:
            swapped = letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :]
            assert cause(swapped) == "checksum"


def test_code_cut_short_is_noticed_at_every_length() -> None:
    letters = CODE.replace("-", "")
    causes = {cause(letters[:length]) for length in range(1, len(letters))}
    assert causes == {"too-short", "checksum"}


def test_code_pasted_twice_and_an_endless_one_are_noticed() -> None:
    assert cause(CODE + CODE) == "checksum"
    assert cause("A" * 10_000_000) == "checksum"


@pytest.mark.parametrize(
    "relay",
    [
        "https://relais.example.org",
        "wss://",
        "wss:///path",
        "wss://user:password@relais.example.org",
        "wss://relais.example.org/?a=b",
        "wss://relais.example.org/#here",
        "wss://relais.example.org:99999",
        "wss://relais.example.org:0",
        "wss://relais example.org",
        "wss://relais.example.org\x1b[2J",
        "wss://relais.éxample.org",
        "wss://[::1",
        "wss://" + "a" * 200,
        "relais.example.org",
    ],
)
def test_address_that_is_no_relay_is_refused(relay: str) -> None:
    with pytest.raises(InvitationError) as caught:
        check_relay(relay)
    assert caught.value.cause == "relay"
    if len(relay) < 200:
        assert cause(code_of(SECRET + ESTABLISHMENT + relay.encode())) == "relay"


@pytest.mark.parametrize("relay", ["ws://127.0.0.1:8765", "wss://a/b", "wss://[::1]:443/x"])
def test_address_of_a_relay_is_taken(relay: str) -> None:
    assert check_relay(relay) == relay


def test_code_without_an_address_is_refused() -> None:
    assert cause(code_of(SECRET + ESTABLISHMENT + b"\xff\xfe\xff\xff\xff\xff")) == "relay"
    assert cause(code_of(SECRET + ESTABLISHMENT)) == "too-short"


def test_second_writing_of_a_code_is_refused() -> None:
    """The bits that fill the last letter must be zero."""
    data = SECRET + ESTABLISHMENT + b"wss://abcd"
    letters = code_of(data)
    assert (len(data) + 4) * 8 % 5
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    other = alphabet[alphabet.index(letters[-1]) + 1]
    assert Invitation.parse(letters)
    assert cause(letters[:-1] + other) == "checksum"


def test_secret_is_not_shown() -> None:
    assert "<16 bytes>" in repr(INVITATION)
    assert SECRET.hex() not in repr(INVITATION)
