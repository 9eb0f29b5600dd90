"""Cipher suites (RFC 9420 §5.1): one table, and the primitives behind it.

Ed25519 comes from libsodium (PyNaCl), AEADs from OpenSSL (`cryptography`), hashes and HMAC from the
standard library; the KEMs are `kem`'s.
"""

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from nacl import bindings
from nacl.exceptions import BadSignatureError
from nacl.exceptions import CryptoError as SodiumError

from ..secret import Secret
from .errors import CryptoError, UnsupportedError, UsageError
from .kem import DHKEM_X25519, KEM, X_WING
from .kem import HPKEPrivateKey as HPKEPrivateKey
from .kem import KEMKeyPair as KEMKeyPair
from .kem import Random as Random

# enum {
#     reserved(0),
#     mls10(1),
#     (65535)
# } ProtocolVersion;
MLS10: Final = 1
"""ProtocolVersion mls10 (§6)."""


class SignaturePrivateKey(Secret):
    """A signature private key; Ed25519: the 32-byte seed."""


_LONG: Final = 32_768
"""Bytes from which OpenSSL signs quicker: it takes longer to load the key, but hashes faster."""


_HASHES: Final = {"sha256": hashlib.sha256, "sha384": hashlib.sha384}


@dataclass(frozen=True, slots=True)
class SignatureKeyPair:
    """A signature key (§5.1.2). Ed25519: `public` 32 bytes, `private` the 32-byte seed."""

    public: bytes
    private: Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class CipherSuite:
    """A row of the table of cipher suites (§5.1, §17.1).

    Attributes:
        number: the registered number.
        hash_name: name in hashlib; `hash_size` is Nh, bytes of the hash and of the KDF's output.
        key_size, nonce_size: Nk and Nn of the AEAD, bytes.
        kem: how secrets are sent to HPKE keys; kdf_id, aead_id: HPKE's numbers (RFC 9180 §7).
    """

    number: int
    name: str
    hash_name: str
    hash_size: int
    key_size: int
    nonce_size: int
    kem: KEM = field(repr=False)
    kdf_id: int
    aead_id: int
    aead: type[AESGCM] | type[ChaCha20Poly1305]

    @property
    def zero(self) -> bytes:
        """Nh zero bytes: the place of an absent secret (§8)."""
        return bytes(self.hash_size)

    def hash(self, data: bytes) -> bytes:
        return _HASHES[self.hash_name](data).digest()

    def hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self.hash_name)

    def check_mac(self, key: bytes, data: bytes, tag: bytes) -> bool:
        """Compare in constant time; a tag of another length is wrong."""
        return hmac.compare_digest(self.hmac(key, data), tag)

    def hkdf_extract(self, salt: bytes, ikm: bytes) -> Secret:
        """HKDF-Extract (RFC 5869 §2.2), Nh bytes."""
        return Secret(hmac.digest(salt or self.zero, ikm, self.hash_name))

    def hkdf_expand(self, prk: bytes, info: bytes, length: int) -> Secret:
        """HKDF-Expand (RFC 5869 §2.3). Raises UsageError over 255 Nh bytes."""
        if length <= self.hash_size:
            return Secret(hmac.digest(prk, info + b"\x01", self.hash_name)[:length])
        if length > 255 * self.hash_size:
            raise UsageError("more bytes than HKDF-Expand can give")
        block, output = b"", b""
        for counter in range(1, -(-length // self.hash_size) + 1):
            block = hmac.digest(prk, block + info + bytes((counter,)), self.hash_name)
            output += block
        return Secret(output[:length])

    def aead_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
        """Ciphertext and 16-byte tag."""
        return self.aead(key).encrypt(nonce, plaintext, aad)

    def aead_open(self, key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
        """Raises CryptoError when it does not open."""
        try:
            return self.aead(key).decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise CryptoError("a ciphertext does not open") from None

    def sign(self, key: SignatureKeyPair, data: bytes) -> bytes:
        """Ed25519, 64 bytes (§5.1.2 names EdDSA as RFC 8032 has it)."""
        if len(data) > _LONG:
            return Ed25519PrivateKey.from_private_bytes(key.private).sign(data)
        return bindings.crypto_sign(data, key.private + key.public)[:64]

    def verify(self, public: bytes, data: bytes, signature: bytes) -> None:
        """Raises CryptoError. Small-order keys are refused by libsodium."""
        if len(public) != 32 or len(signature) != 64:
            raise CryptoError("a signature or key has a wrong length")
        try:
            bindings.crypto_sign_open(signature + data, public)
        except (BadSignatureError, SodiumError, ValueError):
            raise CryptoError("a signature does not verify") from None

    def signature_key(self, private: bytes) -> SignatureKeyPair:
        """The pair of a private key; Ed25519: a 32-byte seed."""
        if len(private) != 32:
            raise UsageError("an Ed25519 seed has 32 bytes")
        public, _ = bindings.crypto_sign_seed_keypair(private)
        return SignatureKeyPair(public, SignaturePrivateKey(private))

    def generate_signature_key(self, random: Random = os.urandom) -> SignatureKeyPair:
        return self.signature_key(random(32))

    def generate_kem_key(self, random: Random = os.urandom) -> KEMKeyPair:
        """A fresh HPKE key pair."""
        return self.kem.generate_key_pair(random)


HKDF_SHA256, HKDF_SHA384 = 0x0001, 0x0002
AES_128_GCM, AES_256_GCM, CHACHA20 = 0x0001, 0x0002, 0x0003

SUITES: Final = {
    row.number: row
    for row in (
        CipherSuite(
            0x0001,
            "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
            *("sha256", 32, 16, 12),
            *(DHKEM_X25519, HKDF_SHA256, AES_128_GCM),
            AESGCM,
        ),
        CipherSuite(
            0x0003,
            "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
            *("sha256", 32, 32, 12),
            *(DHKEM_X25519, HKDF_SHA256, CHACHA20),
            ChaCha20Poly1305,
        ),
        # Of draft-ietf-mls-pq-ciphersuites, under the number that it has provisionally.
        CipherSuite(
            0x004E,
            "MLS_192_MLKEM768X25519_AES256GCM_SHA384_Ed25519",
            *("sha384", 48, 32, 12),
            *(X_WING, HKDF_SHA384, AES_256_GCM),
            AESGCM,
        ),
    )
}
"""The suites that this library has, by number."""


def suite(number: int) -> CipherSuite:
    """The suite of that number; raises UnsupportedError."""
    try:
        return SUITES[number]
    except KeyError:
        raise UnsupportedError(f"cipher suite 0x{number:04x} is not supported") from None
