"""Joining: what is refused that a well-made Welcome, GroupInfo or external commit never has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    Commit,
    FramedContent,
    Group,
    GroupInfo,
    MLSMessage,
    PreSharedKey,
    PreSharedKeyID,
    PublicMessage,
    Remove,
    Removed,
    ResumptionPSKUsage,
    Sender,
    SenderType,
    UsageError,
    ValidationError,
    Welcome,
    WireFormat,
    decode,
    encode,
    suite,
)
from pli_protocol.mls.framing import FramedContentAuthData, sign_content
from pli_protocol.mls.public_message import protect_public
from pli_protocol.mls.secret_tree import RatchetKind, SecretTree

from .forging import careless
from .groups import NOW, Member, add, deliver, everyone_can_message_everyone, party, refused


def fails(rule: str) -> Any:
    return pytest.raises(ValidationError, match=f"^{rule}( |$)")


def invited(**more: Any) -> tuple[Member, Member, bytes, Any]:
    """alice has added bob, who has not joined yet."""
    (alice,) = party("alice")
    bob = Member("bob")
    package = bob.key_package()
    made = alice.commit(Add(package[0]), **more)
    alice.merge(made)
    assert made.welcome is not None
    return alice, bob, made.welcome, package


def test_a_welcome_of_another_suite_than_the_key_package_is_refused() -> None:
    _, bob, welcome, package = invited()
    found = decode(MLSMessage, welcome).body
    assert isinstance(found, Welcome)
    with fails("welcome-suite"):
        bob.join(encode(MLSMessage(replace(found, cipher_suite=1))), package)


def altered_info(change: Callable[[Group, GroupInfo], GroupInfo]) -> Any:
    """The committer's Welcome carries a GroupInfo that was changed before it was signed."""
    from pli_protocol.mls import committing

    original = committing.build_group_info

    def build(group: Group, **more: Any) -> GroupInfo:
        info = change(group, original(group, **more))
        return info.signed_by(group.suite, group.signer)

    return patch.object(committing, "build_group_info", build)


def test_a_group_info_of_another_suite_is_refused() -> None:
    with altered_info(
        lambda _, info: replace(info, group_context=replace(info.group_context, cipher_suite=1))
    ):
        _, bob, welcome, package = invited()
    with fails("group-info-suite"):
        bob.join(welcome, package)


def test_a_wrong_confirmation_tag_is_refused() -> None:
    with altered_info(lambda _, info: replace(info, confirmation_tag=bytes(32))):
        _, bob, welcome, package = invited()
    with fails("confirmation-tag"):
        bob.join(welcome, package)


def test_a_welcome_into_a_group_without_ones_leaf_is_refused() -> None:
    _, bob, welcome, package = invited()
    other, secrets = bob.key_package()
    # The same secrets, but the leaf of another key package.
    with (
        patch("pli_protocol.mls.key_package.KeyPackage.reference", package[0].reference),
        patch("pli_protocol.mls.join.open_group_secrets") as opened,
    ):
        from pli_protocol.mls.welcome import open_group_secrets

        found = decode(MLSMessage, welcome).body
        assert isinstance(found, Welcome)
        reference = found.secrets[0].new_member
        opened.return_value = open_group_secrets(bob.suite, found, reference, package[1].init_key)
        with fails("welcome-leaf"):
            bob.join(welcome, (other, secrets))


def test_the_nonces_of_pre_shared_keys_have_the_size_of_the_hash() -> None:
    (alice,) = party("alice")
    bob = Member("bob")
    package = bob.key_package()
    alice.psks[b"door"] = bob.psks[b"door"] = b"sesame"
    psk = PreSharedKeyID.external(b"door", bytes(31))
    committing = "pli_protocol.mls.committing"
    with patch(f"{committing}.check_proposal"):
        made = alice.commit(Add(package[0]), PreSharedKey(psk))
    assert made.welcome is not None
    with fails("psk-nonce"):
        bob.join(made.welcome, package)


# Groups that continue another (§11.2, §11.3)


