"""HPKE (RFC 9180), base mode, with the KEM of a cipher suite: what RFC 9420 §5.1.3 and §8.3 need."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from ..secret import Secret
from .ciphersuite import CipherSuite
from .kem import KEMKeyPair, Random, SharedSecret
from .quick import quick


@quick
@dataclass(frozen=True, slots=True)
class HPKEContext:
    """A set-up HPKE context for one message (sequence number 0) and for exports (RFC 9180 §5).

    Attributes:
        secret: from which everything is derived, as it is asked for; Nh bytes.
        key_schedule_context: mode, PSK id and info (RFC 9180 §5.1).
    """

    suite: CipherSuite
    secret: Secret = field(repr=False)
    key_schedule_context: bytes

    @property
    def key(self) -> Secret:
        """The AEAD's key, Nk bytes."""
        return self._expand(b"key", self.suite.key_size)

    @property
    def nonce(self) -> Secret:
        """base_nonce, Nn bytes: the nonce of the first message."""
        return self._expand(b"base_nonce", self.suite.nonce_size)

    @property
    def exporter_secret(self) -> Secret:
        """exporter_secret, Nh bytes."""
        return self._expand(b"exp", self.suite.hash_size)

    def _expand(self, label: bytes, length: int) -> Secret:
        return _labeled_expand(self.suite, self.secret, label, self.key_schedule_context, length)

    def export(self, context: bytes, length: int) -> Secret:
        """Context.Export (RFC 9180 §5.3)."""
        return _labeled_expand(self.suite, self.exporter_secret, b"sec", context, length)


def derive_key_pair(suite: CipherSuite, ikm: bytes) -> KEMKeyPair:
    """KEM.DeriveKeyPair (RFC 9180 §7.1.3)."""
    return suite.kem.derive_key_pair(ikm)


def key_pair(suite: CipherSuite, private: bytes) -> KEMKeyPair:
    """The pair of a serialized private key. Raises UsageError for a wrong length."""
    return suite.kem.key_pair(private)


def check_public_key(suite: CipherSuite, public: bytes) -> None:
    """Raises CryptoError for a key to which nobody could, or should, encrypt (RFC 9180 §7.1.4)."""
    suite.kem.check_public_key(public)


def setup_base_sender(
    suite: CipherSuite, public: bytes, info: bytes, random: Random = os.urandom
) -> tuple[bytes, HPKEContext]:
    """SetupBaseS (RFC 9180 §5.1.1): the encapsulated key and the context."""
    enc, secret = suite.kem.encap(public, random)
    return enc, _key_schedule(suite, secret, info_context(suite, info))


def setup_base_receiver(
    suite: CipherSuite, enc: bytes, private: KEMKeyPair, info: bytes
) -> HPKEContext:
    """SetupBaseR (RFC 9180 §5.1.1). Raises CryptoError for an invalid encapsulated key."""
    return _key_schedule(suite, suite.kem.decap(enc, private), info_context(suite, info))


def seal(
    suite: CipherSuite,
    public: bytes,
    info: bytes,
    aad: bytes,
    plaintext: bytes,
    random: Random = os.urandom,
) -> tuple[bytes, bytes]:
    """SealBase (RFC 9180 §6.1): encapsulated key and ciphertext."""
    (sealed,) = seal_each(suite, [(public, plaintext)], info, aad, random)
    return sealed


def seal_each(
    suite: CipherSuite,
    messages: Sequence[tuple[bytes, bytes]],
    info: bytes,
    aad: bytes,
    random: Random = os.urandom,
) -> Iterator[tuple[bytes, bytes]]:
    """SealBase for many pairs of public key and plaintext; looks at the info once."""
    context = info_context(suite, info)
    sent = suite.kem.encap_each([public for public, _ in messages], random)
    for (enc, secret), (_, plaintext) in zip(sent, messages, strict=True):
        ready = _key_schedule(suite, secret, context)
        yield enc, suite.aead_seal(ready.key, ready.nonce, aad, plaintext)


def open_sealed(
    suite: CipherSuite, enc: bytes, private: KEMKeyPair, info: bytes, aad: bytes, ciphertext: bytes
) -> Secret:
    """OpenBase (RFC 9180 §6.1). Raises CryptoError when it does not open."""
    context = setup_base_receiver(suite, enc, private, info)
    return Secret(suite.aead_open(context.key, context.nonce, aad, ciphertext))


# --- RFC 9180 §4 and §5 -------------------------------------------------------------------------


@cache
def _suite_id(kem: int, kdf: int, aead: int) -> bytes:
    return b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (kem, kdf, aead))


def _labeled_extract(suite: CipherSuite, salt: bytes, label: bytes, ikm: bytes) -> Secret:
    suite_id = _suite_id(suite.kem.number, suite.kdf_id, suite.aead_id)
    return suite.hkdf_extract(salt, b"HPKE-v1" + suite_id + label + ikm)


def _labeled_expand(
    suite: CipherSuite, prk: bytes, label: bytes, info: bytes, length: int
) -> Secret:
    suite_id = _suite_id(suite.kem.number, suite.kdf_id, suite.aead_id)
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info
    return suite.hkdf_expand(prk, labeled, length)


def info_context(suite: CipherSuite, info: bytes) -> bytes:
    """key_schedule_context (RFC 9180 §5.1): the same for all messages with this info."""
    # mode_base is 0, without a PSK.
    return b"\x00" + _no_psk(suite) + _labeled_extract(suite, b"", b"info_hash", info)


@cache
def _no_psk(suite: CipherSuite) -> bytes:
    return _labeled_extract(suite, b"", b"psk_id_hash", b"")


def _key_schedule(suite: CipherSuite, shared_secret: SharedSecret, context: bytes) -> HPKEContext:
    secret = _labeled_extract(suite, shared_secret, b"secret", b"")
    return HPKEContext(suite, secret, context)
