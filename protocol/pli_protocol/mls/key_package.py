"""Key packages (RFC 9420 §10): how a client is added to a group while it is away."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from .ciphersuite import (
    MLS10,
    SUITES,
    CipherSuite,
    HPKEPrivateKey,
    KEMKeyPair,
    Random,
    SignatureKeyPair,
)
from .codec import Reader, Writer, decode, size_of_opaque
from .credential import Credential
from .errors import CryptoError, UsageError, ValidationError
from .extension import (
    DEFAULT_EXTENSIONS,
    DEFAULT_PROPOSALS,
    Extension,
    read_extensions,
    write_extensions,
)
from .grease import check_no_grease, grease_extension, greased
from .labels import ref_hash, sign_with_label, verify_with_label
from .leaf_node import Capabilities, LeafContent, LeafNode, Lifetime, sign_leaf
from .quick import quick
from .stored import read_stored, stored


# struct {
#     ProtocolVersion version;
#     CipherSuite cipher_suite;
#     HPKEPublicKey init_key;
#     LeafNode leaf_node;
#     Extension extensions<V>;
#     /* SignWithLabel(., "KeyPackageTBS", KeyPackageTBS) */
#     opaque signature<V>;
# } KeyPackage;
@quick
@dataclass(frozen=True, slots=True)
class KeyPackage:
    """A client's offer to be added once; unknown versions and suites decode, but do not check."""

    version: int
    cipher_suite: int
    init_key: bytes
    leaf_node: LeafNode
    extensions: tuple[Extension, ...]
    signature: bytes
    # Made once, or taken from the wire: it is signed, referred to, and added.
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def encoded(self) -> bytes:
        """The encoding of the struct."""
        encoded = self._encoded
        if encoded is None:
            w = Writer()
            w.u16(self.version)
            w.u16(self.cipher_suite)
            w.opaque(self.init_key)
            self.leaf_node.write(w)
            write_extensions(w, self.extensions)
            w.opaque(self.signature)
            encoded = w.getvalue()
            object.__setattr__(self, "_encoded", encoded)
        return encoded

    def write(self, w: Writer) -> None:
        w.raw(self.encoded)

    @classmethod
    def read(cls, r: Reader) -> Self:
        start = r.position
        package = cls(
            r.u16(), r.u16(), r.opaque(), LeafNode.read(r), read_extensions(r), r.opaque()
        )
        # The codec accepts one form only, so these bytes are what we would write.
        object.__setattr__(package, "_encoded", r.since(start))
        return package

    # struct {
    #     ProtocolVersion version;
    #     CipherSuite cipher_suite;
    #     HPKEPublicKey init_key;
    #     LeafNode leaf_node;
    #     Extension extensions<V>;
    # } KeyPackageTBS;
    def to_be_signed(self) -> bytes:
        """KeyPackageTBS: everything but the signature."""
        return self.encoded[: -size_of_opaque(self.signature)]

    def verify_signature(self, suite: CipherSuite) -> None:
        """Raises ValidationError("key-package-signature")."""
        key = self.leaf_node.signature_key
        try:
            verify_with_label(suite, key, "KeyPackageTBS", self.to_be_signed(), self.signature)
        except CryptoError as error:
            raise ValidationError("key-package-signature", "§10.1") from error

    def reference(self, suite: CipherSuite) -> bytes:
        """KeyPackageRef (§5.2), Nh bytes."""
        return ref_hash(suite, "MLS 1.0 KeyPackage Reference", self.encoded)


_FIRST = b"\x20"
"""How the first version of the secrets began: with the length of a 32-byte key, and no version."""


