"""Framing: what a signature covers, by the kind of sender."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pli_protocol.mls import (
    Add,
    AuthenticatedContent,
    Commit,
    ContentType,
    FramedContent,
    GroupContext,
    Remove,
    Sender,
    SenderType,
    UsageError,
    ValidationError,
    WireFormat,
    encode,
    suite,
)
from pli_protocol.mls.framing import Content, content_type_of, sign_content, with_tag
from pli_protocol.mls.public_message import protect_public, unprotect_public

from .groups import Member, seeded

SUITE = suite(3)
KEY = SUITE.generate_signature_key(seeded("framing"))
CONTEXT = GroupContext(3, b"group", 1, b"tree", b"transcript")
MEMBER = Sender(SenderType.MEMBER, 0)
PUBLIC = WireFormat.PUBLIC_MESSAGE


def framed(content: Content, sender: Sender = MEMBER) -> FramedContent:
    return FramedContent(b"group", 1, sender, b"aad", content)


def signed(content: Content, sender: Sender = MEMBER) -> AuthenticatedContent:
    return sign_content(SUITE, KEY, PUBLIC, framed(content, sender), CONTEXT)


def test_the_type_of_a_content() -> None:
    assert content_type_of(b"text") is ContentType.APPLICATION
    assert content_type_of(Remove(0)) is ContentType.PROPOSAL
    assert content_type_of(Commit(())) is ContentType.COMMIT


def test_a_members_signature_covers_the_group_context() -> None:
    message = signed(Remove(1))
    message.verify(SUITE, KEY.public, CONTEXT)
    with pytest.raises(ValidationError) as failed:
        message.verify(SUITE, KEY.public, replace(CONTEXT, tree_hash=b"another"))
    assert failed.value.rule == "signature"
    with pytest.raises(UsageError):
        message.verify(SUITE, KEY.public, None)


@pytest.mark.parametrize("kind", [SenderType.EXTERNAL, SenderType.NEW_MEMBER_PROPOSAL])
def test_the_signature_of_somebody_outside_does_not(kind: SenderType) -> None:
    package, _ = Member("dave").key_package()
    message = signed(Add(package), Sender(kind))
    message.verify(SUITE, KEY.public, None)
    message.verify(SUITE, KEY.public, CONTEXT)


def test_the_signature_covers_content_sender_and_wire_format() -> None:
    message = signed(Remove(1))
    for other in (
        replace(message, content=framed(Remove(2))),
        replace(message, content=framed(Remove(1), Sender(SenderType.MEMBER, 1))),
        replace(message, content=replace(message.content, authenticated_data=b"")),
        replace(message, wire_format=WireFormat.PRIVATE_MESSAGE),
    ):
        with pytest.raises(ValidationError):
            other.verify(SUITE, KEY.public, CONTEXT)


def test_application_data_is_never_signed_for_a_public_message() -> None:
    with pytest.raises(UsageError):
        signed(b"text")


def test_the_reference_of_a_proposal_covers_its_signature() -> None:
    message = signed(Remove(1))
    other = replace(message, auth=replace(message.auth, signature=bytes(64)))
    assert message.proposal_ref(SUITE) != other.proposal_ref(SUITE)
    assert len(message.proposal_ref(SUITE)) == SUITE.hash_size


def test_the_content_is_not_shown() -> None:
    assert b"a secret".hex() not in repr(framed(b"a secret"))
    assert "a secret" not in repr(framed(b"a secret"))


def test_only_members_have_a_membership_tag() -> None:
    member = protect_public(SUITE, signed(Remove(1)), CONTEXT, b"key")
    assert member.membership_tag is not None
    outside = protect_public(SUITE, signed(Remove(1), Sender(SenderType.EXTERNAL)), CONTEXT, None)
    assert outside.membership_tag is None
    assert unprotect_public(SUITE, member, CONTEXT, b"key") == signed(Remove(1))
    with pytest.raises(UsageError):
        protect_public(SUITE, signed(Remove(1)), CONTEXT, None)


def test_a_commit_carries_its_confirmation_tag() -> None:
    commit = with_tag(signed(Commit(())), b"tag")
    public = protect_public(SUITE, commit, CONTEXT, b"key")
    assert encode(public).count(b"\x03tag") == 1
