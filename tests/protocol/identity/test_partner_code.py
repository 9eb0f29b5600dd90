"""Partner codes: what one reads back is what the other's administrator printed, or nothing."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.identity import Invitation, InvitationError, PartnerCode
from pli_protocol.secret import Secret

FINGERPRINT = bytes(range(32))
CODE = PartnerCode(FINGERPRINT, "wss://relais.example.org").text()


@given(
    fingerprint=st.binary(min_size=32, max_size=32),
    host=st.text(string.ascii_lowercase + string.digits + "-.", min_size=1, max_size=60),
)
def test_every_code_reads_back(fingerprint: bytes, host: str) -> None:
    code = PartnerCode(fingerprint, f"wss://{host}")
    assert PartnerCode.parse(code.text()) == code
    assert code.establishment == fingerprint[:16]


@pytest.mark.parametrize("position", range(len(CODE)))
def test_a_wrong_letter_is_noticed(position: int) -> None:
    if CODE[position] == "-":
        return
    other = "Z" if CODE[position] != "Z" else "Y"
    with pytest.raises(InvitationError):
        PartnerCode.parse(CODE[:position] + other + CODE[position + 1 :])


def test_an_invitation_is_no_partner_code_and_a_partner_code_no_invitation() -> None:
    invitation = Invitation(Secret(bytes(16)), bytes(16), "wss://relais.example.org").text()
    for parse, text in ((PartnerCode.parse, invitation), (Invitation.parse, CODE)):
        with pytest.raises(InvitationError) as caught:
            parse(text)
        assert caught.value.cause == "checksum"
