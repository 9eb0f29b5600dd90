"""Stories of small groups, told through the public interface."""

from __future__ import annotations

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    ApplicationReceived,
    CommitReceived,
    Extension,
    GenerationError,
    Group,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    ProposalReceived,
    ReInit,
    Remove,
    Removed,
    ResumptionPSKUsage,
    UnknownGroupError,
    UsageError,
    ValidationError,
    WireFormat,
    WrongEpochError,
)

from .groups import (
    NOW,
    SUITES_TRIED,
    Member,
    add,
    deliver,
    everyone_agrees,
    everyone_can_message_everyone,
    party,
)

WIRES = [WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE]


@pytest.mark.parametrize("number", SUITES_TRIED)
@pytest.mark.parametrize("wire", WIRES)
def test_three_members_join_one_after_the_other(number: int, wire: WireFormat) -> None:
    alice, bob, carol = (Member(name, number) for name in ("alice", "bob", "carol"))
    alice.create()
    add(alice, bob, wire_format=wire)
    everyone_can_message_everyone(alice, bob)
    add(bob, carol, alice, wire_format=wire)
    everyone_can_message_everyone(alice, bob, carol)


def test_a_commit_without_a_path_adds_members() -> None:
    alice, bob = party("alice", "bob")
    carol = Member("carol")
    add(alice, carol, bob, path=False)
    everyone_can_message_everyone(alice, bob, carol)


def test_the_tree_may_come_beside_the_welcome() -> None:
    alice, bob = Member("alice"), Member("bob")
    alice.create()
    package = bob.key_package()
    made = alice.commit(Add(package[0]), tree_in_welcome=False)
    alice.merge(made)
    assert made.welcome is not None
    with pytest.raises(ValidationError) as refused:
        bob.join(made.welcome, package)
    assert refused.value.rule == "tree-missing"
    bob.join(made.welcome, package, tree=made.ratchet_tree)
    everyone_can_message_everyone(alice, bob)


def test_two_commits_at_once_one_wins_and_the_loser_tries_again() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    dave, erin = Member("dave"), Member("erin")
    dave_package, erin_package = dave.key_package(), erin.key_package()
    won = alice.commit(Add(dave_package[0]))
    bob.commit(Add(erin_package[0]))  # made at the same time, and lost

    deliver(won, alice, bob, carol)
    assert won.welcome is not None
    dave.join(won.welcome, dave_package)
    again = bob.commit(Add(erin_package[0]))
    deliver(again, bob, alice, carol, dave)
    assert again.welcome is not None
    erin.join(again.welcome, erin_package)
    everyone_can_message_everyone(alice, bob, carol, dave, erin)


def test_the_commit_that_lost_is_refused_after_the_winner() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    won, lost = alice.commit(), bob.commit()
    deliver(won, alice, bob, carol)
    with pytest.raises(WrongEpochError):
        carol.process(lost.message)
    everyone_can_message_everyone(alice, bob, carol)


def test_the_welcome_of_a_commit_that_lost_leads_nowhere() -> None:
    alice, bob = party("alice", "bob")
    carol = Member("carol")
    package = carol.key_package()
    lost = bob.commit(Add(package[0]))
    deliver(alice.commit(), alice, bob)
    assert lost.welcome is not None
    carol.join(lost.welcome, package)
    assert carol.group.epoch == alice.group.epoch
    assert carol.group.epoch_authenticator != alice.group.epoch_authenticator
    with pytest.raises(ValidationError):
        alice.process(carol.seal(b"into the void"))


def test_messages_received_while_a_commit_waits_stay_used_up_after_the_merge() -> None:
    alice, bob = party("alice", "bob")
    made = alice.commit()
    message = bob.seal(b"in between")
    assert alice.open(message) == b"in between"
    alice.merge(made)
    alice.check_store()
    with pytest.raises(GenerationError):
        alice.process(message)


