"""Leaf nodes (RFC 9420 §7.2): a client's appearance in a group, signed by that client."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from .ciphersuite import MLS10, CipherSuite, SignatureKeyPair
from .codec import Reader, Writer, size_of_opaque
from .credential import Credential, read_credential, write_credential
from .errors import CodecError, CryptoError, ValidationError
from .extension import Extension, read_extensions, write_extensions
from .labels import sign_with_label, verify_with_label
from .quick import quick


# enum {
#     reserved(0),
#     key_package(1),
#     update(2),
#     commit(3),
#     (255)
# } LeafNodeSource;
class LeafNodeSource(IntEnum):
    """How the leaf came into the tree."""

    KEY_PACKAGE = 1
    UPDATE = 2
    COMMIT = 3


# struct {
#     ProtocolVersion versions<V>;
#     CipherSuite cipher_suites<V>;
#     ExtensionType extensions<V>;
#     ProposalType proposals<V>;
#     CredentialType credentials<V>;
# } Capabilities;
@quick
@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a client supports beyond the defaults of §7.2; unknown numbers are kept and ignored."""

    versions: tuple[int, ...] = (MLS10,)
    cipher_suites: tuple[int, ...] = ()
    extensions: tuple[int, ...] = ()
    proposals: tuple[int, ...] = ()
    credentials: tuple[int, ...] = ()

    def write(self, w: Writer) -> None:
        w.u16s(self.versions)
        w.u16s(self.cipher_suites)
        w.u16s(self.extensions)
        w.u16s(self.proposals)
        w.u16s(self.credentials)

    @classmethod
    def read(cls, r: Reader) -> Self:
        return cls(r.u16s(), r.u16s(), r.u16s(), r.u16s(), r.u16s())