def continued(
    old: Sequence[Member],
    usage: ResumptionPSKUsage,
    new: Sequence[Member],
    count: int = 1,
    forged: bool = True,
) -> tuple[bytes, Any]:
    """The first of `new` makes a group after the old one and adds the second: its Welcome."""
    group = old[0].group
    maker, other = new
    maker.create(b"successor")
    package = other.key_package()
    psks = [
        PreSharedKeyID.resumption(usage, group.group_id, group.epoch, maker.random(32))
        for _ in range(count)
    ]
    proposals = [Add(package[0]), *map(PreSharedKey, psks)]
    with careless() if forged else nullcontext():
        made = maker.commit(*proposals, predecessor=group)
    maker.merge(made)
    assert made.welcome is not None
    return made.welcome, package


def test_a_branch_is_made_of_members_of_the_old_group() -> None:
    old = party("alice", "bob", "carol")
    new = Member("alice", seed=1), Member("bob", seed=1)
    welcome, package = continued(old, ResumptionPSKUsage.BRANCH, new, forged=False)
    new[1].join(welcome, package, predecessor=old[1].group)
    everyone_can_message_everyone(*new)


def test_a_branch_with_a_stranger_is_refused() -> None:
    old = party("alice", "bob")
    new = Member("mallory"), Member("bob", seed=1)
    welcome, package = continued(old, ResumptionPSKUsage.BRANCH, new)
    with fails("branch-members"):
        new[1].join(welcome, package, predecessor=old[1].group)


def test_a_branch_in_another_suite_is_refused() -> None:
    old = party("alice", "bob")
    new = Member("alice", 1, seed=1), Member("bob", 1, seed=1)
    welcome, package = continued(old, ResumptionPSKUsage.BRANCH, new)
    with fails("branch-parameters"):
        new[1].join(welcome, package, predecessor=old[1].group)


def test_two_predecessors_are_refused() -> None:
    old = party("alice", "bob")
    new = Member("alice", seed=1), Member("bob", seed=1)
    welcome, package = continued(old, ResumptionPSKUsage.BRANCH, new, count=2)
    with fails("psk-usage"):
        new[1].join(welcome, package, predecessor=old[1].group)


def test_a_predecessor_that_is_not_named_is_not_taken_on_trust() -> None:
    old = party("alice", "bob")
    new = Member("alice", seed=1), Member("bob", seed=1)
    welcome, package = continued(old, ResumptionPSKUsage.BRANCH, new)
    secret = old[0].group.secrets.resumption_psk
    with fails("predecessor-unknown"):
        new[1].join(welcome, package, psks=lambda _: secret)


def test_a_successor_begins_in_its_first_epoch() -> None:
    old = party("alice", "bob")
    maker, other = Member("alice", seed=1), Member("bob", seed=1)
    maker.create(b"successor")
    deliver(maker.commit(), maker)
    package = other.key_package()
    group = old[0].group
    psk = PreSharedKeyID.resumption(
        ResumptionPSKUsage.BRANCH, group.group_id, group.epoch, maker.random(32)
    )
    with careless():
        made = maker.commit(Add(package[0]), PreSharedKey(psk), predecessor=group)
    assert made.welcome is not None
    with fails("successor-epoch"):
        other.join(made.welcome, package, predecessor=old[1].group)


# External commits


def external(change: Callable[[Commit], Commit]) -> tuple[Member, Member, bytes]:
    """carol's external commit, changed before she signed it."""
    alice, bob = party("alice", "bob")
    carol = Member("carol")

    def sign(used: Any, key: Any, wire: Any, content: FramedContent, context: Any) -> Any:
        assert isinstance(content.content, Commit)
        changed = replace(content, content=change(content.content))
        return sign_content(used, key, wire, changed, context)

    with patch("pli_protocol.mls.external_join.sign_content", sign):
        message = carol.join_external(alice.group.group_info())
    return alice, bob, message


def test_an_external_commit_without_a_path_is_refused() -> None:
    alice, bob, message = external(lambda commit: Commit(commit.proposals, None))
    for member in (alice, bob):
        with refused(member, "external-commit-path"):
            member.process(message)


def test_an_external_init_that_is_no_key_is_refused() -> None:
    from pli_protocol.mls import ExternalInit

    alice, bob, message = external(
        lambda commit: replace(commit, proposals=(ExternalInit(b"short"),))
    )
    for member in (alice, bob):
        with refused(member, "external-init"):
            member.process(message)