def test_a_member_leaves_by_proposal() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    proposed = carol.group.propose(Remove(carol.group.own_leaf), random=carol.random)
    carol.keep(proposed.group, proposed.changes)
    for member in (alice, bob):
        assert isinstance(member.process(proposed.message), ProposalReceived)
    made = bob.commit()
    assert [member.credential for member in made.plan.removed] == [carol.credential]
    deliver(made, bob, alice, carol)
    assert not carol.is_member
    everyone_can_message_everyone(alice, bob)


@pytest.mark.parametrize("wire", WIRES)
def test_proposals_of_others_are_committed_by_reference(wire: WireFormat) -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    dave = Member("dave")
    package = dave.key_package()
    for proposed in (
        bob.group.propose(Add(package[0]), wire_format=wire, random=bob.random),
        bob.group.propose_update(wire_format=wire, random=bob.random),
    ):
        # Two proposals from one value: only the second value is kept, its key is the same.
        message = proposed.message
        if proposed.group.proposals[-1].leaf_key is None:
            bob.keep(proposed.group, proposed.changes)
            for member in (alice, carol):
                member.process(message)
    update = bob.group.propose_update(wire_format=wire, random=bob.random)
    bob.keep(update.group, update.changes)
    for member in (alice, carol):
        member.process(update.message)
        member.check_store()
    made = carol.commit(wire_format=wire)
    assert len(made.plan.added) == 1
    assert [member.leaf for member in made.plan.updated] == [bob.group.own_leaf]
    deliver(made, carol, alice, bob)
    assert made.welcome is not None
    dave.join(made.welcome, package)
    everyone_can_message_everyone(alice, bob, carol, dave)


def test_a_removed_member_cannot_read_the_next_epoch() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    before = carol.group
    made = alice.commit(Remove(carol.group.own_leaf))
    alice.merge(made)
    assert isinstance(bob.process(made.message), CommitReceived)
    removed = carol.process(made.message)
    assert isinstance(removed, Removed)
    assert removed.sender.credential == alice.credential
    secret = alice.seal(b"without carol")
    with pytest.raises(WrongEpochError):
        before.process(secret, identity=ACCEPT_BASIC, now=NOW)
    assert bob.open(secret) == b"without carol"
    everyone_can_message_everyone(alice, bob)


def test_a_member_that_was_removed_can_come_back() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    deliver(alice.commit(Remove(carol.group.own_leaf)), alice, bob, carol)
    add(bob, carol, alice)
    everyone_can_message_everyone(alice, bob, carol)


def test_remove_and_add_of_the_same_person_in_one_commit() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    package = carol.key_package()
    made = alice.commit(Remove(carol.group.own_leaf), Add(package[0]))
    deliver(made, alice, bob)
    assert made.welcome is not None
    carol.join(made.welcome, package)
    everyone_can_message_everyone(alice, bob, carol)


def test_messages_out_of_order_are_opened_once_each() -> None:
    alice, bob = party("alice", "bob")
    messages = [alice.seal(b"%d" % n) for n in range(66)]
    assert bob.open(messages[-1]) == b"65"
    bob.check_store()
    for n in reversed(range(65)):
        assert bob.open(messages[n]) == b"%d" % n
    bob.check_store()
    for message in messages:
        with pytest.raises(GenerationError):
            bob.process(message)


def test_an_older_message_is_opened_after_sixty_four_later_ones() -> None:
    alice, bob = party("alice", "bob")
    first = alice.seal(b"first")
    for n in range(64):
        assert bob.open(alice.seal(b"%d" % n)) == b"%d" % n
    assert bob.open(first) == b"first"
    bob.check_store()


def test_messages_of_the_last_five_epochs_are_opened_and_no_older_ones() -> None:
    alice, bob = party("alice", "bob")
    late = [alice.seal(b"epoch 1")]
    for epoch in range(2, 8):
        deliver(bob.commit(), bob, alice)
        late.append(alice.seal(b"epoch %d" % epoch))
    with pytest.raises(WrongEpochError):
        bob.process(late[0])
    for epoch in range(2, 8):
        outcome = bob.process(late[epoch - 1])
        assert outcome.epoch == epoch
        assert outcome.data == b"epoch %d" % epoch
        bob.check_store()
        with pytest.raises(GenerationError):
            bob.process(late[epoch - 1])


