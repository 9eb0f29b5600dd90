"""One rule each, of messages and their encoding (RFC 9420 §2.1, §6, §9, §12, §15), broken alone."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    BasicCredential,
    CodecError,
    Commit,
    Extension,
    ExternalInit,
    Group,
    GroupContextExtensions,
    KeyPackage,
    MLSMessage,
    PreSharedKey,
    PreSharedKeyID,
    PrivateMessage,
    ReInit,
    Remove,
    Sender,
    SenderType,
    UnknownCredential,
    UsageError,
    WireFormat,
    decode,
    encode,
    generate_key_package,
    propose_from_outside,
    suite,
)
from pli_protocol.mls.codec import Reader, Writer
from pli_protocol.mls.epoch import PAST_SECONDS
from pli_protocol.mls.framing import FramedContent, sign_content
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.mls.leaf_node import Capabilities, LeafNode
from pli_protocol.mls.node import ParentNode, read_node, write_node
from pli_protocol.mls.private_message import protect_private
from pli_protocol.mls.proposal import decode_proposal, encode_proposal
from pli_protocol.mls.psk import psk_secret
from pli_protocol.mls.public_message import protect_public
from pli_protocol.mls.ratchet_tree import MAX_LEAVES, RatchetTree
from pli_protocol.mls.secret_tree import LAST_GENERATION, MAX_FORWARD, Ratchet, RatchetKind
from pli_protocol.secret import Secret

from .forging import public_message
from .groups import LIFETIME, NOW, Member, deliver, party, refused

# What is sent


def test_application_data_that_a_member_sends_unencrypted_is_refused() -> None:
    alice, bob = party("alice", "bob")
    with refused(bob, "public-application"):
        bob.process(public_message(alice, b"for all to read"))


def test_a_message_of_another_group_is_refused() -> None:
    alice, _bob = party("alice", "bob")
    (carol,) = party("carol", group_id=b"another")
    with refused(alice, "group-unknown"):
        alice.process(carol.seal(b"not for you"))


def test_a_content_that_does_not_decode_is_refused() -> None:
    alice, bob = party("alice", "bob")
    with patch("pli_protocol.mls.private_message._plaintext", lambda signed, padding: b"\x40"):
        message = alice.seal(b"")
    with refused(bob, "content"):
        bob.process(message)


def test_sender_data_that_do_not_open_are_refused() -> None:
    alice, bob = party("alice", "bob")
    body = decode(MLSMessage, alice.seal(b"text")).body
    assert isinstance(body, PrivateMessage)
    forged = replace(body, encrypted_sender_data=bytes(28))
    with refused(bob, "sender-data"):
        bob.process(encode(MLSMessage(forged)))


def test_ones_own_message_of_a_past_epoch_opens_no_more() -> None:
    alice, bob = party("alice", "bob")
    old = alice.seal(b"once")
    deliver(bob.commit(), bob, alice)
    with refused(alice, "sender-forgotten"):
        alice.process(old)


def test_a_generation_too_far_ahead_is_refused() -> None:
    alice, bob = party("alice", "bob")
    tree = alice.group.secret_tree
    for generation in (MAX_FORWARD, MAX_FORWARD + 1):
        _, tree, _ = tree.open_key(alice.suite, 0, RatchetKind.APPLICATION, generation - 1)
        message = replace(alice.group, secret_tree=tree).seal(b"far ahead").message
        if generation == MAX_FORWARD:
            bob.group.process(message, identity=ACCEPT_BASIC, now=NOW)
        else:
            with refused(bob, "generation-ahead"):
                bob.process(message)


def test_a_key_is_used_once() -> None:
    alice, bob = party("alice", "bob")
    message = alice.seal(b"once")
    bob.open(message)
    with refused(bob, "generation-used"):
        bob.process(message)


def test_a_past_epoch_is_forgotten_after_a_day() -> None:
    """By time as well as by count (§15.3)."""
    alice, bob = party("alice", "bob")
    late, later = alice.seal(b"late"), alice.seal(b"later")
    deliver(alice.commit(), alice, bob)
    bob.process(late, now=NOW + PAST_SECONDS)
    with refused(bob, "epoch-wrong"):
        bob.process(later, now=NOW + PAST_SECONDS + 1)
    # The next commit of that day drops its keys for good, and so does whoever looks at the time.
    made = alice.commit(now=NOW + PAST_SECONDS + 1)
    forgotten = bob.group.forget_past(5, now=NOW + PAST_SECONDS + 1)
    assert forgotten.group.past == ()
    bob.process(made.message, now=NOW + PAST_SECONDS + 1)
    assert [past.context.epoch for past in bob.group.past] == [2]
    bob.check_store()


def test_no_epoch_follows_the_last() -> None:
    (alice,) = party("alice")
    context = replace(alice.group.context, epoch=2**64 - 1)
    alice.keep(replace(alice.group, context=context), {})
    with refused(alice, "epoch-last"):
        alice.commit()


def test_a_joiner_sends_a_commit_and_nothing_else() -> None:
    alice, bob = party("alice", "bob")
    mallory = Member("mallory")
    message = public_message(
        alice, Remove(1), sender=Sender(SenderType.NEW_MEMBER_COMMIT), key=mallory.signer
    )
    with refused(bob, "external-commit-content"):
        bob.process(message)


# What does not decode


def _tree(*nodes: LeafNode | ParentNode | None) -> bytes:
    w = Writer()
    w.vector(nodes, lambda w, node: w.optional(node, write_node))
    return w.getvalue()


def _leaf() -> LeafNode:
    return Member("anna").key_package()[0].leaf_node


MALFORMED = {
    "presence-octet": lambda: decode(Commit, b"\x00\x02"),
    "vector-length": lambda: Reader(b"\x40\x01x").opaque(),
    "vector-prefix": lambda: Reader(b"\xc0").opaque(),
    "vector-too-long": lambda: Writer().opaque(_Endless()),
    "bytes-left": lambda: decode(Commit, b"\x00\x00\x00"),
    "bytes-missing": lambda: decode(Commit, b"\x05\x00"),
    "version": lambda: decode(MLSMessage, b"\x00\x02\x00\x01"),
    "wire-format": lambda: decode(MLSMessage, b"\x00\x01\x00\x06"),
    "enum": lambda: decode(Sender, b"\x05"),
    "unmerged-order": lambda: decode(ParentNode, encode(ParentNode(b"key", b"", (2, 1)))),
    "tree-end": lambda: decode(RatchetTree, _tree(_leaf(), None)),
    "tree-width": lambda: decode(RatchetTree, _tree(*(None,) * (2 * MAX_LEAVES - 1), _leaf())),
    "node-place": lambda: decode(RatchetTree, _tree(ParentNode(b"key"))),
    "proposal-type": lambda: decode_proposal(b"\x0a\x0a"),
}


class _Endless(bytes):
    """Says that it is longer than any vector may be."""

    def __len__(self) -> int:
        return 1 << 30


@pytest.mark.parametrize("rule", MALFORMED)
def test_malformed_bytes_are_refused(rule: str) -> None:
    with pytest.raises(CodecError) as failed:
        MALFORMED[rule]()  # type: ignore[no-untyped-call]
    assert failed.value.rule == rule
    assert failed.value.clause.startswith("§")


ENUMS = {
    "sender": lambda: decode(Sender, b"\x00"),
    "content": lambda: decode(FramedContent, b"\x00" + bytes(8) + b"\x04\x00\x04"),
    "node": lambda: read_node(Reader(b"\x03")),
    "psk": lambda: decode(PreSharedKeyID, b"\x03"),
    "usage": lambda: decode(PreSharedKeyID, b"\x02\x04"),
    "proposal or reference": lambda: decode(Commit, b"\x01\x03\x00"),
    "group context's version": lambda: decode(GroupContext, b"\x00\x02"),
}


@pytest.mark.parametrize("name", ENUMS)
def test_an_unknown_value_of_a_closed_enumeration_is_refused(name: str) -> None:
    with pytest.raises(CodecError) as failed:
        ENUMS[name]()  # type: ignore[no-untyped-call]
    assert failed.value.rule == ("version" if "version" in name else "enum")


def test_bytes_after_a_message_or_another_version_change_nothing() -> None:
    alice, bob = party("alice", "bob")
    message = alice.seal(b"text")
    with refused(bob, "bytes-left"):
        bob.process(message + b"\x00")
    with refused(bob, "version"):
        bob.process(b"\x00\x02" + message[2:])
    with refused(bob, "wire-format"):
        bob.process(message[:2] + b"\x00\x09" + message[4:])


def test_a_proposal_of_a_type_that_we_do_not_have_changes_nothing() -> None:
    """Also GREASE (§13.5): there is no special treatment."""
    alice, bob = party("alice", "bob")
    for kind in (b"\x0a\x0a", b"\xf0\x01"):
        with patch("pli_protocol.mls.framing.write_proposal", lambda w, _, k=kind: w.raw(k)):
            message = public_message(alice, Remove(0))
        with refused(bob, "proposal-type"):
            bob.process(message)


# What we do not send


def test_a_closed_group_sends_nothing() -> None:
    alice, bob = party("alice", "bob")
    deliver(alice.commit(ReInit(b"next", 1, 3)), alice, bob)
    for member in (alice, bob):
        with refused(member, "sender-closed"):
            member.seal(b"text")
        with refused(member, "sender-closed"):
            member.group.propose(Remove(0))
        with refused(member, "sender-closed"):
            member.commit()


def test_a_closed_group_is_not_opened_again() -> None:
    """By a member that goes on all the same, or by whoever joins from outside."""
    alice, bob = party("alice", "bob")
    deliver(alice.commit(ReInit(b"next", 1, 3)), alice, bob)
    info = replace(alice.group, reinit=None).group_info()
    for message in (
        replace(alice.group, reinit=None)
        .commit(identity=ACCEPT_BASIC, now=NOW, random=alice.random)
        .message,
        public_message(alice, Remove(1)),
        Member("carol").join_external(info),
    ):
        with refused(bob, "group-closed"):
            bob.process(message)


def test_proposals_are_committed_before_anything_is_said() -> None:
    alice, bob = party("alice", "bob")
    proposed = alice.group.propose(Remove(1), random=alice.random)
    alice.keep(proposed.group, proposed.changes)
    bob.process(proposed.message)
    for member in (alice, bob):
        with refused(member, "sender-proposals-pending"):
            member.group.seal(b"text")
    assert alice.open(bob.seal(b"text", ahead_of_proposals=True)) == b"text"


def test_application_data_is_not_sent_unencrypted() -> None:
    alice, _ = party("alice", "bob")
    group = alice.group
    content = FramedContent(group.group_id, 0, Sender(SenderType.MEMBER, 0), b"", b"text")
    with refused(alice, "sender-application-public"):
        sign_content(group.suite, alice.signer, WireFormat.PUBLIC_MESSAGE, content, group.context)
    signed = sign_content(
        group.suite, alice.signer, WireFormat.PRIVATE_MESSAGE, content, group.context
    )
    with refused(alice, "sender-application-public"):
        protect_public(group.suite, signed, group.context, group.secrets.membership_key)


def test_who_is_no_member_sends_no_private_message() -> None:
    alice, _ = party("alice", "bob")
    group = alice.group
    sender = Sender(SenderType.NEW_MEMBER_PROPOSAL)
    content = FramedContent(group.group_id, group.epoch, sender, b"", Remove(1))
    signed = sign_content(group.suite, alice.signer, WireFormat.PRIVATE_MESSAGE, content, None)
    with refused(alice, "sender-not-member"):
        protect_private(
            group.suite,
            signed,
            group.secret_tree,
            group.secrets.sender_data_secret,
            padding=0,
            random=alice.random,
        )


def test_a_ratchet_is_not_used_beyond_its_end() -> None:
    with pytest.raises(UsageError) as failed:
        Ratchet(LAST_GENERATION, Secret(bytes(32))).step(suite(3))
    assert failed.value.rule == "sender-generation"


def test_a_member_proposes_no_external_init() -> None:
    alice, _ = party("alice", "bob")
    with refused(alice, "sender-external-init"):
        alice.group.propose(ExternalInit(bytes(32)))


def test_a_path_is_not_left_out_where_it_is_required() -> None:
    alice, _ = party("alice", "bob")
    for proposals in ((), (Remove(1),), (GroupContextExtensions(()),)):
        with refused(alice, "sender-path"):
            alice.commit(*proposals, path=False)
    with refused(alice, "sender-path"):
        alice.commit(Add(Member("carol").key_package()[0]), path=False, leaf_extensions=())


def test_no_commit_has_more_pre_shared_keys_than_can_be_counted() -> None:
    psk = PreSharedKeyID.external(b"door", bytes(32))
    with pytest.raises(UsageError) as failed:
        psk_secret(suite(3), [(psk, b"")] * 0x10000)
    assert failed.value.rule == "sender-psk-count"


def test_grease_is_not_sent_where_it_would_be_refused() -> None:
    alice, _ = party("alice", "bob")
    grease = (Extension(0x0A0A, b""),)
    for proposal in (GroupContextExtensions(grease), ReInit(b"next", 1, 3, grease)):
        with refused(alice, "sender-grease"):
            alice.commit(proposal)
        with refused(alice, "sender-grease"):
            alice.group.propose(proposal)
        with refused(alice, "sender-grease"):
            propose_from_outside(alice.suite, b"group", 1, proposal, alice.signer, sender_index=0)
    with refused(alice, "sender-grease"):
        Member("bob").create(extensions=grease)
    with refused(alice, "sender-grease"):
        alice.commit(credential=UnknownCredential(0x1A1A, b""))


@pytest.mark.parametrize(
    ("capabilities", "extensions"),
    [
        (Capabilities((1,), (3,), (5,), (), (1,)), ()),
        (Capabilities((1,), (3,), (), (7,), (1,)), ()),
        (Capabilities((1,), (3,), (), (), (1,)), (Extension(0xF001, b""),)),
    ],
)
def test_capabilities_are_said_as_the_rfc_wants(
    capabilities: Capabilities, extensions: tuple[Extension, ...]
) -> None:
    """Default types are not listed; types of the key package's extensions are."""
    anna = Member("anna")
    with pytest.raises(UsageError) as failed:
        generate_key_package(
            anna.suite,
            BasicCredential(b"anna"),
            anna.signer,
            lifetime=LIFETIME,
            capabilities=capabilities,
            extensions=extensions,
        )
    assert failed.value.rule == "sender-capabilities"


def test_nobody_speaks_with_a_key_that_is_not_its_leafs() -> None:
    (alice,) = party("alice")
    bob = Member("bob")
    package = bob.key_package()
    made = alice.commit(Add(package[0]))
    assert made.welcome is not None
    assert isinstance(package[0], KeyPackage)
    with pytest.raises(UsageError) as failed:
        Group.join(made.welcome, *package, alice.signer, identity=ACCEPT_BASIC, now=NOW)
    assert failed.value.rule == "sender-signature-key"


def test_a_psk_proposal_and_its_bytes_are_one() -> None:
    """What is refused above is refused for its content: the same with nothing wrong passes."""
    psk = PreSharedKey(PreSharedKeyID.external(b"door", bytes(32)))
    assert decode_proposal(encode_proposal(psk)) == psk
