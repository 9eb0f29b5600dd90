"""Each rule about proposals and their lists, broken alone: by the committer, and by a forger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    Capabilities,
    Credential,
    Extension,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ReInit,
    Remove,
    RequiredCapabilities,
    ResumptionPSKUsage,
    UnknownCredential,
    Update,
    ValidationError,
    required_capabilities_extension,
)
from pli_protocol.mls.framing import Sender, SenderType
from pli_protocol.mls.leaf_node import sign_leaf
from pli_protocol.mls.proposal_list import (
    ListContext,
    ListedProposal,
    apply_list,
    check_list,
    check_proposal,
    choose_pending,
)

from .forging import careless
from .groups import LIFETIME, NOW, Member, party, refused

COMMITTING = "pli_protocol.mls.committing"


def add(member: Member, **more: Any) -> Add:
    from pli_protocol.mls import generate_key_package

    package, _ = generate_key_package(
        member.suite,
        more.pop("credential", member.credential),
        member.signer,
        lifetime=more.pop("lifetime", LIFETIME),
        random=member.random,
        **more,
    )
    return Add(package)


def psk(member: Member, nonce: int = 32, psk_id: bytes = b"door") -> PreSharedKey:
    member.psks[psk_id] = b"sesame"
    return PreSharedKey(PreSharedKeyID.external(psk_id, bytes(nonce)))


def resumption(usage: ResumptionPSKUsage) -> Callable[[Member], PreSharedKey]:
    def made(member: Member) -> PreSharedKey:
        group = member.group
        return PreSharedKey(
            PreSharedKeyID.resumption(usage, group.group_id, group.epoch, bytes(32))
        )

    return made


def old_key(member: Member) -> Update:
    """An Update with the key that the leaf has already."""
    old = member.group.tree.leaf(member.group.own_leaf)
    assert old is not None
    return Update(
        sign_leaf(
            member.suite,
            member.signer,
            old.content,
            old.encryption_key,
            None,
            member.group.group_id,
            member.group.own_leaf,
        )
    )


def damaged(proposal: Add) -> Add:
    return Add(replace(proposal.key_package, signature=bytes(64)))


WHERE_BOB_SITS = 1
FaultyList = Callable[[Member], Sequence[Proposal]]

# What alice must not commit, in a group of alice, bob (leaf 1) and carol (leaf 2).
FAULTY: dict[str, list[FaultyList]] = {
    "remove-committer": [lambda alice: [Remove(alice.group.own_leaf)]],
    "remove-blank": [lambda alice: [Remove(3)], lambda alice: [Remove(2**32 - 1)]],
    "leaf-changed-twice": [lambda alice: [Remove(1), Remove(1)]],
    "add-twice": [lambda alice: [add(dave := Member("dave")), add(dave)]],
    "add-member": [lambda alice: [add(Member("bob"))]],
    "psk-duplicate": [lambda alice: [psk(alice), psk(alice)]],
    "psk-nonce": [lambda alice: [psk(alice, nonce=31)]],
    "psk-usage": [
        lambda alice: [resumption(ResumptionPSKUsage.REINIT)(alice)],
        lambda alice: [resumption(ResumptionPSKUsage.BRANCH)(alice)],
    ],
    "extensions-twice": [lambda alice: [GroupContextExtensions(()), GroupContextExtensions(())]],
    "extensions-duplicate": [
        lambda alice: [GroupContextExtensions((Extension(1, b""), Extension(1, b"")))],
        lambda alice: [ReInit(b"new", 1, 3, (Extension(1, b""), Extension(1, b"")))],
    ],
    "extension-unsupported": [lambda alice: [GroupContextExtensions((Extension(0xF001, b""),))]],
    "required-capabilities": [
        lambda alice: [
            GroupContextExtensions(
                (required_capabilities_extension(RequiredCapabilities((0xF001,))),)
            )
        ],
        lambda alice: [
            GroupContextExtensions(
                (required_capabilities_extension(RequiredCapabilities((), (), (2,))),)
            )
        ],
        lambda alice: [GroupContextExtensions((Extension(3, b"\x01"),))],
    ],
    "external-senders": [lambda alice: [GroupContextExtensions((Extension(5, b"\x01"),))]],
    "reinit-alone": [lambda alice: [ReInit(b"new", 1, 3), psk(alice)]],
    "reinit-version": [lambda alice: [ReInit(b"new", 0, 3)]],
    "external-init-regular": [lambda alice: [ExternalInit(bytes(32))]],
    "key-package-signature": [lambda alice: [damaged(add(Member("dave")))]],
    "leaf-lifetime": [
        lambda alice: [add(Member("dave"), lifetime=replace(LIFETIME, not_after=NOW - 1))]
    ],
    "credential": [
        lambda alice: [add(Member("dave"), credential=UnknownCredential(0xF123, b"dave"))]
    ],
    "credential-type": [
        lambda alice: [
            add(Member("dave"), capabilities=Capabilities(cipher_suites=(3,), credentials=(2,)))
        ]
    ],
}
# These stop a careless committer too, or do not come so far.
NOT_FORGED = {"remove-blank", "leaf-changed-twice", "credential-type"}
CASES = [
    pytest.param(rule, made, id=f"{rule}-{n}")
    for rule, lists in FAULTY.items()
    for n, made in enumerate(lists)
]


@pytest.mark.parametrize(("rule", "faulty"), CASES)
def test_a_faulty_list_is_not_committed(rule: str, faulty: FaultyList) -> None:
    alice, _, _ = party("alice", "bob", "carol")
    proposals = faulty(alice)
    if rule == "credential-type":
        rule = "leaf-credential"
    with refused(alice, rule):
        alice.group.commit(
            proposals, psks=alice.psks, identity=ACCEPT_BASIC, now=NOW, random=alice.random
        )


@pytest.mark.parametrize(
    ("rule", "faulty"), [case for case in CASES if case.values[0] not in NOT_FORGED]
)
def test_a_forged_commit_with_a_faulty_list_is_refused(rule: str, faulty: FaultyList) -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    with careless():
        if rule == "remove-committer":
            # There would be no leaf to sign with: the path must be left out too.
            with patch(f"{COMMITTING}._with_path", return_value=False):
                made = alice.commit(*faulty(alice))
        else:
            made = alice.commit(*faulty(alice))
    bob.psks.update(alice.psks)
    for member in (bob, carol):
        with refused(member, rule):
            member.process(made.message)


def test_a_forged_commit_without_the_required_path_is_refused() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    with patch(f"{COMMITTING}._with_path", return_value=False):
        made = alice.commit(Remove(carol.group.own_leaf))
        empty = alice.commit()
    for member in (bob, carol):
        for message in (made.message, empty.message):
            with refused(member, "path-required"):
                member.process(message)


def where(member: Member, committer: int | None = 0) -> ListContext:
    group = member.group
    return ListContext(group.suite, group.context, group.tree, committer, ACCEPT_BASIC, NOW)


def member_sender(leaf: int) -> Sender:
    return Sender(SenderType.MEMBER, leaf)


def breaks(rule: str) -> AbstractContextManager[pytest.ExceptionInfo[ValidationError]]:
    return pytest.raises(ValidationError, match=f"^{rule}( |$)")


def test_the_committers_own_update_is_not_valid() -> None:
    alice, bob = party("alice", "bob")
    proposed = alice.group.propose_update(random=alice.random)
    alice.keep(proposed.group, proposed.changes)
    bob.process(proposed.message)
    update = alice.group.proposals[0].proposal
    with breaks("update-by-committer"):
        check_list([ListedProposal(update, member_sender(0))], where(alice))
    # It is left out of one's own commit, and taken by another's.
    assert alice.commit().plan.updated == ()
    assert len(bob.commit().plan.updated) == 1


def test_an_update_must_bring_a_new_key() -> None:
    alice, bob = party("alice", "bob")
    with breaks("leaf-key-reused"):
        check_proposal(old_key(bob), member_sender(1), where(alice))


@pytest.mark.parametrize(
    "sender", [Sender(SenderType.EXTERNAL, 0), Sender(SenderType.NEW_MEMBER_PROPOSAL)]
)
def test_only_members_send_updates(sender: Sender) -> None:
    alice, bob = party("alice", "bob")
    with pytest.raises(ValidationError):
        check_proposal(old_key(bob), sender, where(alice))


def test_a_joiner_does_not_update() -> None:
    alice, bob = party("alice", "bob")
    with breaks("update-sender"):
        check_proposal(old_key(bob), Sender(SenderType.NEW_MEMBER_COMMIT), where(alice, None))


def test_a_new_member_proposes_nothing_but_its_own_add() -> None:
    (alice,) = party("alice")
    with breaks("proposal-new-member"):
        check_proposal(Remove(0), Sender(SenderType.NEW_MEMBER_PROPOSAL), where(alice))


def test_an_external_sender_may_not_send_an_external_init() -> None:
    (alice,) = party("alice")
    with breaks("proposal-external-sender"):
        check_proposal(ExternalInit(b""), Sender(SenderType.EXTERNAL), where(alice))


class Strangers:
    """Accepts everybody, but nobody as somebody else's successor."""

    def check(self, credential: Credential, signature_key: bytes) -> None:
        pass

    def same_identity(self, old: Credential, new: Credential) -> bool:
        return old == new