def test_a_late_message_of_a_member_removed_since_is_opened() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    late = carol.seal(b"my last words")
    deliver(alice.commit(Remove(carol.group.own_leaf)), alice, bob, carol)
    # Somebody else takes the leaf.
    dave = Member("dave")
    add(alice, dave, bob)
    outcome = bob.process(late)
    assert isinstance(outcome, ApplicationReceived)
    assert outcome.data == b"my last words"
    assert outcome.sender.credential == carol.credential
    restored = Group.from_entries(alice.stored, alice.signer)
    outcome = restored.process(late, identity=ACCEPT_BASIC, now=NOW)
    assert isinstance(outcome, ApplicationReceived)
    assert outcome.sender.credential == carol.credential


def test_past_epochs_can_be_forgotten_earlier() -> None:
    alice, bob = party("alice", "bob")
    late = alice.seal(b"late")
    deliver(alice.commit(), alice, bob)
    forgotten = bob.group.forget_past()
    bob.keep(forgotten.group, forgotten.changes)
    bob.check_store()
    with pytest.raises(WrongEpochError):
        bob.process(late)


def test_an_external_commit_lets_a_newcomer_in() -> None:
    alice, bob = party("alice", "bob")
    carol = Member("carol")
    commit = carol.join_external(alice.group.group_info())
    for member in (alice, bob):
        outcome = member.process(commit)
        assert isinstance(outcome, CommitReceived)
        assert outcome.external
        assert [added.credential for added in outcome.added] == [carol.credential]
    everyone_can_message_everyone(alice, bob, carol)


def test_an_external_commit_with_the_tree_beside_it() -> None:
    alice, bob = party("alice", "bob")
    carol = Member("carol")
    info = alice.group.group_info(tree=False)
    with pytest.raises(ValidationError) as refused:
        carol.join_external(info)
    assert refused.value.rule == "tree-missing"
    from pli_protocol.mls import encode

    commit = carol.join_external(info, tree=encode(alice.group.tree))
    for member in (alice, bob):
        member.process(commit)
    everyone_can_message_everyone(alice, bob, carol)


def test_a_member_that_lost_its_state_comes_back_by_resync() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    old_leaf = carol.group.own_leaf
    commit = carol.join_external(bob.group.group_info(), resync=True)
    for member in (alice, bob):
        outcome = member.process(commit)
        assert isinstance(outcome, CommitReceived)
        assert [gone.leaf for gone in outcome.removed] == [old_leaf]
    assert len(alice.group.members()) == 3
    everyone_can_message_everyone(alice, bob, carol)


def test_an_external_commit_needs_the_external_key() -> None:
    (alice,) = party("alice")
    with pytest.raises(ValidationError) as refused:
        Member("bob").join_external(alice.group.group_info(external_pub=False))
    assert refused.value.rule == "external-pub-missing"


def test_an_external_pre_shared_key_goes_into_the_next_epoch() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    psk = PreSharedKeyID.external(b"door", alice.random(32))
    alice.psks[b"door"] = bob.psks[b"door"] = b"sesame"
    made = alice.commit(PreSharedKey(psk))
    deliver(made, alice, bob)
    with pytest.raises(ValidationError) as refused:
        carol.process(made.message)
    assert refused.value.rule == "psk-unknown"
    carol.psks[b"door"] = b"wrong"
    with pytest.raises(ValidationError) as refused:
        carol.process(made.message)
    assert refused.value.rule == "confirmation-tag"
    carol.psks[b"door"] = b"sesame"
    assert isinstance(carol.process(made.message), CommitReceived)
    everyone_can_message_everyone(alice, bob, carol)


