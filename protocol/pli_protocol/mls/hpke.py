"""HPKE (RFC 9180), base mode, over DHKEM(X25519, HKDF-SHA256): what RFC 9420 §5.1.3 and §8.3 need."""

import os
from dataclasses import dataclass, field

from nacl import bindings

from ..secret import Secret
from .ciphersuite import CipherSuite, HPKEPrivateKey, KEMKeyPair, Random
from .errors import CryptoError, UsageError


class SharedSecret(Secret):
    """What a KEM gives both ends."""


@dataclass(frozen=True, slots=True)
class HPKEContext:
    """A set-up HPKE context for one message (sequence number 0) and for exports (RFC 9180 §5)."""

    suite: CipherSuite
    key: Secret = field(repr=False)
    nonce: Secret = field(repr=False)
    exporter_secret: Secret = field(repr=False)

    def export(self, context: bytes, length: int) -> Secret:
        """Context.Export (RFC 9180 §5.3)."""
        suite = self.suite
        return _labeled_expand(
            suite, _suite_id(suite), self.exporter_secret, b"sec", context, length
        )


def derive_key_pair(suite: CipherSuite, ikm: bytes) -> KEMKeyPair:
    """KEM.DeriveKeyPair (RFC 9180 §7.1.3)."""
    prk = _labeled_extract(suite, _kem_id(suite), b"", b"dkp_prk", ikm)
    private = _labeled_expand(suite, _kem_id(suite), prk, b"sk", b"", 32)
    return key_pair(suite, private)


def key_pair(suite: CipherSuite, private: bytes) -> KEMKeyPair:
    """The pair of a serialized private key."""
    if len(private) != 32:
        raise UsageError("an X25519 private key has 32 bytes")
    return KEMKeyPair(bindings.crypto_scalarmult_base(private), HPKEPrivateKey(private))


# The u-coordinates of small order on Curve25519 and its twist: 0, 1, two of order 8, p - 1, and p, p + 1
# which stand for 0 and 1 again. A result with them is zero (RFC 7748 §6.1), so no one could ever
# encrypt to such a key: a leaf that has one would stop every commit with a path.
_SMALL_ORDER = frozenset(
    bytes.fromhex(u)
    for u in (
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


def check_public_key(suite: CipherSuite, public: bytes) -> None:
    """Raises CryptoError for a key of a wrong length or of small order (RFC 9180 §7.1.4)."""
    if len(public) != 32:
        raise CryptoError("an HPKE public key has a wrong length")
    # X25519 ignores the highest bit.
    if public[:31] + bytes((public[31] & 0x7F,)) in _SMALL_ORDER:
        raise CryptoError("an HPKE public key has a small order")


def setup_base_sender(
    suite: CipherSuite, public: bytes, info: bytes, random: Random = os.urandom
) -> tuple[bytes, HPKEContext]:
    """SetupBaseS (RFC 9180 §5.1.1): the encapsulated key and the context."""
    enc, secret = _encap(suite, public, random)
    return enc, _key_schedule(suite, secret, info)


def setup_base_receiver(
    suite: CipherSuite, enc: bytes, private: KEMKeyPair, info: bytes
) -> HPKEContext:
    """SetupBaseR (RFC 9180 §5.1.1). Raises CryptoError for an invalid encapsulated key."""
    return _key_schedule(suite, _decap(suite, enc, private), info)


def seal(
    suite: CipherSuite,
    public: bytes,
    info: bytes,
    aad: bytes,
    plaintext: bytes,
    random: Random = os.urandom,
) -> tuple[bytes, bytes]:
    """SealBase (RFC 9180 §6.1): encapsulated key and ciphertext."""
    enc, context = setup_base_sender(suite, public, info, random)
    return enc, suite.aead_seal(context.key, context.nonce, aad, plaintext)


def open_sealed(
    suite: CipherSuite, enc: bytes, private: KEMKeyPair, info: bytes, aad: bytes, ciphertext: bytes
) -> bytes:
    """OpenBase (RFC 9180 §6.1). Raises CryptoError when it does not open."""
    context = setup_base_receiver(suite, enc, private, info)
    return suite.aead_open(context.key, context.nonce, aad, ciphertext)


# --- RFC 9180 §4 and §5 -------------------------------------------------------------------------


def _kem_id(suite: CipherSuite) -> bytes:
    return b"KEM" + suite.kem_id.to_bytes(2, "big")


def _suite_id(suite: CipherSuite) -> bytes:
    return b"HPKE" + b"".join(
        number.to_bytes(2, "big") for number in (suite.kem_id, suite.kdf_id, suite.aead_id)
    )


def _labeled_extract(
    suite: CipherSuite, suite_id: bytes, salt: bytes, label: bytes, ikm: bytes
) -> Secret:
    return suite.hkdf_extract(salt, b"HPKE-v1" + suite_id + label + ikm)


def _labeled_expand(
    suite: CipherSuite, suite_id: bytes, prk: bytes, label: bytes, info: bytes, length: int
) -> Secret:
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info
    return Secret(suite.hkdf_expand(prk, labeled, length))


def _dh(private: bytes, public: bytes) -> bytes:
    try:
        return bindings.crypto_scalarmult(private, public)
    except (RuntimeError, ValueError, TypeError):
        # PyNaCl raises RuntimeError on an all-zero result: a small-order public key.
        raise CryptoError("an X25519 public key is invalid") from None


def _encap(suite: CipherSuite, public: bytes, random: Random) -> tuple[bytes, SharedSecret]:
    check_public_key(suite, public)
    ephemeral = derive_key_pair(suite, random(32))
    dh = _dh(ephemeral.private, public)
    return ephemeral.public, _shared_secret(suite, dh, ephemeral.public + public)


def _decap(suite: CipherSuite, enc: bytes, private: KEMKeyPair) -> SharedSecret:
    check_public_key(suite, enc)
    dh = _dh(private.private, enc)
    return _shared_secret(suite, dh, enc + private.public)


def _shared_secret(suite: CipherSuite, dh: bytes, kem_context: bytes) -> SharedSecret:
    prk = _labeled_extract(suite, _kem_id(suite), b"", b"eae_prk", dh)
    return SharedSecret(
        _labeled_expand(suite, _kem_id(suite), prk, b"shared_secret", kem_context, 32)
    )


def _key_schedule(suite: CipherSuite, shared_secret: bytes, info: bytes) -> HPKEContext:
    # mode_base is 0, without a PSK (RFC 9180 §5.1).
    suite_id = _suite_id(suite)
    psk_id_hash = _labeled_extract(suite, suite_id, b"", b"psk_id_hash", b"")
    info_hash = _labeled_extract(suite, suite_id, b"", b"info_hash", info)
    context = b"\x00" + psk_id_hash + info_hash
    secret = _labeled_extract(suite, suite_id, shared_secret, b"secret", b"")

    def expand(label: bytes, length: int) -> Secret:
        return _labeled_expand(suite, suite_id, secret, label, context, length)

    return HPKEContext(
        suite,
        expand(b"key", suite.key_size),
        expand(b"base_nonce", suite.nonce_size),
        expand(b"exp", suite.hash_size),
    )