# struct {
#     uint64 not_before;
#     uint64 not_after;
# } Lifetime;
@quick
@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a key package may be used: both ends in Unix seconds, both included."""

    not_before: int
    not_after: int

    def write(self, w: Writer) -> None:
        w.u64(self.not_before)
        w.u64(self.not_after)

    @classmethod
    def read(cls, r: Reader) -> Self:
        return cls(r.u64(), r.u64())


@quick
@dataclass(frozen=True, slots=True)
class LeafContent:
    """What a client says about itself in a leaf, whatever the leaf is for."""

    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    extensions: tuple[Extension, ...] = ()


# struct {
#     HPKEPublicKey encryption_key;
#     SignaturePublicKey signature_key;
#     Credential credential;
#     Capabilities capabilities;
#     LeafNodeSource leaf_node_source;
#     select (LeafNode.leaf_node_source) {
#         case key_package: Lifetime lifetime;
#         case update:      struct{};
#         case commit:      opaque parent_hash<V>;
#     };
#     Extension extensions<V>;
#     /* SignWithLabel(., "LeafNodeTBS", LeafNodeTBS) */
#     opaque signature<V>;
# } LeafNode;
@quick
@dataclass(frozen=True, slots=True)
class LeafNode:
    """A leaf. `lifetime` is there when it comes from a key package, `parent_hash` from a commit."""

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    leaf_node_source: LeafNodeSource
    lifetime: Lifetime | None
    parent_hash: bytes | None
    extensions: tuple[Extension, ...]
    signature: bytes
    # Made once, or taken from the wire: signatures, tree hashes and stored trees all need it.
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def content(self) -> LeafContent:
        """What does not depend on the leaf's source: the start of the client's next leaf."""
        return LeafContent(self.signature_key, self.credential, self.capabilities, self.extensions)

    @property
    def encoded(self) -> bytes:
        """The encoding of the struct."""
        encoded = self._encoded
        if encoded is None:
            w = Writer()
            self._write_unsigned(w)
            w.opaque(self.signature)
            encoded = w.getvalue()
            object.__setattr__(self, "_encoded", encoded)
        return encoded

    def write(self, w: Writer) -> None:
        w.raw(self.encoded)

    def _write_unsigned(self, w: Writer) -> None:
        w.opaque(self.encryption_key)
        w.opaque(self.signature_key)
        write_credential(w, self.credential)
        self.capabilities.write(w)
        w.u8(self.leaf_node_source)
        if self.lifetime is not None:
            self.lifetime.write(w)
        if self.parent_hash is not None:
            w.opaque(self.parent_hash)
        write_extensions(w, self.extensions)

    @classmethod
    def read(cls, r: Reader) -> Self:
        start = r.position
        encryption_key, signature_key = r.opaque(), r.opaque()
        credential, capabilities = read_credential(r), Capabilities.read(r)
        try:
            source = LeafNodeSource(r.u8())
        except ValueError:
            raise CodecError("an unknown leaf_node_source", "enum", "§7.2") from None
        lifetime = Lifetime.read(r) if source is LeafNodeSource.KEY_PACKAGE else None
        parent_hash = r.opaque() if source is LeafNodeSource.COMMIT else None
        leaf = cls(
            encryption_key,
            signature_key,
            credential,
            capabilities,
            source,
            lifetime,
            parent_hash,
            read_extensions(r),
            r.opaque(),
        )
        # The codec accepts one form only, so these bytes are what we would write.
        object.__setattr__(leaf, "_encoded", r.since(start))
        return leaf

    # struct {
    #     HPKEPublicKey encryption_key;
    #     SignaturePublicKey signature_key;
    #     Credential credential;
    #     Capabilities capabilities;
    #     LeafNodeSource leaf_node_source;
    #     select (LeafNodeTBS.leaf_node_source) {
    #         case key_package: Lifetime lifetime;
    #         case update:      struct{};
    #         case commit:      opaque parent_hash<V>;
    #     };
    #     Extension extensions<V>;
    #     select (LeafNodeTBS.leaf_node_source) {
    #         case key_package: struct{};
    #         case update:
    #             opaque group_id<V>;
    #             uint32 leaf_index;
    #         case commit:
    #             opaque group_id<V>;
    #             uint32 leaf_index;
    #     };
    # } LeafNodeTBS;
    def to_be_signed(self, group_id: bytes, leaf_index: int) -> bytes:
        """LeafNodeTBS; group and index count only for leaves made within a group."""
        unsigned = self.encoded[: -size_of_opaque(self.signature)]
        if self.leaf_node_source is LeafNodeSource.KEY_PACKAGE:
            return unsigned
        w = Writer()
        w.raw(unsigned)
        w.opaque(group_id)
        w.u32(leaf_index)
        return w.getvalue()

    def verify_signature(self, suite: CipherSuite, group_id: bytes, leaf_index: int) -> None:
        """Raises ValidationError("leaf-signature")."""
        signed = self.to_be_signed(group_id, leaf_index)
        try:
            verify_with_label(suite, self.signature_key, "LeafNodeTBS", signed, self.signature)
        except CryptoError as error:
            raise ValidationError("leaf-signature", "§7.3") from error


def sign_leaf(
    suite: CipherSuite,
    signer: SignatureKeyPair,
    content: LeafContent,
    encryption_key: bytes,
    source: Lifetime | bytes | None,
    group_id: bytes = b"",
    leaf_index: int = 0,
) -> LeafNode:
    """A signed leaf.

    Args:
        signer: the key of `content.signature_key`.
        encryption_key: public HPKE key of the leaf.
        source: a Lifetime for a key package, the parent hash for a commit, None for an Update.
        group_id, leaf_index: where it will stand; not used for a key package.
    """
    if isinstance(source, Lifetime):
        kind = LeafNodeSource.KEY_PACKAGE
    else:
        kind = LeafNodeSource.UPDATE if source is None else LeafNodeSource.COMMIT
    unsigned = LeafNode(
        encryption_key,
        content.signature_key,
        content.credential,
        content.capabilities,
        kind,
        source if isinstance(source, Lifetime) else None,
        source if isinstance(source, bytes) else None,
        content.extensions,
        b"",
    )
    signed = unsigned.to_be_signed(group_id, leaf_index)
    return LeafNode(
        unsigned.encryption_key,
        unsigned.signature_key,
        unsigned.credential,
        unsigned.capabilities,
        kind,
        unsigned.lifetime,
        unsigned.parent_hash,
        unsigned.extensions,
        sign_with_label(suite, signer, "LeafNodeTBS", signed),
    )
