"""A state machine over small groups: anybody does anything, messages are late, lost or damaged.

A log in the middle orders commits, one per epoch, as a relay does. After every step all members
have the same epoch, authenticator and members, and what each stored by changes is its whole group.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pli_protocol.mls import (
    Add,
    CommitReceived,
    Committed,
    Group,
    PreSharedKey,
    PreSharedKeyID,
    ProposalReceived,
    Remove,
    Removed,
    WireFormat,
)

from .groups import Member, refused

MOST = 6
wires = st.sampled_from([WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE])
picks = st.integers(0, 1000)


@dataclass
class Late:
    """A message on its way to some members."""

    epoch: int
    sender: bytes
    message: bytes
    text: bytes
    to: list[Member]


class Groups(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.members: list[Member] = []
        self.late: list[Late] = []
        self.count = 0

    @initialize(number=st.sampled_from([1, 3]))
    def create(self, number: int) -> None:
        self.number = number
        founder = self.newcomer()
        founder.create()
        self.members = [founder]

    def newcomer(self) -> Member:
        self.count += 1
        return Member(f"member {self.count}", self.number)

    def pick(self, number: int) -> Member:
        return self.members[number % len(self.members)]

    # Messages

    @rule(who=picks, text=st.binary(max_size=20), padding=st.integers(0, 100))
    def send(self, who: int, text: bytes, padding: int) -> None:
        sender = self.pick(who)
        message = sender.seal(text, padding=padding)
        for member in self.others(sender):
            assert member.open(message) == text

    @rule(who=picks, text=st.binary(max_size=20), lost=st.booleans())
    def send_and_deliver_later(self, who: int, text: bytes, lost: bool) -> None:
        sender = self.pick(who)
        message = sender.seal(text)
        to = [] if lost else self.others(sender)
        self.late.append(Late(sender.group.epoch, sender.credential.identity, message, text, to))

    @rule(which=st.randoms(use_true_random=False))
    def deliver_late_messages(self, which: object) -> None:
        which.shuffle(self.late)  # type: ignore[attr-defined]
        for late in self.late:
            for member in late.to:
                if member not in self.members:
                    continue
                if member.group.epoch > late.epoch + 5:
                    with refused(member, "epoch-wrong"):
                        member.process(late.message)
                    continue
                outcome = member.process(late.message)
                assert (outcome.data, outcome.epoch) == (late.text, late.epoch)
                assert outcome.sender.credential.identity == late.sender
                with refused(member, "generation-used"):
                    member.process(late.message)
        self.late.clear()

    @precondition(lambda self: len(self.members) > 1)
    @rule(who=picks, where=picks, bit=st.integers(0, 7))
    def a_damaged_message_changes_nothing(self, who: int, where: int, bit: int) -> None:
        sender = self.pick(who)
        message = bytearray(sender.seal(b"damaged on its way"))
        message[where % len(message)] ^= 1 << bit
        for member in self.others(sender):
            with refused(member):
                member.process(bytes(message))

    # Commits

    @precondition(lambda self: len(self.members) < MOST)
    @rule(who=picks, wire=wires, path=st.booleans(), more=st.booleans())
    def add(self, who: int, wire: WireFormat, path: bool, more: bool) -> None:
        committer = self.pick(who)
        new = [self.newcomer() for _ in range(1 + more)]
        packages = [member.key_package() for member in new]
        # Proposals that wait may need the path.
        wanted = path or bool(committer.group.proposals)
        made = committer.commit(
            *(Add(package) for package, _ in packages), wire_format=wire, path=wanted
        )
        self.won(committer, made)
        assert made.welcome is not None
        for member, package in zip(new, packages, strict=True):
            member.join(made.welcome, package)
            self.members.append(member)

    @precondition(lambda self: len(self.members) > 2)
    @rule(who=picks, whom=picks, wire=wires)
    def remove(self, who: int, whom: int, wire: WireFormat) -> None:
        committer, gone = self.pick(who), self.pick(whom)
        if committer is gone:
            return
        self.won(committer, committer.commit(Remove(gone.group.own_leaf), wire_format=wire))
        assert not gone.is_member

    @rule(who=picks, wire=wires)
    def commit(self, who: int, wire: WireFormat) -> None:
        committer = self.pick(who)
        self.won(committer, committer.commit(wire_format=wire))

    @precondition(lambda self: len(self.members) > 1)
    @rule(who=picks, whose=picks, wire=wires)
    def two_commits_at_once(self, who: int, whose: int, wire: WireFormat) -> None:
        winner, loser = self.pick(who), self.pick(whose)
        if winner is loser:
            return
        lost = loser.commit(wire_format=wire)
        self.won(winner, winner.commit(wire_format=wire))
        for member in self.others(loser):
            with refused(member, "epoch-wrong"):
                member.process(lost.message)
        if loser in self.members:
            self.won(loser, loser.commit(wire_format=wire))

    @rule(who=picks)
    def mix_in_a_pre_shared_key(self, who: int) -> None:
        committer = self.pick(who)
        psk_id, psk = committer.random(8), committer.random(32)
        for member in self.members:
            member.psks[psk_id] = psk
        nonce = committer.random(committer.suite.hash_size)
        proposal = PreSharedKey(PreSharedKeyID.external(psk_id, nonce))
        self.won(committer, committer.commit(proposal))

    # Proposals: they wait until somebody commits

    @rule(who=picks, wire=wires)
    def propose_update(self, who: int, wire: WireFormat) -> None:
        proposer = self.pick(who)
        made = proposer.group.propose_update(wire_format=wire, random=proposer.random)
        proposer.keep(made.group, made.changes)
        self.hear(proposer, made.message)

    @precondition(lambda self: len(self.members) > 2)
    @rule(who=picks, whom=picks, wire=wires)
    def propose_remove(self, who: int, whom: int, wire: WireFormat) -> None:
        proposer, gone = self.pick(who), self.pick(whom)
        made = proposer.group.propose(
            Remove(gone.group.own_leaf), wire_format=wire, random=proposer.random
        )
        proposer.keep(made.group, made.changes)
        self.hear(proposer, made.message)

    def hear(self, proposer: Member, message: bytes) -> None:
        for member in self.others(proposer):
            assert isinstance(member.process(message), ProposalReceived)

    # From outside

    @precondition(lambda self: len(self.members) < MOST)
    @rule(who=picks)
    def external_join(self, who: int) -> None:
        new = self.newcomer()
        message = new.join_external(self.pick(who).group.group_info())
        self.entered(new, message)
        self.members.append(new)

    @precondition(lambda self: len(self.members) > 1)
    @rule(who=picks, whom=picks)
    def resync(self, who: int, whom: int) -> None:
        helper, lost = self.pick(who), self.pick(whom)
        if helper is lost:
            return
        info = helper.group.group_info()
        for late in self.late:
            late.to = [member for member in late.to if member is not lost]
        self.entered(lost, lost.join_external(info, resync=True))

    def entered(self, new: Member, message: bytes) -> None:
        for member in self.others(new):
            outcome = member.process(message)
            assert isinstance(outcome, CommitReceived)
            assert outcome.external

    # The log

    def others(self, but: Member) -> list[Member]:
        return [member for member in self.members if member is not but]

    def won(self, committer: Member, made: Committed) -> None:
        for member in self.others(committer):
            outcome = member.process(made.message)
            if isinstance(outcome, Removed):
                self.members.remove(member)
            else:
                assert isinstance(outcome, CommitReceived)
                assert outcome.added == made.plan.added
                assert outcome.removed == made.plan.removed
                assert outcome.updated == made.plan.updated
                assert outcome.signed == made.signed
        committer.merge(made)

    @invariant()
    def all_agree(self) -> None:
        if not self.members:
            return
        first = self.members[0].group
        for member in self.members:
            group = member.group
            assert group.context == first.context
            assert group.epoch_authenticator == first.epoch_authenticator
            assert group.members() == first.members()
            member.check_store()
        names = {member.credential for member in first.members()}
        assert names == {member.credential for member in self.members}

    @precondition(lambda self: self.members)
    @rule(who=picks, keep=st.integers(0, 5))
    def forget_past_epochs(self, who: int, keep: int) -> None:
        member = self.pick(who)
        forgotten = member.group.forget_past(keep)
        member.keep(forgotten.group, forgotten.changes)
        oldest = member.group.epoch - len(member.group.past)
        for late in self.late:
            if late.epoch < oldest and member in late.to:
                late.to.remove(member)

    @precondition(lambda self: self.members)
    @rule(who=picks)
    def start_again_from_the_store(self, who: int) -> None:
        member = self.pick(who)
        member.keep(Group.from_entries(member.stored, member.signer), {})


TestGroups = Groups.TestCase
TestGroups.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
