"""KEMs (RFC 9180 §4): how a secret is sent to a public key. Each cipher suite has one of these.

`DHKEM_X25519` is RFC 9180's (§4.1); `X_WING` joins ML-KEM-768 (FIPS 203) and X25519 so that both have to be
broken (draft-ietf-hpke-pq, KEM MLKEM768-X25519). X25519 comes from libsodium, ML-KEM from OpenSSL, hashes
from the standard library.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from nacl import bindings

from ..secret import Secret
from .errors import CryptoError, UsageError
from .quick import quick

Random = Callable[[int], bytes]
"""A source of n random bytes: `os.urandom`, or a seeded one in tests."""


class HPKEPrivateKey(Secret):
    """A KEM private key as RFC 9180's SerializePrivateKey gives it; 32 bytes in both KEMs."""


class SharedSecret(Secret):
    """What a KEM gives both ends, 32 bytes in both KEMs."""


@quick
@dataclass(frozen=True, slots=True)
class KEMKeyPair:
    """An HPKE key (RFC 9180). X25519: both 32 bytes; X-Wing: 1216 bytes and a 32-byte seed.

    `expanded` is what the KEM works with instead of the private key where that is dear to make; it
    follows from `private`, is filled in when first needed, and is neither stored nor compared.
    """

    public: bytes
    private: HPKEPrivateKey = field(repr=False)
    expanded: Any = field(default=None, repr=False, compare=False)


class KEM(Protocol):
    """A KEM of RFC 9180 §4, without authentication.

    Attributes:
        number: its HPKE number (RFC 9180 §7.1), `kem_id`.
        public_size, enc_size, private_size: bytes of a public key, of what is sent, of a private key.
    """

    @property
    def number(self) -> int: ...
    @property
    def public_size(self) -> int: ...
    @property
    def enc_size(self) -> int: ...
    @property
    def private_size(self) -> int: ...

    def key_pair(self, private: bytes) -> KEMKeyPair:
        """The pair of a serialized private key. Raises UsageError for a wrong length."""

    def derive_key_pair(self, ikm: bytes) -> KEMKeyPair:
        """DeriveKeyPair: always the same pair for the same secret."""

    def generate_key_pair(self, random: Random) -> KEMKeyPair:
        """GenerateKeyPair."""

    def check_public_key(self, public: bytes) -> None:
        """Raises CryptoError for a key to which nobody could, or should, encrypt."""

    def encap(self, public: bytes, random: Random = os.urandom) -> tuple[bytes, SharedSecret]:
        """Encap: what to send, and the secret. Raises CryptoError for an invalid public key."""

    def encap_each(
        self, publics: Sequence[bytes], random: Random = os.urandom
    ) -> list[tuple[bytes, SharedSecret]]:
        """Encap for many public keys."""

    def decap(self, enc: bytes, pair: KEMKeyPair) -> SharedSecret:
        """Decap. Raises CryptoError for what no one can have sent."""


def _check_private(private: bytes) -> None:
    if len(private) != 32:
        raise UsageError("an HPKE private key has 32 bytes")


# --- X25519 -------------------------------------------------------------------------------------

