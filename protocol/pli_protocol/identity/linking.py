"""Linking a further device: its request, the code that people compare, and the letter that answers.

    address    establishment 16 || account 16 || relay address (ASCII), as a code with its checksum
    request    [1, establishment, account, device key 32, X-Wing key 1216, nonce 16, made at]
    code       the first 10 bytes of SHA-256("pli linking code v1" || request): 16 letters
    letter     [1, enc 1120, ciphertext]: HPKE base mode of suite 0x004E to the X-Wing key,
               info "pli linking v1" 00 SHA-256(request)

The relay carries request and letter. A request that it swaps has another code than the one that the new
device shows; a letter opens for the one request only, and what is in it must lead to the authority and
account of the address.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self, TypeVar

import msgspec
from msgspec import Meta, Struct

from ..mls import hpke
from ..mls.ciphersuite import KEMKeyPair, suite
from ..mls.errors import MLSError
from ..relay.frames import Certificate, Id16, Id32
from . import letters
from .errors import InvitationError, LinkingError
from .invitation import MAX_RELAY, check_relay
from .statements import MAX_CHANGES
from .succession import MAX_CHANGE

SUITE: Final = suite(0x004E)
LASTS: Final = 120
"""Seconds for which a request is good."""

CODE_BYTES: Final = 10
"""80 bits: who would swap a request has two minutes to find another one with the same code."""

_ADDRESS = b"pli account address v1"
_CODE = b"pli linking code v1"
_INFO = b"pli linking v1\0"
_KEM_PUBLIC = 1216
_SHORTEST = 32 + len("ws://a") + letters.CHECKSUM

_T = TypeVar("_T")

Seconds = Annotated[int, Meta(ge=0, lt=2**40)]


@dataclass(frozen=True, slots=True)
class AccountAddress:
    """Where an account is, as its person copies it to a new device. Not secret."""

    establishment: bytes
    account: bytes
    relay: str

    def text(self) -> str:
        """The code, as it is printed and as it stands in the QR picture."""
        check_relay(self.relay)
        data = self.establishment + self.account + self.relay.encode("ascii")
        return letters.written(_ADDRESS, data)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a code. Raises InvitationError, whose .cause is as Invitation.parse says."""
        body = letters.read(_ADDRESS, text, _SHORTEST, _SHORTEST + MAX_RELAY)
        try:
            relay = check_relay(body[32:].decode("ascii"))
        except UnicodeDecodeError:
            raise InvitationError("relay", "the code names no relay") from None
        return cls(body[:16], body[16:32], relay)


class _Struct(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pass


class LinkingRequest(_Struct, frozen=True):
    """What a new device asks for."""

    version: Literal[1]
    establishment: Id16
    account: Id16
    device_key: Id32
    kem_key: Annotated[bytes, Meta(min_length=_KEM_PUBLIC, max_length=_KEM_PUBLIC)]
    nonce: Id16
    made_at: Seconds
    """Unix seconds by the new device's clock."""

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "LinkingRequest":
        """Raises LinkingError where the bytes are not exactly one request."""
        request = _decode(data, cls)
        if request.encode() != data:
            raise LinkingError("a request must be encoded canonically")
        return request


class Letter(_Struct, frozen=True):
    """What an enrolled device gives to a new one of the same person. Secret."""

    version: Literal[1]
    chain: tuple[Certificate, Certificate, Certificate]
    """The new device's certificate, the person's, the issuer's."""
    identity_seed: Id32
    authority: Certificate
    issuers: Annotated[tuple[Certificate, ...], Meta(max_length=8)]
    revocations: Annotated[bytes, Meta(max_length=16 * 1024)] | None
    relay_name: Annotated[str, Meta(max_length=256)] | None
    ca: Annotated[str, Meta(max_length=16 * 1024)] | None
    name: Annotated[str, Meta(max_length=64)]
    """What the person calls the new device."""
    changes: Annotated[
        tuple[Annotated[bytes, Meta(max_length=MAX_CHANGE)], ...], Meta(max_length=MAX_CHANGES)
    ] = ()
    """Of the establishment's authority, as far as the person has accepted them."""

    def __repr__(self) -> str:
        return "Letter(…)"


class _Sealed(_Struct, frozen=True):
    version: Literal[1]
    enc: bytes
    ciphertext: bytes


def new_key(random: Callable[[int], bytes] = os.urandom) -> KEMKeyPair:
    """A pair to which one letter is sealed."""
    return SUITE.generate_kem_key(random)


def key_of(private: bytes) -> KEMKeyPair:
    """The pair of a stored private key."""
    return hpke.key_pair(SUITE, private)


def request_id(request: bytes) -> bytes:
    """The id (16 bytes) under which the relay keeps a request."""
    return hashlib.sha256(b"pli linking request v1" + request).digest()[:16]


def linking_code(request: bytes) -> str:
    """The code that the new device shows for its request."""
    return letters.grouped(_code_bytes(request), 4)


def is_code_of(text: str, request: bytes) -> bool:
    """Whether a person typed the code of this request. Raises InvitationError for what is no code."""
    return hmac.compare_digest(letters.read_grouped(text, CODE_BYTES), _code_bytes(request))


def seal_letter(
    letter: Letter, request: bytes, random: Callable[[int], bytes] = os.urandom
) -> bytes:
    """The letter, sealed to the key in the request. Raises LinkingError for a key that is none."""
    key = LinkingRequest.decode(request).kem_key
    plaintext = msgspec.msgpack.encode(letter)
    try:
        enc, ciphertext = hpke.seal(SUITE, key, _info(request), b"", plaintext, random)
    except MLSError:
        raise LinkingError("the key of the request cannot be used") from None
    return msgspec.msgpack.encode(_Sealed(1, enc, ciphertext))


def open_letter(sealed: bytes, request: bytes, key: KEMKeyPair) -> Letter:
    """Read a letter; its certificates must still be checked. Raises LinkingError."""
    outer = _decode(sealed, _Sealed)
    try:
        plaintext = hpke.open_sealed(SUITE, outer.enc, key, _info(request), b"", outer.ciphertext)
    except MLSError:
        raise LinkingError("it does not open") from None
    return _decode(plaintext, Letter)


def _info(request: bytes) -> bytes:
    return _INFO + hashlib.sha256(request).digest()


def _code_bytes(request: bytes) -> bytes:
    return hashlib.sha256(_CODE + request).digest()[:CODE_BYTES]


def _decode(data: bytes, expected: type[_T]) -> _T:
    try:
        return msgspec.msgpack.decode(data, type=expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise LinkingError("malformed") from None
