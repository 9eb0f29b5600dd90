"""Labelled operations: signing and encryption (RFC 9420 §5.1), references (§5.2), derivation (§8)."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from ..secret import Secret
from . import hpke
from .ciphersuite import CipherSuite, KEMKeyPair, Random, SignatureKeyPair
from .codec import Reader, Writer, varint
from .quick import quick


# struct {
#     opaque kem_output<V>;
#     opaque ciphertext<V>;
# } HPKECiphertext;
@quick
@dataclass(frozen=True, slots=True)
class HPKECiphertext:
    """An HPKE message (§7.6)."""

    kem_output: bytes
    ciphertext: bytes

    def write(self, w: Writer) -> None:
        w.opaque(self.kem_output)
        w.opaque(self.ciphertext)

    @classmethod
    def read(cls, r: Reader) -> Self:
        return cls(r.opaque(), r.opaque())


# struct {
#     opaque label<V>;
#     opaque content<V>;
# } SignContent;
#
# struct {
#   opaque label<V>;
#   opaque context<V>;
# } EncryptContext;
#
# struct {
#   opaque label<V>;
#   opaque value<V>;
# } RefHashInput;
def _labelled(label: str, content: bytes) -> bytes:
    # The three have one shape; of the first two the label begins with "MLS 1.0 ".
    return b"".join((_opaque_label(label), varint(len(content)), content))


@lru_cache(maxsize=256)
def _opaque_label(label: str) -> bytes:
    name = label.encode()
    return varint(len(name)) + name


def sign_with_label(suite: CipherSuite, key: SignatureKeyPair, label: str, content: bytes) -> bytes:
    """SignWithLabel (§5.1.2)."""
    return suite.sign(key, _labelled("MLS 1.0 " + label, content))


def verify_with_label(
    suite: CipherSuite, public: bytes, label: str, content: bytes, signature: bytes
) -> None:
    """VerifyWithLabel (§5.1.2). Raises CryptoError."""
    suite.verify(public, _labelled("MLS 1.0 " + label, content), signature)


def encrypt_with_label(
    suite: CipherSuite,
    public: bytes,
    label: str,
    context: bytes,
    plaintext: bytes,
    random: Random = os.urandom,
) -> HPKECiphertext:
    """EncryptWithLabel (§5.1.3)."""
    (sealed,) = encrypt_to_each(suite, [(public, plaintext)], label, context, random)
    return sealed


def encrypt_to_each(
    suite: CipherSuite,
    messages: Iterable[tuple[bytes, bytes]],
    label: str,
    context: bytes,
    random: Random = os.urandom,
) -> Iterator[HPKECiphertext]:
    """EncryptWithLabel for many pairs of public key and plaintext; looks at the context once."""
    info = _labelled("MLS 1.0 " + label, context)
    for enc, ciphertext in hpke.seal_each(suite, list(messages), info, b"", random):
        yield HPKECiphertext(enc, ciphertext)


def decrypt_with_label(
    suite: CipherSuite, private: KEMKeyPair, label: str, context: bytes, sealed: HPKECiphertext
) -> Secret:
    """DecryptWithLabel (§5.1.3). Raises CryptoError."""
    info = _labelled("MLS 1.0 " + label, context)
    return hpke.open_sealed(suite, sealed.kem_output, private, info, b"", sealed.ciphertext)


def ref_hash(suite: CipherSuite, label: str, value: bytes) -> bytes:
    """RefHash (§5.2), Nh bytes."""
    return suite.hash(_labelled(label, value))


def expand_with_label(
    suite: CipherSuite, secret: bytes, label: str | bytes, context: bytes, length: int
) -> Secret:
    """ExpandWithLabel (§8); a label given as bytes is taken as it is."""
    # struct {
    #     uint16 length;
    #     opaque label<V>;
    #     opaque context<V>;
    # } KDFLabel;
    name = _kdf_label(label, length) if isinstance(label, str) else _begin_kdf_label(label, length)
    return suite.hkdf_expand(secret, b"".join((name, varint(len(context)), context)), length)


def _begin_kdf_label(label: bytes, length: int) -> bytes:
    name = b"MLS 1.0 " + label
    return b"".join((length.to_bytes(2, "big"), varint(len(name)), name))


@lru_cache(maxsize=256)  # Labels of an application's exports may be many.
def _kdf_label(label: str, length: int) -> bytes:
    return _begin_kdf_label(label.encode(), length)


def derive_secret(suite: CipherSuite, secret: bytes, label: str | bytes) -> Secret:
    """DeriveSecret (§8), Nh bytes."""
    if isinstance(label, str):
        return suite.hkdf_expand(secret, kdf_label(label, b"", suite.hash_size), suite.hash_size)
    return expand_with_label(suite, secret, label, b"", suite.hash_size)


@lru_cache(maxsize=256)
def kdf_label(label: str, context: bytes, length: int) -> bytes:
    """The encoded KDFLabel of ExpandWithLabel (§8), for contexts that come again and again."""
    return b"".join((_kdf_label(label, length), varint(len(context)), context))


def derive_tree_secret(
    suite: CipherSuite, secret: bytes, label: str, generation: int, length: int
) -> Secret:
    """DeriveTreeSecret (§9)."""
    # As ExpandWithLabel with the generation, a uint32, as its context.
    info = b"%b\x04%b" % (_kdf_label(label, length), generation.to_bytes(4, "big"))
    return suite.hkdf_expand(secret, info, length)
