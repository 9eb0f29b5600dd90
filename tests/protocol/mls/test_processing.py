"""Receiving: what is checked of a message before anything is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pli_protocol.mls import (
    Add,
    CodecError,
    CommitReceived,
    ContentType,
    ExternalSender,
    FramedContent,
    GroupContextExtensions,
    MLSMessage,
    PrivateMessage,
    Proposal,
    ProposalReceived,
    PublicMessage,
    Remove,
    Sender,
    SenderType,
    SignatureKeyPair,
    Update,
    UsageError,
    WireFormat,
    decode,
    encode,
    external_senders_extension,
    propose_from_outside,
    propose_own_add,
)
from pli_protocol.mls.framing import AuthenticatedContent, FramedContentAuthData, sign_content
from pli_protocol.mls.private_message import protect_private
from pli_protocol.mls.public_message import protect_public
from pli_protocol.mls.secret_tree import LAST_GENERATION, Ratchet, RatchetKind

from .groups import Member, deliver, everyone_can_message_everyone, party, refused


def body(message: bytes) -> PublicMessage | PrivateMessage:
    found = decode(MLSMessage, message).body
    assert isinstance(found, PublicMessage | PrivateMessage)
    return found


def test_a_wrong_membership_tag_is_refused() -> None:
    alice, bob = party("alice", "bob")
    made = alice.commit(wire_format=WireFormat.PUBLIC_MESSAGE)
    public = body(made.message)
    assert isinstance(public, PublicMessage)
    for tag in (bytes(32), b"", (public.membership_tag or b"")[:-1]):
        with refused(bob, "membership-tag"):
            bob.process(encode(MLSMessage(replace(public, membership_tag=tag))))


def resigned(
    member: Member, content: FramedContent, wire: WireFormat, key: SignatureKeyPair
) -> AuthenticatedContent:
    group = member.group
    return sign_content(group.suite, key, wire, content, group.context)


@pytest.mark.parametrize("wire", [WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE])
def test_a_message_signed_with_another_key_is_refused(wire: WireFormat) -> None:
    """A member cannot speak in the name of another member."""
    alice, bob, carol = party("alice", "bob", "carol")
    group = bob.group
    content = FramedContent(
        group.group_id, group.epoch, Sender(SenderType.MEMBER, 0), b"", Remove(1)
    )
    signed = resigned(bob, content, wire, bob.signer)
    if wire is WireFormat.PUBLIC_MESSAGE:
        key = group.secrets.membership_key
        message = encode(MLSMessage(protect_public(group.suite, signed, group.context, key)))
    else:
        sealed = protect_private(
            group.suite,
            signed,
            group.secret_tree,
            group.secrets.sender_data_secret,
            padding=0,
            random=bob.random,
        )
        message = encode(MLSMessage(sealed.message))
    with refused(carol, "signature"):
        carol.process(message)
    with refused(alice, "own-message"):
        alice.process(message)


def test_a_wrong_confirmation_tag_is_refused() -> None:
    alice, bob = party("alice", "bob")
    made = alice.commit(wire_format=WireFormat.PUBLIC_MESSAGE)
    public = body(made.message)
    assert isinstance(public, PublicMessage)
    signed = AuthenticatedContent(
        WireFormat.PUBLIC_MESSAGE,
        public.content,
        FramedContentAuthData(public.auth.signature, bytes(32)),
    )
    group = alice.group
    forged = protect_public(group.suite, signed, group.context, group.secrets.membership_key)
    with refused(bob, "confirmation-tag"):
        bob.process(encode(MLSMessage(forged)))


def private(member: Member, content: bytes | Proposal, padding: bytes) -> bytes:
    """A PrivateMessage with any bytes as its padding."""
    from pli_protocol.mls import private_message

    group = member.group
    framed = FramedContent(
        group.group_id, group.epoch, Sender(SenderType.MEMBER, group.own_leaf), b"", content
    )
    signed = resigned(member, framed, WireFormat.PRIVATE_MESSAGE, member.signer)
    original = private_message._plaintext
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            private_message, "_plaintext", lambda signed, _: original(signed, 0) + padding
        )
        sealed = protect_private(
            group.suite,
            signed,
            group.secret_tree,
            group.secrets.sender_data_secret,
            padding=0,
            random=member.random,
        )
    return encode(MLSMessage(sealed.message))


def test_padding_that_is_not_zero_is_refused() -> None:
    alice, bob = party("alice", "bob")
    for padding in (b"\x01", bytes(10) + b"\x80", b"\x00\x01\x00"):
        with refused(bob, "padding"):
            bob.process(private(alice, b"text", padding))
    assert bob.open(private(alice, b"text", bytes(20))) == b"text"


def test_padding_is_asked_for_by_number_or_by_size() -> None:
    alice, bob = party("alice", "bob")
    sizes = []
    for text in (b"", b"short", b"somewhat longer than that"):
        message = alice.seal(text, padding=lambda size: -size % 256)
        assert bob.open(message) == text
        sizes.append(len(message))
    assert len(set(sizes)) == 1
    plain, padded = alice.seal(b"text"), alice.seal(b"text", padding=100)
    assert len(padded) > len(plain) + 95
    with pytest.raises(UsageError):
        alice.group.seal(b"text", padding=-1)


def test_the_last_generation_is_refused_at_once() -> None:
    alice, bob = party("alice", "bob")
    secret = alice.group.secret_tree
    _, used, _ = secret.next_key(alice.suite, 0, RatchetKind.APPLICATION)
    from pli_protocol.mls import secret_tree

    def at_the_end(ratchet: Ratchet) -> Ratchet:
        return Ratchet(LAST_GENERATION, ratchet.secret)

    # A forger whose ratchet pretends to stand at the last generation.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            secret_tree.Ratchet,
            "step",
            lambda self, suite: (
                secret_tree._message_key(suite, self.secret, LAST_GENERATION),
                at_the_end(self),
            ),
        )
        message = replace(alice.group, secret_tree=used).seal(b"wait for ever").message
    with refused(bob, "generation-last"):
        bob.process(message)


def test_the_authenticated_data_cannot_be_changed() -> None:
    alice, bob = party("alice", "bob")
    message = body(alice.seal(b"text", authenticated_data=b"to everyone"))
    assert isinstance(message, PrivateMessage)
    with refused(bob, "decrypt"):
        bob.process(encode(MLSMessage(replace(message, authenticated_data=b"to nobody"))))
    outcome = bob.process(encode(MLSMessage(message)))
    assert outcome.authenticated_data == b"to everyone"


def test_the_kind_of_a_message_cannot_be_changed() -> None:
    alice, bob = party("alice", "bob")
    message = body(alice.seal(b"text"))
    assert isinstance(message, PrivateMessage)
    with refused(bob, "sender-data"):
        bob.process(encode(MLSMessage(replace(message, content_type=ContentType.PROPOSAL))))


def test_application_data_in_a_public_message_is_refused() -> None:
    alice, bob = party("alice", "bob")
    group = alice.group
    content = FramedContent(
        group.group_id, group.epoch, Sender(SenderType.MEMBER, 0), b"", b"for all to read"
    )
    forged = PublicMessage(content, FramedContentAuthData(bytes(64)), bytes(32))
    with refused(bob, "public-application"):
        bob.process(encode(MLSMessage(forged)))


def test_what_is_no_message_for_a_group_is_refused() -> None:
    alice, bob = party("alice", "bob")
    package, _ = bob.key_package()
    with refused(alice, "message-kind"):
        alice.process(encode(MLSMessage(package)))
    with refused(alice, "message-kind"):
        alice.process(bob.group.group_info())
    for garbage in (b"", b"\x00", bytes(100)):
        with pytest.raises(CodecError):
            alice.process(garbage)


def test_ones_own_messages_are_told_apart() -> None:
    alice, _bob = party("alice", "bob")
    made = alice.commit(wire_format=WireFormat.PUBLIC_MESSAGE)
    for message in (alice.seal(b"text"), made.message):
        with refused(alice, "own-message"):
            alice.process(message)


def test_a_commit_with_a_proposal_never_seen_is_refused() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    proposed = alice.group.propose(Remove(2), random=alice.random)
    alice.keep(proposed.group, proposed.changes)
    bob.process(proposed.message)
    made = bob.commit()
    with refused(carol, "proposal-unknown"):
        carol.process(made.message)
    # The proposal comes late; then the commit is understood.
    carol.process(proposed.message)
    carol.process(made.message)
    assert not carol.is_member


def test_a_proposal_heard_twice_waits_once() -> None:
    alice, bob = party("alice", "bob")
    proposed = alice.group.propose(Remove(1), wire_format=WireFormat.PUBLIC_MESSAGE)
    first = bob.process(proposed.message)
    second = bob.process(proposed.message)
    assert isinstance(first, ProposalReceived)
    assert first.reference == second.reference
    assert first.member is not None
    assert first.member.credential == alice.credential
    assert len(bob.group.pending_proposals) == 1
    bob.check_store()


# External proposals (§12.1.8)


def external_proposal(
    member: Member, key: SignatureKeyPair, sender: Sender, proposal: Proposal
) -> bytes:
    group = member.group
    content = FramedContent(group.group_id, group.epoch, sender, b"", proposal)
    signed = sign_content(group.suite, key, WireFormat.PUBLIC_MESSAGE, content, None)
    return encode(MLSMessage(protect_public(group.suite, signed, group.context, None)))


def with_external_sender() -> tuple[Member, Member, Member]:
    """alice and bob accept proposals from a service outside."""
    alice, bob = party("alice", "bob")
    service = Member("service")
    sender = ExternalSender(service.signer.public, service.credential)
    change = GroupContextExtensions((external_senders_extension([sender]),))
    deliver(alice.commit(change), alice, bob)
    return alice, bob, service


def test_an_external_sender_proposes_to_remove_a_member() -> None:
    alice, bob, service = with_external_sender()
    carol = Member("carol")
    from .groups import add

    add(alice, carol, bob)
    message = propose_from_outside(
        alice.suite,
        alice.group.group_id,
        alice.group.epoch,
        Remove(carol.group.own_leaf),
        service.signer,
        sender_index=0,
    )
    for member in (alice, bob, carol):
        outcome = member.process(message)
        assert isinstance(outcome, ProposalReceived)
        assert outcome.member is None
        assert outcome.sender == Sender(SenderType.EXTERNAL, 0)
    deliver(bob.commit(), bob, alice, carol)
    assert not carol.is_member
    everyone_can_message_everyone(alice, bob)


def test_a_stranger_cannot_propose_as_an_external_sender() -> None:
    alice, _bob, service = with_external_sender()
    mallory = Member("mallory")
    sender = Sender(SenderType.EXTERNAL, 0)
    with refused(alice, "signature"):
        alice.process(external_proposal(alice, mallory.signer, sender, Remove(1)))
    unknown = Sender(SenderType.EXTERNAL, 1)
    with refused(alice, "external-sender-unknown"):
        alice.process(external_proposal(alice, service.signer, unknown, Remove(1)))


def test_an_external_sender_may_not_propose_an_update() -> None:
    alice, _bob, service = with_external_sender()
    leaf = alice.group.tree.leaf(1)
    assert leaf is not None
    message = external_proposal(alice, service.signer, Sender(SenderType.EXTERNAL, 0), Update(leaf))
    with refused(alice, "proposal-external-sender"):
        alice.process(message)


def test_a_newcomer_proposes_its_own_add() -> None:
    alice, bob = party("alice", "bob")
    carol = Member("carol")
    package = carol.key_package()
    where = {"group_id": alice.group.group_id, "epoch": alice.group.epoch}
    with pytest.raises(UsageError) as failed:
        propose_own_add(package[0], alice.signer, **where)
    assert failed.value.rule == "sender-signature-key"
    message = propose_own_add(package[0], carol.signer, **where)
    for member in (alice, bob):
        assert isinstance(member.process(message), ProposalReceived)
    made = alice.commit()
    deliver(made, alice, bob)
    assert made.welcome is not None
    carol.join(made.welcome, package)
    everyone_can_message_everyone(alice, bob, carol)


def test_a_newcomer_proposes_nothing_else() -> None:
    alice, _bob = party("alice", "bob")
    mallory = Member("mallory")
    message = external_proposal(
        alice, mallory.signer, Sender(SenderType.NEW_MEMBER_PROPOSAL), Remove(1)
    )
    with refused(alice, "proposal-new-member"):
        alice.process(message)


def test_the_application_may_refuse_whoever_joins_by_itself() -> None:
    from pli_protocol.mls import Credential, ValidationError

    class Closed:
        def check(self, credential: Credential, signature_key: bytes) -> None:
            if credential == mallory.credential:
                raise ValidationError("credential")

        def same_identity(self, old: Credential, new: Credential) -> bool:
            return old == new

    alice, bob = party("alice", "bob")
    mallory = Member("mallory")
    commit = mallory.join_external(bob.group.group_info())
    with refused(alice, "credential"):
        alice.process(commit, identity=Closed())


def test_a_damaged_path_is_refused_by_everyone() -> None:
    """Also by who is removed, and cannot open the path's secrets."""
    alice, bob, carol = party("alice", "bob", "carol")
    group = alice.group
    made = alice.commit(Remove(carol.group.own_leaf), wire_format=WireFormat.PUBLIC_MESSAGE)
    public = body(made.message)
    assert isinstance(public, PublicMessage)
    commit = public.content.content
    from pli_protocol.mls import Commit

    assert isinstance(commit, Commit)
    assert commit.path is not None
    broken = replace(commit, path=replace(commit.path, nodes=commit.path.nodes * 2))
    content = FramedContent(group.group_id, group.epoch, Sender(SenderType.MEMBER, 0), b"", broken)
    signed = resigned(alice, content, WireFormat.PUBLIC_MESSAGE, alice.signer)
    signed = replace(signed, auth=replace(signed.auth, confirmation_tag=bytes(32)))
    key = group.secrets.membership_key
    message = encode(MLSMessage(protect_public(group.suite, signed, group.context, key)))
    for member in (bob, carol):
        with refused(member, "path-length"):
            member.process(message)


