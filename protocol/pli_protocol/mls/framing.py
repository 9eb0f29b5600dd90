"""Message framing: content, its sender, and the signature over both (RFC 9420 §6, §6.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from .ciphersuite import MLS10, CipherSuite, SignatureKeyPair, suite
from .codec import Reader, Writer, decode, group_and_epoch
from .commit import Commit, ProposalRef
from .errors import CodecError, CryptoError, UsageError, ValidationError
from .group_context import GroupContext
from .labels import ref_hash, sign_with_label, verify_with_label
from .proposal import Proposal, read_proposal, write_proposal
from .quick import quick


# uint16 WireFormat;
class WireFormat(IntEnum):
    """How a message travels (§17.2)."""

    PUBLIC_MESSAGE = 1
    PRIVATE_MESSAGE = 2
    WELCOME = 3
    GROUP_INFO = 4
    KEY_PACKAGE = 5


# ProtocolVersion and WireFormat, as FramedContentTBS begins.
_TBS_BEGIN = {
    int(number): MLS10.to_bytes(2, "big") + number.to_bytes(2, "big") for number in WireFormat
}


# enum {
#     reserved(0),
#     application(1),
#     proposal(2),
#     commit(3),
#     (255)
# } ContentType;
class ContentType(IntEnum):
    """What a message holds."""

    APPLICATION = 1
    PROPOSAL = 2
    COMMIT = 3


# enum {
#     reserved(0),
#     member(1),
#     external(2),
#     new_member_proposal(3),
#     new_member_commit(4),
#     (255)
# } SenderType;
class SenderType(IntEnum):
    """Who sent a message."""

    MEMBER = 1
    EXTERNAL = 2
    NEW_MEMBER_PROPOSAL = 3
    NEW_MEMBER_COMMIT = 4


_SENDERS = {int(kind): kind for kind in SenderType}
_CONTENTS = {int(kind): kind for kind in ContentType}


# struct {
#     SenderType sender_type;
#     select (Sender.sender_type) {
#         case member:
#             uint32 leaf_index;
#         case external:
#             uint32 sender_index;
#         case new_member_commit:
#         case new_member_proposal:
#             struct{};
#     };
# } Sender;
@quick
@dataclass(frozen=True, slots=True)
class Sender:
    """A sender; `index` is a leaf index, or one into external_senders, or 0 for new members."""

    sender_type: SenderType
    index: int = 0

    def write(self, w: Writer) -> None:
        """Append the struct of §6."""
        w.u8(self.sender_type)
        if self.sender_type in (SenderType.MEMBER, SenderType.EXTERNAL):
            w.u32(self.index)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §6."""
        number = r.u8()
        sender_type = _SENDERS.get(number)
        if sender_type is None:
            raise CodecError(f"unknown SenderType {number}", "enum", "§6")
        if sender_type in (SenderType.MEMBER, SenderType.EXTERNAL):
            return cls(sender_type, r.u32())
        return cls(sender_type)

    @property
    def signs_context(self) -> bool:
        """Whether the signature covers the GroupContext."""
        return self.sender_type in (SenderType.MEMBER, SenderType.NEW_MEMBER_COMMIT)


Content = bytes | Proposal | Commit
"""application_data, a proposal or a commit."""


def content_type_of(content: Content) -> ContentType:
    """The ContentType that goes with a content."""
    if isinstance(content, bytes):
        return ContentType.APPLICATION
    return ContentType.COMMIT if isinstance(content, Commit) else ContentType.PROPOSAL


def read_content_type(r: Reader) -> ContentType:
    """Read a ContentType; unknown ones are CodecErrors."""
    number = r.u8()
    content_type = _CONTENTS.get(number)
    if content_type is None:
        raise CodecError(f"unknown ContentType {number}", "enum", "§6")
    return content_type


def write_content(w: Writer, content: Content) -> None:
    """Append the content itself, without its type."""
    if isinstance(content, bytes):
        w.opaque(content)
    elif isinstance(content, Commit):
        content.write(w)
    else:
        write_proposal(w, content)


def read_content(r: Reader, content_type: ContentType) -> Content:
    """Read a content of this type."""
    if content_type is ContentType.APPLICATION:
        return r.opaque()
    return Commit.read(r) if content_type is ContentType.COMMIT else read_proposal(r)


