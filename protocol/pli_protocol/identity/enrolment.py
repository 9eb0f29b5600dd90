"""Enrolment: a device asks the issuer to sign its person's key, through a relay that only carries it.

    request    [1, [[key id 16, enc 32, ciphertext], …]]   sealed to each issuer's EnrolmentKey
    answer     [1, enc 32, ciphertext]                     sealed to the reply key in the request

Both are HPKE base mode (RFC 9180) with suite 0x0003's KEM, KDF and AEAD. `info` is the purpose with
the request id, so that neither fits another request. Inside the request the identity key signs the
invitation's secret, the establishment, the request id and the reply key: who asks holds the key.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from ..mls import hpke
from ..mls.ciphersuite import KEMKeyPair, suite
from ..mls.errors import MLSError
from ..relay.frames.values import Certificate, Id16, Id32, Signature
from ..secret import Secret
from .errors import IdentityError
from .invitation import Invitation
from .keys import SigningKey, verify

SUITE: Final = suite(0x0003)
_REQUEST_INFO = b"pli enrolment v1"
_ANSWER_INFO = b"pli enrolment answer v1"

RefusalCode = Literal["unknown", "used", "expired"]


class EnrolmentError(Exception):
    """A request or an answer that does not open, or is not what it must be. Quotes nothing of it."""


class SealedToAnother(EnrolmentError):
    """A request for other issuers. `key_ids` names the keys it says it is sealed to."""

    def __init__(self, key_ids: frozenset[bytes]) -> None:
        super().__init__("the request is sealed to another issuer")
        self.key_ids = key_ids


class _Struct(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pass


class _SealedFor(_Struct, frozen=True):
    key_id: Id16
    enc: Id32
    ciphertext: bytes


class _SealedRequest(_Struct, frozen=True):
    version: Literal[1]
    copies: Annotated[tuple[_SealedFor, ...], Meta(min_length=1, max_length=8)]


class _SealedAnswer(_Struct, frozen=True):
    version: Literal[1]
    enc: Id32
    ciphertext: bytes


class EnrolmentRequest(_Struct, frozen=True):
    """What the issuer reads: the invitation's secret, the key to sign, where to answer."""

    secret: Id16
    identity_key: Id32
    reply_key: Id32
    signature: Signature

    def __repr__(self) -> str:
        return "EnrolmentRequest(…)"


class Enrolled(_Struct, frozen=True, tag="enrolled"):
    """The issuer signed: the person's and the issuer's certificates."""

    person: Certificate
    issuer: Certificate


class EnrolmentRefused(_Struct, frozen=True, tag="refused"):
    """The issuer refused: the secret is unknown, was used with another key, or is past its date."""

    code: RefusalCode


EnrolmentAnswer = Enrolled | EnrolmentRefused
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ReplyKey:
    """The pair to which the answer to one request is sealed; kept until the answer came."""

    pair: KEMKeyPair

    @classmethod
    def from_private(cls, private: bytes) -> "ReplyKey":
        """The pair of a stored private key (32 bytes)."""
        return cls(hpke.key_pair(SUITE, private))

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> "ReplyKey":
        return cls(SUITE.generate_kem_key(random))

    @property
    def public(self) -> bytes:
        return self.pair.public

    @property
    def private(self) -> Secret:
        return self.pair.private


def seal_request(
    invitation: Invitation,
    enrolment_keys: Sequence[bytes],
    identity: SigningKey,
    reply_key: bytes,
    request_id: bytes,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """The request for an invitation, sealed to every issuer's enrolment key (32 bytes each).

    Raises:
        EnrolmentError: a key that cannot be sealed to, or none.
    """
    signature = identity.sign(
        _signed_bytes(bytes(invitation.secret), invitation.establishment, request_id, reply_key)
    )
    request = EnrolmentRequest(bytes(invitation.secret), identity.public, reply_key, signature)
    plaintext = msgspec.msgpack.encode(request)
    info = _REQUEST_INFO + request_id
    if not 1 <= len(enrolment_keys) <= 8:
        raise EnrolmentError("the establishment has no enrolment key")
    try:
        copies = tuple(
            _SealedFor(enrolment_key_id(key), *hpke.seal(SUITE, key, info, b"", plaintext, random))
            for key in enrolment_keys
        )
    except MLSError:
        raise EnrolmentError("an enrolment key cannot be used") from None
    return msgspec.msgpack.encode(_SealedRequest(1, copies))


def open_request(
    sealed: bytes, request_id: bytes, establishment: bytes, key: ReplyKey
) -> EnrolmentRequest:
    """Read a request sealed to the issuer's key.

    Raises:
        SealedToAnother: not sealed to this key.
        EnrolmentError: of another request, altered, or its signature does not show that the asker
            holds the identity key.
    """
    copies = _decode(sealed, _SealedRequest).copies
    info = _REQUEST_INFO + request_id
    mine = next((copy for copy in copies if copy.key_id == enrolment_key_id(key.public)), None)
    if mine is None:
        raise SealedToAnother(frozenset(copy.key_id for copy in copies))
    request = _decode(_open(mine.enc, key.pair, info, mine.ciphertext), EnrolmentRequest)
    try:
        verify(
            request.identity_key,
            _signed_bytes(request.secret, establishment, request_id, request.reply_key),
            request.signature,
        )
    except IdentityError:
        raise EnrolmentError("the request is not signed by the key it names") from None
    return request


def seal_answer(
    answer: EnrolmentAnswer,
    reply_key: bytes,
    request_id: bytes,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """The answer, sealed to the asker. Raises EnrolmentError for a reply key that cannot be used."""
    plaintext = msgspec.msgpack.encode(answer)
    info = _ANSWER_INFO + request_id
    try:
        enc, ciphertext = hpke.seal(SUITE, reply_key, info, b"", plaintext, random)
    except MLSError:
        raise EnrolmentError("the reply key cannot be used") from None
    return msgspec.msgpack.encode(_SealedAnswer(1, enc, ciphertext))


def open_answer(sealed: bytes, request_id: bytes, key: ReplyKey) -> EnrolmentAnswer:
    """Read the issuer's answer; its certificates must still be checked against the authority.

    Raises:
        EnrolmentError: it does not open, or is malformed.
    """
    outer = _decode(sealed, _SealedAnswer)
    plaintext = _open(outer.enc, key.pair, _ANSWER_INFO + request_id, outer.ciphertext)
    return _decode(plaintext, EnrolmentAnswer)  # type: ignore[arg-type]


def enrolment_key_id(public: bytes) -> bytes:
    """The id (16 bytes) by which a request names an enrolment key."""
    return hashlib.sha256(b"pli enrolment key v1" + public).digest()[:16]


def _signed_bytes(
    secret: bytes, establishment: bytes, request_id: bytes, reply_key: bytes
) -> bytes:
    return b"pli enrolment v1\0" + secret + establishment + request_id + reply_key


def _open(enc: bytes, pair: KEMKeyPair, info: bytes, ciphertext: bytes) -> bytes:
    try:
        return hpke.open_sealed(SUITE, enc, pair, info, b"", ciphertext)
    except MLSError:
        raise EnrolmentError("it does not open") from None


def _decode(data: bytes, expected: type[_T]) -> _T:
    try:
        return msgspec.msgpack.decode(data, type=expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EnrolmentError("malformed") from None
