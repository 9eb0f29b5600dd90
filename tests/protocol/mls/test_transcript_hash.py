"""Transcript hashes: what goes in, and what does not."""

from __future__ import annotations

from pli_protocol.mls import Commit, FramedContent, Sender, SenderType, WireFormat, suite
from pli_protocol.mls.transcript_hash import (
    confirmation_tag,
    confirmed_transcript_hash,
    interim_transcript_hash,
)

SUITE = suite(1)


def content(sender: int = 0) -> FramedContent:
    return FramedContent(b"group", 0, Sender(SenderType.MEMBER, sender), b"", Commit(()))


def test_wire_format_content_signature_and_history_count() -> None:
    hashes = {
        confirmed_transcript_hash(SUITE, before, wire, framed, signature)
        for before, wire, framed, signature in (
            (b"", WireFormat.PUBLIC_MESSAGE, content(), b"signature"),
            (b"history", WireFormat.PUBLIC_MESSAGE, content(), b"signature"),
            (b"", WireFormat.PRIVATE_MESSAGE, content(), b"signature"),
            (b"", WireFormat.PUBLIC_MESSAGE, content(1), b"signature"),
            (b"", WireFormat.PUBLIC_MESSAGE, content(), b"another"),
        )
    }
    assert len(hashes) == 5


def test_the_interim_hash_adds_the_confirmation_tag() -> None:
    assert interim_transcript_hash(SUITE, b"confirmed", b"tag") == SUITE.hash(b"confirmed\x03tag")


def test_the_confirmation_tag_is_a_mac_of_the_confirmed_hash() -> None:
    assert confirmation_tag(SUITE, b"key", b"confirmed") == SUITE.hmac(b"key", b"confirmed")
