"""Ed25519 keys of authorities, issuers, persons and devices (RFC 8032)."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import nacl.bindings
import nacl.exceptions

from ..secret import Secret
from .errors import IdentityError

KEY_SIZE = 32
"""Bytes of a public key and of a private seed."""

SIGNATURE_SIZE = 64


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key pair; `seed` is the 32-byte private key."""

    public: bytes
    seed: Secret

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The pair of a 32-byte seed; raises ValueError for another size."""
        if len(seed) != KEY_SIZE:
            raise ValueError("an Ed25519 seed has 32 bytes")
        public, _ = nacl.bindings.crypto_sign_seed_keypair(bytes(seed))
        return cls(bytes(public), Secret(seed))

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> Self:
        """A new pair from 32 bytes of the source."""
        return cls.from_seed(random(KEY_SIZE))

    def sign(self, data: bytes) -> bytes:
        """The signature (64 bytes)."""
        signed = nacl.bindings.crypto_sign(data, bytes(self.seed) + self.public)
        return bytes(signed[:SIGNATURE_SIZE])


def is_public_key(key: bytes) -> bool:
    """Whether these bytes are a usable Ed25519 public key: canonical, on the curve, of full order.

    Under a key of small order one signature verifies for any message.
    """
    return len(key) == KEY_SIZE and bool(nacl.bindings.crypto_core_ed25519_is_valid_point(key))


def verify(public: bytes, data: bytes, signature: bytes) -> None:
    """Check a signature.

    Raises:
        IdentityError: rule "key" for an unusable key, "signature" for anything else that is wrong.
    """
    if not is_public_key(public):
        raise IdentityError("key", "not a usable Ed25519 public key")
    if len(signature) != SIGNATURE_SIZE:
        raise IdentityError("signature", "a signature has 64 bytes")
    try:
        nacl.bindings.crypto_sign_open(signature + data, public)
    except nacl.exceptions.BadSignatureError:
        raise IdentityError("signature", "the signature does not verify") from None
