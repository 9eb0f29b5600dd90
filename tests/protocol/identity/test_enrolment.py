"""Enrolment: sealed requests and answers, and what a relay could try with them."""

import msgspec
import pytest

from pli_protocol.identity import Invitation
from pli_protocol.identity.enrolment import (
    SUITE,
    Enrolled,
    EnrolmentError,
    EnrolmentRefused,
    EnrolmentRequest,
    ReplyKey,
    _SealedFor,
    _SealedRequest,
    open_answer,
    open_request,
    seal_answer,
    seal_request,
)
from pli_protocol.mls import hpke
from pli_protocol.secret import Secret

from .establishment import key

INVITATION = Invitation(Secret(b"s" * 16), b"e" * 16, "wss://relais.example.org")
ISSUER, REPLY = ReplyKey.generate(), ReplyKey.generate()
REQUEST_ID = b"r" * 16


def request(*keys: bytes) -> bytes:
    return seal_request(
        INVITATION, keys or (ISSUER.public,), key("identity"), REPLY.public, REQUEST_ID
    )


def test_issuer_reads_what_the_device_asked() -> None:
    opened = open_request(request(), REQUEST_ID, b"e" * 16, ISSUER)
    assert opened.secret == INVITATION.secret
    assert opened.identity_key == key("identity").public
    assert opened.reply_key == REPLY.public


def test_either_of_two_issuers_can_read_the_request() -> None:
    second = ReplyKey.generate()
    sealed = request(ISSUER.public, second.public)
    assert open_request(sealed, REQUEST_ID, b"e" * 16, ISSUER) == open_request(
        sealed, REQUEST_ID, b"e" * 16, second
    )


def test_relay_cannot_read_a_request() -> None:
    sealed = request()
    assert bytes(INVITATION.secret) not in sealed
    assert key("identity").public not in sealed
    with pytest.raises(EnrolmentError):
        open_request(sealed, REQUEST_ID, b"e" * 16, ReplyKey.generate())


def test_request_under_another_id_or_establishment_does_not_open() -> None:
    with pytest.raises(EnrolmentError):
        open_request(request(), b"x" * 16, b"e" * 16, ISSUER)
    with pytest.raises(EnrolmentError):
        open_request(request(), REQUEST_ID, b"x" * 16, ISSUER)


def test_request_with_a_key_that_the_asker_does_not_hold_is_refused() -> None:
    """Otherwise one could have a colleague's key signed under one's own account."""
    honest = open_request(request(), REQUEST_ID, b"e" * 16, ISSUER)
    stolen = EnrolmentRequest(
        honest.secret, key("colleague").public, honest.reply_key, honest.signature
    )
    outer = msgspec.msgpack.decode(request(), type=_SealedRequest)
    enc, ciphertext = hpke.seal(
        SUITE,
        ISSUER.public,
        b"pli enrolment v1" + REQUEST_ID,
        b"",
        msgspec.msgpack.encode(stolen),
    )
    forged = _SealedRequest(1, (_SealedFor(outer.copies[0].key_id, enc, ciphertext),))
    with pytest.raises(EnrolmentError, match="signed"):
        open_request(msgspec.msgpack.encode(forged), REQUEST_ID, b"e" * 16, ISSUER)


def test_one_changed_bit_of_request_or_answer_is_noticed() -> None:
    sealed = request()
    for at in range(len(sealed)):
        mangled = bytearray(sealed)
        mangled[at] ^= 1 << at % 8
        with pytest.raises(EnrolmentError):
            open_request(bytes(mangled), REQUEST_ID, b"e" * 16, ISSUER)
    answer = seal_answer(EnrolmentRefused("used"), REPLY.public, REQUEST_ID)
    for at in range(len(answer)):
        mangled = bytearray(answer)
        mangled[at] ^= 1 << at % 8
        with pytest.raises(EnrolmentError):
            open_answer(bytes(mangled), REQUEST_ID, REPLY)


@pytest.mark.parametrize("answer", [Enrolled(b"person", b"issuer"), EnrolmentRefused("expired")])
def test_device_reads_the_answer(answer: Enrolled | EnrolmentRefused) -> None:
    assert open_answer(seal_answer(answer, REPLY.public, REQUEST_ID), REQUEST_ID, REPLY) == answer


def test_answer_to_another_request_does_not_open() -> None:
    answer = seal_answer(EnrolmentRefused("used"), REPLY.public, REQUEST_ID)
    with pytest.raises(EnrolmentError):
        open_answer(answer, b"x" * 16, REPLY)
    with pytest.raises(EnrolmentError):
        open_answer(answer, REQUEST_ID, ReplyKey.generate())


def test_request_without_an_enrolment_key_is_never_made() -> None:
    with pytest.raises(EnrolmentError):
        seal_request(INVITATION, (), key("identity"), REPLY.public, REQUEST_ID)
    with pytest.raises(EnrolmentError):
        seal_request(INVITATION, (bytes(32),), key("identity"), REPLY.public, REQUEST_ID)


def test_answer_to_a_key_of_small_order_is_never_made() -> None:
    with pytest.raises(EnrolmentError, match="reply key"):
        seal_answer(EnrolmentRefused("used"), bytes(32), REQUEST_ID)


def test_reply_key_survives_being_stored() -> None:
    assert ReplyKey.from_private(REPLY.private).public == REPLY.public
    assert bytes(REPLY.private).hex() not in repr(REPLY)


def test_secret_of_a_request_is_not_shown() -> None:
    assert "ssss" not in repr(open_request(request(), REQUEST_ID, b"e" * 16, ISSUER))
