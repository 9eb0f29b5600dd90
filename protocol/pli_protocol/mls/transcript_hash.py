"""Transcript hashes: a running hash over every commit of a group (RFC 9420 §8.2)."""

from __future__ import annotations

import hmac

from .ciphersuite import CipherSuite
from .codec import Writer
from .framing import FramedContent


def confirmed_transcript_hash(
    suite: CipherSuite,
    interim_before: bytes,
    wire_format: int,
    content: FramedContent,
    signature: bytes,
) -> bytes:
    """Hash(interim_transcript_hash || ConfirmedTranscriptHashInput).

    Args:
        suite: the group's cipher suite, whose hash is used.
        interim_before: interim transcript hash of the epoch in which the commit was sent.
        wire_format: how the commit travels; it is part of what was signed.
        content: the FramedContent that holds the commit.
        signature: the signature over it.

    """
    # struct {
    #     WireFormat wire_format;
    #     FramedContent content; /* with content_type == commit */
    #     opaque signature<V>;
    # } ConfirmedTranscriptHashInput;
    w = Writer()
    w.raw(interim_before)
    w.u16(wire_format)
    content.write(w)
    w.opaque(signature)
    return suite.hash(w.getvalue())


def interim_transcript_hash(
    suite: CipherSuite, confirmed_after: bytes, confirmation_tag: bytes
) -> bytes:
    """Hash(confirmed_transcript_hash || InterimTranscriptHashInput)."""
    # struct { MAC confirmation_tag; } InterimTranscriptHashInput;
    w = Writer()
    w.raw(confirmed_after)
    w.opaque(confirmation_tag)
    return suite.hash(w.getvalue())


def confirmation_tag(suite: CipherSuite, confirmation_key: bytes, confirmed: bytes) -> bytes:
    """MAC(confirmation_key, GroupContext.confirmed_transcript_hash) (§6.1)."""
    return suite.hmac(confirmation_key, confirmed)


def tag_is_valid(suite: CipherSuite, confirmation_key: bytes, confirmed: bytes, tag: bytes) -> bool:
    """Compare in constant time; a tag of another length is never equal."""
    return hmac.compare_digest(confirmation_tag(suite, confirmation_key, confirmed), tag)