# struct {
#     opaque group_id<V>;
#     uint64 epoch;
#     Sender sender;
#     opaque authenticated_data<V>;
#     ContentType content_type;
#     select (FramedContent.content_type) {
#         case application: opaque application_data<V>;
#         case proposal:    Proposal proposal;
#         case commit:      Commit commit;
#     };
# } FramedContent;
@quick
@dataclass(frozen=True, slots=True)
class FramedContent:
    """A content with its group, epoch and sender. Encoded once: it is signed, hashed and kept."""

    group_id: bytes
    epoch: int
    sender: Sender
    authenticated_data: bytes
    content: Content = field(repr=False)
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def encoded(self) -> bytes:
        """The encoding of the struct."""
        return self._encoded or self._encode(None)

    def with_encoded(self, content: bytes) -> Self:
        """The same, told the encoding of its content, so that it need not be made.

        The codec accepts one form only: what came is what we would write.
        """
        self._encode(content)
        return self

    def _encode(self, encoded_content: bytes | None) -> bytes:
        w = Writer()
        w.raw(group_and_epoch(self.group_id, self.epoch))
        self.sender.write(w)
        w.opaque(self.authenticated_data)
        w.u8(self.content_type)
        if encoded_content is None:
            write_content(w, self.content)
        else:
            w.raw(encoded_content)
        encoded = w.getvalue()
        object.__setattr__(self, "_encoded", encoded)
        return encoded

    @property
    def content_type(self) -> ContentType:
        """The type of the content."""
        return content_type_of(self.content)

    def write(self, w: Writer) -> None:
        """Append the struct of §6."""
        w.raw(self.encoded)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §6."""
        group_id, epoch, sender, data = r.opaque(), r.u64(), Sender.read(r), r.opaque()
        content_type = read_content_type(r)
        start = r.position
        content = read_content(r, content_type)
        return cls(group_id, epoch, sender, data, content).with_encoded(r.since(start))

    def to_be_signed(self, wire_format: int, context: GroupContext | None) -> bytes:
        """FramedContentTBS; `context` is needed where the sender signs it (§6.1)."""
        # struct {
        #     ProtocolVersion version = mls10;
        #     WireFormat wire_format;
        #     FramedContent content;
        #     select (FramedContentTBS.content.sender.sender_type) {
        #         case member: case new_member_commit: GroupContext context;
        #         case external: case new_member_proposal: struct{};
        #     };
        # } FramedContentTBS;
        begin = _TBS_BEGIN[wire_format]
        if not self.sender.signs_context:
            return begin + self.encoded
        if context is None:
            raise UsageError("the signature of a member covers the group context")
        return b"".join((begin, self.encoded, context.encoded))


# struct {
#     /* SignWithLabel(., "FramedContentTBS", FramedContentTBS) */
#     opaque signature<V>;
#     select (FramedContent.content_type) {
#         case commit: MAC confirmation_tag;
#         case application: case proposal: struct{};
#     };
# } FramedContentAuthData;
@quick
@dataclass(frozen=True, slots=True)
class FramedContentAuthData:
    """Signature, and for commits the confirmation tag (None otherwise)."""

    signature: bytes
    confirmation_tag: bytes | None = None

    def write(self, w: Writer) -> None:
        """Append the struct of §6.1."""
        w.opaque(self.signature)
        if self.confirmation_tag is not None:
            w.opaque(self.confirmation_tag)

    @classmethod
    def read(cls, r: Reader, content_type: ContentType) -> Self:
        """Read the struct of §6.1, whose shape depends on the content's type."""
        signature = r.opaque()
        return cls(signature, r.opaque() if content_type is ContentType.COMMIT else None)


# struct {
#     WireFormat wire_format;
#     FramedContent content;
#     FramedContentAuthData auth;
# } AuthenticatedContent;
@quick
@dataclass(frozen=True, slots=True)
class AuthenticatedContent:
    """A signed content, whatever way it travels."""

    wire_format: WireFormat
    content: FramedContent
    auth: FramedContentAuthData

    def write(self, w: Writer) -> None:
        """Append the struct of §6."""
        w.u16(self.wire_format)
        self.content.write(w)
        self.auth.write(w)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §6."""
        wire_format = r.u16()
        if wire_format not in (WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE):
            raise CodecError(f"AuthenticatedContent with wire format {wire_format}")
        content = FramedContent.read(r)
        auth = FramedContentAuthData.read(r, content.content_type)
        return cls(WireFormat(wire_format), content, auth)

    def verify(
        self, suite: CipherSuite, signature_key: bytes, context: GroupContext | None
    ) -> None:
        """Check the signature. Raises ValidationError("signature")."""
        signed = self.content.to_be_signed(self.wire_format, context)
        try:
            verify_with_label(suite, signature_key, "FramedContentTBS", signed, self.auth.signature)
        except CryptoError as error:
            raise ValidationError("signature", "§6.1") from error

    def proposal_ref(self, suite: CipherSuite) -> ProposalRef:
        """MakeProposalRef (§5.2)."""
        w = Writer()
        self.write(w)
        return ProposalRef(ref_hash(suite, "MLS 1.0 Proposal Reference", w.getvalue()))


def sign_content(
    suite: CipherSuite,
    signer: SignatureKeyPair,
    wire_format: WireFormat,
    content: FramedContent,
    context: GroupContext | None,
) -> AuthenticatedContent:
    """Sign a content; a commit's confirmation tag is added afterwards (`with_tag`)."""
    if (
        content.content_type is ContentType.APPLICATION
        and wire_format != WireFormat.PRIVATE_MESSAGE
    ):
        raise UsageError(
            "application data travels in a PrivateMessage only", "sender-application-public", "§6"
        )
    signed = content.to_be_signed(wire_format, context)
    signature = sign_with_label(suite, signer, "FramedContentTBS", signed)
    return AuthenticatedContent(wire_format, content, FramedContentAuthData(signature))


def with_tag(signed: AuthenticatedContent, confirmation_tag: bytes) -> AuthenticatedContent:
    """The same content with the confirmation tag of its commit."""
    auth = FramedContentAuthData(signed.auth.signature, confirmation_tag)
    return AuthenticatedContent(signed.wire_format, signed.content, auth)


def verify_signed(signed: bytes, context: GroupContext, signature_key: bytes) -> FramedContent:
    """Prove who wrote a message that was kept (an encoded AuthenticatedContent).

    Args:
        signed: the encoded AuthenticatedContent.
        context: the GroupContext of the epoch in which it was sent.
        signature_key: the public key that the author's credential vouches for.

    Raises:
        CodecError: `signed` is not an AuthenticatedContent.
        ValidationError: it is of another group or epoch, or the signature is not valid.
        UnsupportedError: its cipher suite is not supported.

    """
    message = decode(AuthenticatedContent, signed)
    content = message.content
    if content.group_id != context.group_id or content.epoch != context.epoch:
        raise ValidationError("context", "§6.1")
    message.verify(suite(context.cipher_suite), signature_key, context)
    return content