# Pli's own:
# struct {
#     KEMKeyPair init_key;  /* opaque public<V>; opaque private<V>; */
#     KEMKeyPair leaf_key;
# } KeyPackageSecrets;
@quick
@dataclass(frozen=True, slots=True)
class KeyPackageSecrets:
    """The private keys of a key package. Delete them once its Welcome was processed."""

    init_key: KEMKeyPair = field(repr=False)
    leaf_key: KEMKeyPair = field(repr=False)

    def write(self, w: Writer) -> None:
        for pair in (self.init_key, self.leaf_key):
            w.opaque(pair.public)
            w.opaque(pair.private)

    @classmethod
    def read(cls, r: Reader) -> Self:
        init, leaf = (KEMKeyPair(r.opaque(), HPKEPrivateKey(r.opaque())) for _ in range(2))
        return cls(init, leaf)

    def encode(self) -> bytes:
        """For the vault; secret, and versioned like a group's entries."""
        return stored(self.write)

    @classmethod
    def decode(cls, data: bytes) -> KeyPackageSecrets:
        """Read `encode` back. Raises CodecError."""
        if data[:1] == _FIRST:
            return decode(KeyPackageSecrets, data)
        return read_stored(data, KeyPackageSecrets.read, "a key package's secrets")


def own_capabilities(
    suite: CipherSuite, credential: Credential, extensions: Sequence[Extension] = ()
) -> Capabilities:
    """The capabilities of this library with this credential and these extensions.

    The suites are all that it has (§7.2), the one that is used first.
    """
    types = {extension.extension_type for extension in extensions} - DEFAULT_EXTENSIONS
    return Capabilities(
        cipher_suites=(suite.number, *(number for number in SUITES if number != suite.number)),
        extensions=tuple(sorted(types)),
        credentials=(int(credential.credential_type),),
    )


def check_own_content(content: LeafContent, extensions: Sequence[Extension] = ()) -> None:
    """What we must not say of ourselves (§7.2, §10, §13.5), before GREASE is added.

    Args:
        extensions: those of the key package, if it is for one.

    Raises:
        UsageError: "sender-capabilities", "sender-grease".
    """
    check_no_grease((content.credential.credential_type,))
    listed = content.capabilities
    if not DEFAULT_EXTENSIONS.isdisjoint(listed.extensions):
        raise UsageError("a default extension type is listed", "sender-capabilities", "§7.2")
    if not DEFAULT_PROPOSALS.isdisjoint(listed.proposals):
        raise UsageError("a default proposal type is listed", "sender-capabilities", "§7.2")
    types = {extension.extension_type for extension in extensions}
    if not types <= DEFAULT_EXTENSIONS.union(listed.extensions):
        raise UsageError("an extension's type is not listed", "sender-capabilities", "§10")


def generate_key_package(
    suite: CipherSuite,
    credential: Credential,
    signer: SignatureKeyPair,
    *,
    lifetime: Lifetime,
    capabilities: Capabilities | None = None,
    extensions: Sequence[Extension] = (),
    leaf_extensions: Sequence[Extension] = (),
    grease: bool = True,
    random: Random = os.urandom,
) -> tuple[KeyPackage, KeyPackageSecrets]:
    """A fresh key package and its private keys.

    Args:
        signer: the key that the credential is about.
        capabilities: None for those of this library with this credential and these extensions.
        grease: whether to add values that mean nothing (§13.5).

    Raises:
        UsageError: "sender-capabilities", "sender-grease".
    """
    init_key, leaf_key = suite.generate_kem_key(random), suite.generate_kem_key(random)
    if capabilities is None:
        capabilities = own_capabilities(suite, credential, (*extensions, *leaf_extensions))
    content = LeafContent(signer.public, credential, capabilities, tuple(leaf_extensions))
    check_own_content(content, extensions)
    if grease:
        content = greased(content, random)
        # The leaf's list names this type, which serves the key package's own extensions too.
        kind = content.capabilities.extensions[-1]
        extensions = (*extensions, grease_extension(random, kind))
    leaf = sign_leaf(suite, signer, content, leaf_key.public, lifetime)
    unsigned = KeyPackage(
        MLS10, suite.number, init_key.public, leaf, tuple(extensions), signature=b""
    )
    signature = sign_with_label(suite, signer, "KeyPackageTBS", unsigned.to_be_signed())
    package = KeyPackage(MLS10, suite.number, init_key.public, leaf, tuple(extensions), signature)
    return package, KeyPackageSecrets(init_key, leaf_key)