def test_an_external_key_that_is_no_key_is_refused() -> None:
    from pli_protocol.mls.group_info import external_pub_extension

    (alice,) = party("alice")
    info = decode(MLSMessage, alice.group.group_info()).body
    assert isinstance(info, GroupInfo)
    extensions = (info.extensions[0], external_pub_extension(b"short"))
    forged = replace(info, extensions=extensions).signed_by(alice.suite, alice.signer)
    with fails("external-pub"):
        Member("bob").join_external(encode(MLSMessage(forged)))


def test_who_sits_nowhere_cannot_come_back_by_resync() -> None:
    alice, _bob = party("alice", "bob")
    with pytest.raises(UsageError):
        Member("carol").join_external(alice.group.group_info(), resync=True)


def test_a_joiner_mixes_in_external_keys() -> None:
    alice, bob = party("alice", "bob")
    carol = Member("carol")
    for member in (alice, bob, carol):
        member.psks[b"door"] = b"sesame"
    commit = carol.join_external(alice.group.group_info(), psk_ids=[b"door"])
    for member in (alice, bob):
        member.process(commit)
    everyone_can_message_everyone(alice, bob, carol)


def test_the_only_member_of_a_group_comes_back_by_resync() -> None:
    """The RFC forbids it nowhere: at most one Remove, of the joiner's former self (§12.2)."""
    (alice,) = party("alice")
    again = Member("alice", seed="after the loss")
    commit = again.join_external(alice.group.group_info(), resync=True)
    outcome = alice.process(commit)
    assert isinstance(outcome, Removed)
    assert (again.group.epoch, again.group.own_leaf) == (1, 0)
    add(again, bob := Member("bob"))
    everyone_can_message_everyone(again, bob)


def test_the_joiner_takes_the_leftmost_free_leaf() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    deliver(alice.commit(Remove(1)), alice, bob, carol)
    dave = Member("dave")
    message = dave.join_external(carol.group.group_info())
    assert dave.group.own_leaf == 1
    for member in (alice, carol):
        member.process(message)
    everyone_can_message_everyone(alice, carol, dave)


# Senders that are not there


def test_a_message_from_a_blank_leaf_is_refused() -> None:
    alice, bob = party("alice", "bob")
    group = alice.group
    for leaf in (3, 2**32 - 1):
        content = FramedContent(
            group.group_id, group.epoch, Sender(SenderType.MEMBER, leaf), b"", Remove(0)
        )
        signed = sign_content(
            group.suite, alice.signer, WireFormat.PUBLIC_MESSAGE, content, group.context
        )
        key = group.secrets.membership_key
        forged = protect_public(group.suite, signed, group.context, key)
        with refused(bob, "sender-blank"):
            bob.process(encode(MLSMessage(forged)))


def test_a_private_message_from_a_blank_leaf_is_refused() -> None:
    alice, bob = party("alice", "bob")
    add(alice, Member("carol"), bob)
    forger = replace(alice.group, own_leaf=3)
    with refused(bob, "sender-blank"):
        bob.process(forger.seal(b"from nobody").message)


def test_a_commit_is_sent_by_members_and_joiners_only() -> None:
    from .test_processing import with_external_sender

    alice, bob, service = with_external_sender()
    group = alice.group
    for sender in (Sender(SenderType.EXTERNAL, 0), Sender(SenderType.NEW_MEMBER_PROPOSAL)):
        content = FramedContent(group.group_id, group.epoch, sender, b"", Commit(()))
        signed = sign_content(group.suite, service.signer, WireFormat.PUBLIC_MESSAGE, content, None)
        auth = FramedContentAuthData(signed.auth.signature, bytes(32))
        with refused(bob):
            bob.process(encode(MLSMessage(PublicMessage(content, auth))))


def test_a_leaf_outside_the_secret_tree_has_no_keys() -> None:
    tree = SecretTree.create(bytes(32), 4)
    used = suite(3)
    with fails("sender-leaf"):
        tree.open_key(used, 4, RatchetKind.APPLICATION, 0)
    _, tree, _ = tree.next_key(used, 1, RatchetKind.APPLICATION)
    forgotten, _ = tree.without_leaf(1)
    with fails("sender-forgotten"):
        forgotten.open_key(used, 1, RatchetKind.APPLICATION, 0)


def test_messages_of_another_group_are_told() -> None:
    alice, _bob = party("alice", "bob")
    (carol,) = party("carol", group_id=b"another")
    with fails("group-unknown"):
        alice.group.process(carol.seal(b"x"), identity=ACCEPT_BASIC, now=NOW)