def test_the_epoch_of_a_commit_is_that_of_its_sender() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    old = alice.commit()
    deliver(bob.commit(), bob, alice, carol)
    with refused(carol, "epoch-wrong"):
        carol.process(old.message)
    with pytest.raises(UsageError):
        old.group.merged(alice.group)


def test_what_a_commit_changed_is_told() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    dave = Member("dave")
    package = dave.key_package()
    update = bob.group.propose_update(random=bob.random)
    bob.keep(update.group, update.changes)
    for member in (alice, carol):
        member.process(update.message)
    seen = []

    def data(plan: object) -> bytes:
        seen.append(plan)
        return b"what the relay must know"

    made = alice.commit(Remove(carol.group.own_leaf), Add(package[0]), authenticated_data=data)
    assert seen == [made.plan]
    outcome = bob.process(made.message)
    assert isinstance(outcome, CommitReceived)
    assert outcome.authenticated_data == b"what the relay must know"
    assert outcome.sender.credential == alice.credential
    assert [m.credential for m in outcome.added] == [dave.credential]
    assert [m.credential for m in outcome.removed] == [carol.credential]
    assert [m.credential for m in outcome.updated] == [bob.credential]
    assert not outcome.external
    removed = carol.process(made.message)
    assert removed.authenticated_data == b"what the relay must know"
    assert [m.credential for m in removed.removed] == [carol.credential]