def test_a_member_may_not_become_somebody_else() -> None:
    alice, bob = party("alice", "bob")
    other = Member("mallory").credential
    with refused(alice, "credential-successor"):
        alice.commit(credential=other, identity=Strangers())
    with careless():
        made = alice.commit(credential=other, identity=Strangers())
    with refused(bob, "credential-successor"):
        bob.process(made.message, identity=Strangers())
    proposed = alice.group.propose_update(credential=other, random=alice.random)
    with refused(bob, "credential-successor"):
        bob.process(proposed.message)


EXTERNAL_FAULTS: dict[str, list[Proposal]] = {
    "external-commit-init": [],
    "external-commit-remove": [ExternalInit(b""), Remove(0), Remove(1)],
    "external-commit-proposal": [ExternalInit(b""), GroupContextExtensions(())],
}


@pytest.mark.parametrize("rule", EXTERNAL_FAULTS)
def test_a_faulty_list_of_an_external_commit_is_refused(rule: str) -> None:
    alice, _bob = party("alice", "bob")
    joiner = Sender(SenderType.NEW_MEMBER_COMMIT)
    listed = [ListedProposal(proposal, joiner) for proposal in EXTERNAL_FAULTS[rule]]
    with breaks(rule):
        check_list(listed, where(alice, None))