def test_a_newcomer_needs_the_pre_shared_key_too() -> None:
    alice, bob = party("alice", "bob")
    carol = Member("carol")
    for member in (alice, bob):
        member.psks[b"door"] = b"sesame"
    package = carol.key_package()
    psk = PreSharedKey(PreSharedKeyID.external(b"door", alice.random(32)))
    made = alice.commit(psk, Add(package[0]))
    deliver(made, alice, bob)
    assert made.welcome is not None
    with pytest.raises(ValidationError) as refused:
        carol.join(made.welcome, package)
    assert refused.value.rule == "psk-unknown"
    carol.psks[b"door"] = b"sesame"
    carol.join(made.welcome, package)
    everyone_can_message_everyone(alice, bob, carol)


def test_the_resumption_secret_of_a_past_epoch_is_known_to_those_who_were_there() -> None:
    alice, bob = party("alice", "bob")
    epoch = alice.group.epoch
    carol = Member("carol")
    add(alice, carol, bob)
    psk = PreSharedKeyID.resumption(
        ResumptionPSKUsage.APPLICATION, alice.group.group_id, epoch, alice.random(32)
    )
    made = alice.commit(PreSharedKey(psk))
    deliver(made, alice, bob)
    with pytest.raises(ValidationError) as refused:
        carol.process(made.message)
    assert refused.value.rule == "psk-unknown"
    everyone_agrees(alice, bob)


def test_a_reinit_closes_the_group() -> None:
    alice, bob = party("alice", "bob")
    made = alice.commit(ReInit(b"successor", 1, 1))
    deliver(made, alice, bob)
    for member in (alice, bob):
        assert member.group.reinit == ReInit(b"successor", 1, 1)
        member.check_store()
        with pytest.raises(UsageError):
            member.group.seal(b"too late")
        with pytest.raises(UsageError):
            member.group.propose(Remove(0))
        with pytest.raises(UsageError):
            member.group.commit(identity=ACCEPT_BASIC, now=NOW)


def test_the_group_context_extensions_change_for_all() -> None:
    alice, bob = party("alice", "bob")
    made = alice.commit(GroupContextExtensions(()))
    deliver(made, alice, bob)
    everyone_can_message_everyone(alice, bob)
    unknown = GroupContextExtensions((Extension(0xF123, b"nobody knows it"),))
    with pytest.raises(ValidationError) as refused:
        alice.commit(unknown)
    assert refused.value.rule == "extension-unsupported"


def test_a_new_signature_key_comes_with_a_commit() -> None:
    alice, bob = party("alice", "bob")
    alice.signer = alice.suite.generate_signature_key(alice.random)
    deliver(alice.commit(signer=alice.signer), alice, bob)
    assert bob.group.members()[0].signature_key == alice.signer.public
    everyone_can_message_everyone(alice, bob)


def test_members_come_and_go_until_the_tree_is_wide_and_narrow_again() -> None:
    members = party("m0")
    for n in range(1, 18):
        new = Member(f"m{n}")
        add(members[n // 2], new, *(m for i, m in enumerate(members) if i != n // 2))
        members.append(new)
    everyone_agrees(*members)
    while len(members) > 2:
        leaving = members.pop()
        deliver(members[0].commit(Remove(leaving.group.own_leaf)), *members, leaving)
        assert not leaving.is_member
        everyone_agrees(*members)
    everyone_can_message_everyone(*members)


def test_a_message_of_another_group_is_told_apart() -> None:
    alice, bob = party("alice", "bob")
    carol, dave = party("carol", "dave", group_id=b"other")
    with pytest.raises(UnknownGroupError):
        alice.process(carol.seal(b"not for you"))
    assert dave.group.group_id == b"other"
    assert bob.group.group_id == b"group"


def test_the_committer_keeps_its_old_value() -> None:
    alice, bob = party("alice", "bob")
    made = alice.commit()
    assert alice.group.epoch + 1 == made.group.epoch
    assert bob.open(alice.seal(b"still here")) == b"still here"
    assert alice.open(bob.seal(b"me too")) == b"me too"