# The u-coordinates of small order on Curve25519 and its twist: 0, 1, two of order 8, p - 1, and p, p + 1
# which stand for 0 and 1 again. A result with them is zero (RFC 7748 §6.1), so no one could ever
# encrypt to such a key: a leaf that has one would stop every commit with a path.
_SMALL_ORDER: Final = frozenset(
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


def _check_point(public: bytes) -> None:
    # X25519 ignores the highest bit.
    if public[:31] + bytes((public[31] & 0x7F,)) in _SMALL_ORDER:
        raise CryptoError("an X25519 public key has a small order")


def _dh(private: bytes, public: bytes) -> bytes:
    try:
        return bindings.crypto_scalarmult(private, public)
    except (RuntimeError, ValueError, TypeError):
        # PyNaCl raises RuntimeError on an all-zero result: a small-order public key.
        raise CryptoError("an X25519 public key is invalid") from None


@quick
@dataclass(frozen=True, slots=True)
class DHKEMX25519:
    """DHKEM(X25519, HKDF-SHA256) (RFC 9180 §4.1)."""

    number: int = 0x0020
    public_size: int = 32
    enc_size: int = 32
    private_size: int = 32

    def key_pair(self, private: bytes) -> KEMKeyPair:
        _check_private(private)
        return KEMKeyPair(bindings.crypto_scalarmult_base(private), HPKEPrivateKey(private))

    def derive_key_pair(self, ikm: bytes) -> KEMKeyPair:
        """RFC 9180 §7.1.3."""
        return self.key_pair(_labeled_expand(_labeled_extract(b"dkp_prk", ikm), b"sk", b""))

    def generate_key_pair(self, random: Random) -> KEMKeyPair:
        """Any 32 bytes are a private key (RFC 7748 §5)."""
        return self.key_pair(random(32))

    def check_public_key(self, public: bytes) -> None:
        """Length and order (RFC 9180 §7.1.4)."""
        if len(public) != 32:
            raise CryptoError("an HPKE public key has a wrong length")
        _check_point(public)

    def encap(self, public: bytes, random: Random = os.urandom) -> tuple[bytes, SharedSecret]:
        self.check_public_key(public)
        ephemeral = self.generate_key_pair(random)
        dh = _dh(ephemeral.private, public)
        return ephemeral.public, _extract_and_expand(dh, ephemeral.public + public)

    def encap_each(
        self, publics: Sequence[bytes], random: Random = os.urandom
    ) -> list[tuple[bytes, SharedSecret]]:
        """The agreements of many are made on two threads: libsodium runs without the interpreter's lock."""
        if len(publics) < _MANY:
            return [self.encap(public, random) for public in publics]
        for public in publics:
            self.check_public_key(public)
        keys = [(HPKEPrivateKey(random(32)), public) for public in publics]
        half = len(keys) // 2
        with ThreadPoolExecutor(1) as beside:
            others = beside.submit(_agree, keys[half:])
            agreed = _agree(keys[:half]) + others.result()
        return [
            (enc, _extract_and_expand(dh, enc + public))
            for (enc, dh), public in zip(agreed, publics, strict=True)
        ]

    def decap(self, enc: bytes, pair: KEMKeyPair) -> SharedSecret:
        self.check_public_key(enc)
        return _extract_and_expand(_dh(pair.private, enc), enc + pair.public)


_MANY: Final = 64
"""Public keys from which a second thread is worth its start."""


def _agree(keys: Sequence[tuple[HPKEPrivateKey, bytes]]) -> list[tuple[bytes, bytes]]:
    return [
        (bindings.crypto_scalarmult_base(private), _dh(private, public)) for private, public in keys
    ]


# LabeledExtract and LabeledExpand (RFC 9180 §4) with HKDF-SHA256, for 32 bytes.
_DHKEM_ID: Final = b"HPKE-v1KEM\x00\x20"


def _labeled_extract(label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(bytes(32), _DHKEM_ID + label + ikm, "sha256")


def _labeled_expand(prk: bytes, label: bytes, info: bytes) -> bytes:
    return hmac.digest(prk, b"\x00\x20" + _DHKEM_ID + label + info + b"\x01", "sha256")


def _extract_and_expand(dh: bytes, kem_context: bytes) -> SharedSecret:
    prk = _labeled_extract(b"eae_prk", dh)
    return SharedSecret(_labeled_expand(prk, b"shared_secret", kem_context))


# --- X-Wing -------------------------------------------------------------------------------------

_ML_KEM_PUBLIC: Final = 1184
_ML_KEM_CIPHERTEXT: Final = 1088
_X_WING_LABEL: Final = bytes.fromhex("5c2e2f2f5e5c")
# "HPKE-v1", "KEM" and the number; then the label and the 32 of the result, with their lengths.
_X_WING_DERIVE: Final = b"HPKE-v1KEM\x64\x7a\x00\x0dDeriveKeyPair\x00\x20"


@quick
@dataclass(frozen=True, slots=True)
class _ExpandedSeed:
    """An X-Wing private key ready for use: the ML-KEM key and the X25519 scalar."""

    ml_kem: MLKEM768PrivateKey = field(repr=False)
    scalar: HPKEPrivateKey = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class XWing:
    """X-Wing: ML-KEM-768 first, then X25519, in keys and in what is sent (draft-ietf-hpke-pq §4).

    The private key is a 32-byte seed. Expanding it costs more than decapsulating, so a pair keeps what
    came of it. ML-KEM's own randomness comes from OpenSSL; `random` gives X25519's.
    """

    number: int = 0x647A
    public_size: int = _ML_KEM_PUBLIC + 32
    enc_size: int = _ML_KEM_CIPHERTEXT + 32
    private_size: int = 32

    def key_pair(self, private: bytes) -> KEMKeyPair:
        _check_private(private)
        expanded = _expand(private)
        public = expanded.ml_kem.public_key().public_bytes_raw()
        point = bindings.crypto_scalarmult_base(expanded.scalar)
        return KEMKeyPair(public + point, HPKEPrivateKey(private), expanded)

    def derive_key_pair(self, ikm: bytes) -> KEMKeyPair:
        """By SHAKE256, as draft-ietf-hpke-pq has it (not as the older X-Wing draft)."""
        return self.key_pair(hashlib.shake_256(ikm + _X_WING_DERIVE).digest(32))

    def generate_key_pair(self, random: Random) -> KEMKeyPair:
        return self.key_pair(random(32))

    def check_public_key(self, public: bytes) -> None:
        """Length, FIPS 203's check of an encapsulation key (§7.2), and the order of the X25519 part."""
        self._public_parts(public)

    def _public_parts(self, public: bytes) -> tuple[MLKEM768PublicKey, bytes]:
        if len(public) != self.public_size:
            raise CryptoError("an HPKE public key has a wrong length")
        point = public[_ML_KEM_PUBLIC:]
        _check_point(point)
        try:
            return MLKEM768PublicKey.from_public_bytes(public[:_ML_KEM_PUBLIC]), point
        except ValueError:
            raise CryptoError("an ML-KEM public key is invalid") from None

    def encap(self, public: bytes, random: Random = os.urandom) -> tuple[bytes, SharedSecret]:
        ml_kem, point = self._public_parts(public)
        ephemeral = HPKEPrivateKey(random(32))
        secret_x, sent_x = _dh(ephemeral, point), bindings.crypto_scalarmult_base(ephemeral)
        secret_m, sent_m = ml_kem.encapsulate()
        return sent_m + sent_x, _combine(secret_m, secret_x, sent_x, point)

    def encap_each(
        self, publics: Sequence[bytes], random: Random = os.urandom
    ) -> list[tuple[bytes, SharedSecret]]:
        return [self.encap(public, random) for public in publics]

    def decap(self, enc: bytes, pair: KEMKeyPair) -> SharedSecret:
        if len(enc) != self.enc_size:
            raise CryptoError("an encapsulated key has a wrong length")
        sent_x = enc[_ML_KEM_CIPHERTEXT:]
        _check_point(sent_x)
        expanded = pair.expanded
        if expanded is None:
            expanded = _expand(pair.private)
            # A value that follows from the private key: the pair stays the same to everybody.
            object.__setattr__(pair, "expanded", expanded)
        secret_x = _dh(expanded.scalar, sent_x)
        # ML-KEM refuses nothing here: what was not sent gives another secret (FIPS 203 §6.3).
        secret_m = expanded.ml_kem.decapsulate(enc[:_ML_KEM_CIPHERTEXT])
        return _combine(secret_m, secret_x, sent_x, pair.public[_ML_KEM_PUBLIC:])


def _expand(seed: bytes) -> _ExpandedSeed:
    both = hashlib.shake_256(seed).digest(96)
    return _ExpandedSeed(MLKEM768PrivateKey.from_seed_bytes(both[:64]), HPKEPrivateKey(both[64:]))


def _combine(secret_m: bytes, secret_x: bytes, sent_x: bytes, point: bytes) -> SharedSecret:
    joined = b"".join((secret_m, secret_x, sent_x, point, _X_WING_LABEL))
    return SharedSecret(hashlib.sha3_256(joined).digest())


DHKEM_X25519: Final[KEM] = DHKEMX25519()
X_WING: Final[KEM] = XWing()