def test_an_external_commit_has_one_external_init() -> None:
    (alice,) = party("alice")
    joiner = Sender(SenderType.NEW_MEMBER_COMMIT)
    listed = [ListedProposal(ExternalInit(bytes([n])), joiner) for n in range(2)]
    with breaks("external-commit-init"):
        check_list(listed, where(alice, None))


def test_an_external_commit_names_no_proposal_by_reference() -> None:
    (alice,) = party("alice")
    from pli_protocol.mls import ProposalRef

    joiner = Sender(SenderType.NEW_MEMBER_COMMIT)
    listed = [ListedProposal(ExternalInit(b""), joiner, ProposalRef(bytes(32)))]
    with breaks("external-commit-reference"):
        check_list(listed, where(alice, None))


def test_a_joiner_may_remove_nobody_but_its_former_self() -> None:
    alice, bob = party("alice", "bob")
    mallory = Member("mallory")
    with patch("pli_protocol.mls.external_join.former_leaf", return_value=1):
        message = mallory.join_external(alice.group.group_info(), resync=True)
    for member in (alice, bob):
        with refused(member, "credential-successor"):
            member.process(message)


def test_removes_are_preferred_to_updates_and_later_updates_to_earlier_ones() -> None:
    alice, _bob, _carol = party("alice", "bob", "carol")
    leaf = alice.group.tree.leaf(1)
    assert leaf is not None
    first, second = Update(leaf), Update(replace(leaf, encryption_key=bytes(32)))
    bob = member_sender(1)
    updates = [ListedProposal(first, bob), ListedProposal(second, bob)]
    assert choose_pending([], updates, where(alice)) == (updates[1],)
    removal = ListedProposal(Remove(1), member_sender(2))
    assert choose_pending([], [*updates, removal], where(alice)) == (removal,)


def test_a_reinit_is_left_for_later_when_there_is_anything_else() -> None:
    alice, _bob, _carol = party("alice", "bob", "carol")
    bob = member_sender(1)
    reinit, removal = (
        ListedProposal(ReInit(b"new", 1, 3), bob),
        ListedProposal(Remove(2), bob),
    )
    assert choose_pending([], [reinit, removal], where(alice)) == (removal,)
    assert choose_pending([], [reinit], where(alice)) == (reinit,)


def test_the_list_is_applied_in_the_order_of_the_rfc() -> None:
    alice, _bob, _carol = party("alice", "bob", "carol")
    dave = add(Member("dave"))
    extensions = (Extension(1, b"application"),)
    sender = member_sender(0)
    applied = apply_list(
        [
            ListedProposal(dave, sender),
            ListedProposal(Remove(1), sender),
            ListedProposal(GroupContextExtensions(extensions), sender),
        ],
        where(alice),
    )
    # The Remove comes first, so that the newcomer takes the leaf that it frees.
    assert applied.added == ((1, dave.key_package),)
    assert [member.leaf for member in applied.removed] == [1]
    assert applied.extensions == extensions
    assert applied.path_required


@pytest.mark.parametrize(
    ("proposals", "required"),
    [
        ([], True),
        ([Remove(1)], True),
        ([GroupContextExtensions(())], True),
        ([ReInit(b"new", 1, 3)], False),
        ([PreSharedKey(PreSharedKeyID.external(b"", b""))], False),
    ],
)
def test_which_commits_require_a_path(proposals: list[Proposal], required: bool) -> None:
    alice, _bob = party("alice", "bob")
    listed = [ListedProposal(proposal, member_sender(0)) for proposal in proposals]
    assert apply_list(listed, where(alice)).path_required is required
