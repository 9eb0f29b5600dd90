"""PublicMessage: signed, authenticated as a member's, not encrypted (RFC 9420 §6.2)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Self

from .ciphersuite import CipherSuite
from .codec import Reader, Writer
from .errors import UsageError, ValidationError
from .framing import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    SenderType,
    WireFormat,
)
from .group_context import GroupContext
from .quick import quick


# struct {
#     FramedContent content;
#     FramedContentAuthData auth;
#     select (PublicMessage.content.sender.sender_type) {
#         case member: MAC membership_tag;
#         case external: case new_member_commit: case new_member_proposal: struct{};
#     };
# } PublicMessage;
@quick
@dataclass(frozen=True, slots=True)
class PublicMessage:
    """A handshake message that the delivery service can read."""

    content: FramedContent
    auth: FramedContentAuthData
    membership_tag: bytes | None = None

    def write(self, w: Writer) -> None:
        """Append the struct of §6.2."""
        self.content.write(w)
        self.auth.write(w)
        if self.membership_tag is not None:
            w.opaque(self.membership_tag)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §6.2."""
        content = FramedContent.read(r)
        auth = FramedContentAuthData.read(r, content.content_type)
        member = content.sender.sender_type is SenderType.MEMBER
        return cls(content, auth, r.opaque() if member else None)


def _membership_tag(
    suite: CipherSuite, signed: AuthenticatedContent, context: GroupContext, key: bytes
) -> bytes:
    # struct {
    #   FramedContentTBS content_tbs;
    #   FramedContentAuthData auth;
    # } AuthenticatedContentTBM;
    w = Writer()
    w.raw(signed.content.to_be_signed(signed.wire_format, context))
    signed.auth.write(w)
    return suite.hmac(key, w.getvalue())


def protect_public(
    suite: CipherSuite,
    signed: AuthenticatedContent,
    context: GroupContext,
    membership_key: bytes | None,
) -> PublicMessage:
    """Make the PublicMessage of a signed content; members' need the membership_key.

    Application data is a UsageError: it is always encrypted.
    """
    if signed.content.content_type is ContentType.APPLICATION:
        raise UsageError(
            "application data travels in a PrivateMessage only", "sender-application-public", "§6"
        )
    tag = None
    if signed.content.sender.sender_type is SenderType.MEMBER:
        if membership_key is None:
            raise UsageError("a member's PublicMessage needs the membership key")
        tag = _membership_tag(suite, signed, context, membership_key)
    return PublicMessage(signed.content, signed.auth, tag)


def unprotect_public(
    suite: CipherSuite, message: PublicMessage, context: GroupContext, membership_key: bytes
) -> AuthenticatedContent:
    """Check the membership tag; the signature is the caller's to check.

    Raises:
        ValidationError: "membership-tag", or "public-application" for application data.

    """
    if message.content.content_type is ContentType.APPLICATION:
        raise ValidationError("public-application", "§6")
    signed = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, message.content, message.auth)
    if message.membership_tag is not None:
        expected = _membership_tag(suite, signed, context, membership_key)
        if not hmac.compare_digest(expected, message.membership_tag):
            raise ValidationError("membership-tag", "§6.2")
    return signed
