"""A state machine over groups of up to twenty: anybody does anything, in any order.

A log in the middle orders commits, one per epoch, as a relay does. Messages are late, lost, overtaken,
repeated or damaged; members leave, come back and start again from their stores. After each epoch all
members are compared, and after each step what is stored by changes is the whole group. Whatever is
refused leaves value and store as they were.

PLI_MACHINE_EXAMPLES (40) says how many runs there are, PLI_MACHINE_STEPS (40) how long each is.
"""

from __future__ import annotations

import os
import random as random_module

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pli_protocol.mls import (
    SUITES,
    Add,
    Extension,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ReInit,
    Remove,
    ResumptionPSKUsage,
    WireFormat,
    encode,
    peek,
    propose_from_outside,
    propose_own_add,
    suite,
)

from .group_log import Log, Participant, outside, view
from .groups import Member, refused

MOST = 20
PUBLIC = WireFormat.PUBLIC_MESSAGE
wires = st.sampled_from([PUBLIC, WireFormat.PRIVATE_MESSAGE])
picks = st.integers(0, 1000)
lost = st.none() | picks
texts = st.binary(max_size=20)


def several(least: int = 2) -> object:
    """When there are at least so many members."""
    return precondition(lambda self: len(self.log.members) >= least)


def room(for_many: int = 1) -> object:
    return precondition(lambda self: self.log.size + for_many <= MOST)


class Groups(RuleBasedStateMachine):
    log: Log

    @initialize(
        number=st.sampled_from(sorted(SUITES)), size=st.integers(0, 12), seed=st.integers(0, 2**16)
    )
    def create(self, number: int, size: int, seed: int) -> None:
        self.log = Log(number, seed)
        founder = self.log.members[0]
        if size:
            adds = [self.log.invite(self.log.newcomer()) for _ in range(size)]
            self.log.won(founder, founder.commit(*adds))

    # --- application messages ---

    @rule(who=picks, text=texts, padding=st.integers(0, 100))
    def send(self, who: int, text: bytes, padding: int) -> None:
        sender = self.log.pick(who)
        late = self.log.send(sender, text, self.log.others(sender), padding=padding)
        self.log.deliver(late)

    @rule(who=st.lists(picks, min_size=1, max_size=8), text=texts, some=st.integers(0, 3))
    def send_and_deliver_later_or_never(self, who: list[int], text: bytes, some: int) -> None:
        for sender in map(self.log.pick, who):
            others = self.log.others(sender)
            self.log.send(sender, text, [one for at, one in enumerate(others) if (at + some) % 4])

    @precondition(lambda self: self.log.late)
    @rule(order=st.integers(0, 2**16), share=st.integers(1, 3))
    def deliver_late_messages_in_any_order(self, order: int, share: int) -> None:
        waiting = list(self.log.late)
        random_module.Random(order).shuffle(waiting)
        for late in waiting[:: share if len(waiting) < 12 else 1]:
            self.log.deliver(late)

    @several()
    @rule(who=picks, where=picks, bit=st.integers(0, 7))
    def a_damaged_message_changes_nothing(self, who: int, where: int, bit: int) -> None:
        sender = self.log.pick(who)
        message = bytearray(sender.seal(b"damaged on its way"))
        message[where % len(message)] ^= 1 << bit
        for member in self.log.others(sender)[:3]:
            with refused(member):
                member.process(bytes(message))

    @rule(who=picks)
    def what_is_over_is_refused(self, who: int) -> None:
        """Commits and proposals that were processed, again."""
        member = self.log.pick(who)
        for message in self.log.old:
            if message_epoch(message) < member.group.epoch:
                with refused(member, "epoch-wrong"):
                    member.process(message)

    # --- commits ---

    @room()
    @rule(who=picks, wire=wires, path=st.booleans(), more=st.integers(1, 5), tree=st.booleans())
    def add(self, who: int, wire: WireFormat, path: bool, more: int, tree: bool) -> None:
        log, committer = self.log, self.log.pick(who)
        more = min(more, MOST - log.size)
        adds = [log.invite(log.newcomer()) for _ in range(more)]
        # Proposals that wait may need the path.
        wanted = path or bool(committer.group.proposals)
        made = committer.commit(*adds, wire_format=wire, path=wanted, tree_in_welcome=tree)
        log.won(committer, made)

    @precondition(lambda self: self.log.gone)
    @room()
    @rule(who=picks, whom=picks, wire=wires)
    def add_somebody_who_left(self, who: int, whom: int, wire: WireFormat) -> None:
        log, committer = self.log, self.log.pick(who)
        back = log.gone[whom % len(log.gone)]
        if back.name.encode() not in log.invited:
            log.won(committer, committer.commit(log.invite(back), wire_format=wire))

    @several()
    @rule(who=picks, whom=st.sets(picks, min_size=1, max_size=6), wire=wires)
    def remove(self, who: int, whom: set[int], wire: WireFormat) -> None:
        committer = self.log.pick(who)
        leaves = {self.log.pick(one).group.own_leaf for one in whom} - {committer.group.own_leaf}
        if not leaves:
            return
        gone = [member for member in self.log.members if member.group.own_leaf in leaves]
        made = committer.commit(*map(Remove, sorted(leaves)), wire_format=wire)
        self.log.won(committer, made)
        assert not any(member.is_member for member in gone)

    @several()
    @room()
    @rule(who=picks, whom=picks, wire=wires)
    def replace_somebody(self, who: int, whom: int, wire: WireFormat) -> None:
        """Remove and add the same client in one commit, as who lost its state is let in again."""
        log, committer, back = self.log, self.log.pick(who), self.log.pick(whom)
        if committer is back:
            return
        removal = Remove(back.group.own_leaf)
        log.won(committer, committer.commit(removal, log.invite(back), wire_format=wire))
        assert back in log.members

    @rule(who=picks, wire=wires, restart=st.booleans(), rekey=st.booleans(), busy=st.booleans())
    def commit(self, who: int, wire: WireFormat, restart: bool, rekey: bool, busy: bool) -> None:
        log, committer = self.log, self.log.pick(who)
        signer = committer.suite.generate_signature_key(committer.random) if rekey else None
        made = committer.commit(wire_format=wire, signer=signer)
        if busy:
            # Messages go both ways while the commit is under way.
            for sender in (committer, *log.others(committer)[:2]):
                log.deliver(log.send(sender, b"meanwhile", log.others(sender)))
        log.won(committer, made, restarted=restart)

    @several()
    @rule(who=picks, whose=picks, wire=wires, other=wires)
    def two_commits_at_once(
        self, who: int, whose: int, wire: WireFormat, other: WireFormat
    ) -> None:
        log, winner, loser = self.log, self.log.pick(who), self.log.pick(whose)
        if winner is loser:
            return
        dropped = loser.commit(wire_format=other)
        log.won(winner, winner.commit(wire_format=wire))
        for member in log.others(loser)[:4]:
            with refused(member, "epoch-wrong"):
                member.process(dropped.message)
        if loser in log.members:
            log.won(loser, loser.commit(wire_format=other))

    @rule(who=picks, kind=st.sampled_from(["external", "resumption"]), back=st.integers(0, 5))
    def mix_in_a_pre_shared_key(self, who: int, kind: str, back: int) -> None:
        committer = self.log.pick(who)
        proposal = self.pre_shared_key(committer, back if kind == "resumption" else None)
        self.log.won(committer, committer.commit(proposal))

    @rule(
        who=picks,
        wire=wires,
        senders=st.booleans(),
        required=st.booleans(),
        special=st.none() | texts,
    )
    def change_the_extensions(
        self, who: int, wire: WireFormat, senders: bool, required: bool, special: bytes | None
    ) -> None:
        committer = self.log.pick(who)
        listed = self.log.extensions(senders=senders, required=required, special=special)
        made = committer.commit(
            GroupContextExtensions(listed), wire_format=wire, include_pending=False
        )
        self.log.won(committer, made)
        assert committer.group.context.extensions == listed

    # --- proposals: they wait until somebody commits ---

    def pre_shared_key(self, by: Participant, back: int | None) -> PreSharedKey:
        """A key that everybody has: an outer one, or the secret of an epoch of this group."""
        nonce = by.random(by.suite.hash_size)
        if back is None:
            psk_id, psk = by.random(8), by.random(32)
            self.log.psks[psk_id] = psk
            return PreSharedKey(PreSharedKeyID.external(psk_id, nonce))
        # The epoch that founded a successor or branch was its founder's alone: it is not compared.
        group_id = by.group.group_id
        epoch = max(self.log.epoch - back, min(e for g, e in self.log.resumptions if g == group_id))
        usage = ResumptionPSKUsage.APPLICATION
        return PreSharedKey(PreSharedKeyID.resumption(usage, group_id, epoch, nonce))

    @rule(who=picks, wire=wires, lost_by=lost)
    def propose_update(self, who: int, wire: WireFormat, lost_by: int | None) -> None:
        proposer = self.log.pick(who)
        made = proposer.group.propose_update(wire_format=wire, random=proposer.random)
        proposer.keep(made.group, made.changes)
        self.log.proposed(made.message, proposer, lost_by)

    def propose(self, who: int, proposal: Proposal, wire: WireFormat, lost_by: int | None) -> None:
        proposer = self.log.pick(who)
        made = proposer.group.propose(
            proposal, wire_format=wire, random=proposer.random, **outside()
        )
        proposer.keep(made.group, made.changes)
        self.log.proposed(made.message, proposer, lost_by)

    @rule(who=picks, whom=picks, wire=wires, lost_by=lost)
    def propose_remove(self, who: int, whom: int, wire: WireFormat, lost_by: int | None) -> None:
        self.propose(who, Remove(self.log.pick(whom).group.own_leaf), wire, lost_by)

    @room()
    @precondition(lambda self: len(self.log.invited) < 4)
    @rule(who=picks, wire=wires, lost_by=lost)
    def propose_add(self, who: int, wire: WireFormat, lost_by: int | None) -> None:
        self.propose(who, self.log.invite(self.log.newcomer()), wire, lost_by)

    @rule(who=picks, wire=wires, back=st.none() | st.integers(0, 5), lost_by=lost)
    def propose_pre_shared_key(
        self, who: int, wire: WireFormat, back: int | None, lost_by: int | None
    ) -> None:
        self.propose(who, self.pre_shared_key(self.log.pick(who), back), wire, lost_by)

    @rule(who=picks, wire=wires, senders=st.booleans(), special=st.none() | texts, lost_by=lost)
    def propose_extensions(
        self,
        who: int,
        wire: WireFormat,
        senders: bool,
        special: bytes | None,
        lost_by: int | None,
    ) -> None:
        listed = self.log.extensions(senders=senders, special=special)
        self.propose(who, GroupContextExtensions(listed), wire, lost_by)

    # --- from outside ---

    @rule(
        kind=st.sampled_from(["add", "remove", "psk", "extensions"]),
        whom=picks,
        lost_by=lost,
    )
    def propose_from_outside(self, kind: str, whom: int, lost_by: int | None) -> None:
        log, member = self.log, self.log.pick(whom)
        if kind == "add" and log.size >= MOST:
            return
        proposal: Proposal
        match kind:
            case "add":
                proposal = log.invite(log.newcomer())
            case "remove":
                proposal = Remove(member.group.own_leaf)
            case "psk":
                proposal = self.pre_shared_key(member, None)
            case _:
                proposal = GroupContextExtensions(log.extensions(senders=True, special=b"out"))
        message = propose_from_outside(
            member.suite,
            member.group.group_id,
            log.epoch,
            proposal,
            log.outsider,
            sender_index=0,
        )
        if log.hears_outsider:
            log.proposed(message, None, lost_by)
        else:
            with refused(member, "external-sender-unknown"):
                member.process(message)

    @room()
    @precondition(lambda self: len(self.log.invited) < 4)
    @rule(lost_by=lost)
    def ask_to_be_added(self, lost_by: int | None) -> None:
        log, new = self.log, self.log.newcomer()
        package = log.invite(new).key_package
        group = log.members[0].group
        message = propose_own_add(package, new.signer, group_id=group.group_id, epoch=group.epoch)
        log.proposed(message, None, lost_by)

    @room()
    @rule(who=picks, whom=lost, tree=st.booleans(), psk=st.booleans())
    def external_join(self, who: int, whom: int | None, tree: bool, psk: bool) -> None:
        """A newcomer, or somebody who was removed, comes in by itself."""
        log, helper = self.log, self.log.pick(who)
        new = log.newcomer()
        if whom is not None and log.gone:
            new = log.gone[whom % len(log.gone)]
            log.gone.remove(new)
        log.invited.pop(new.name.encode(), None)
        ids = []
        if psk:
            ids = [helper.random(8)]
            log.psks[ids[0]] = b"door"
        beside = None if tree else encode(helper.group.tree)
        info = helper.group.group_info(tree=tree, random=helper.random)
        log.entered(new, new.join_external(info, tree=beside, psk_ids=ids))

    @several()
    @rule(who=picks, whom=picks)
    def resync(self, who: int, whom: int) -> None:
        helper, back = self.log.pick(who), self.log.pick(whom)
        if helper is not back:
            info = helper.group.group_info(random=helper.random)
            self.log.entered(back, back.join_external(info, resync=True))

    # --- what must fail ---

    @rule(who=picks, whom=picks, wire=wires)
    def a_bad_commit_is_not_made(self, who: int, whom: int, wire: WireFormat) -> None:
        member, other = self.log.pick(who), self.log.pick(whom)
        group = member.group
        known = PreSharedKey(
            PreSharedKeyID.external(b"nobody has it", bytes(group.suite.hash_size))
        )
        stranger = Member("stranger", group.suite.number)
        bad: list[tuple[Proposal, ...]] = [
            (Remove(group.own_leaf),),
            (Remove(2**20),),
            (Add(other.key_package()[0]),),
            (known,),
            (GroupContextExtensions((Extension(0xF123, b"nobody knows it"),)),),
            (GroupContextExtensions(()), GroupContextExtensions(())),
            (Add(stranger.key_package()[0]),) * 2,
            (ReInit(b"next", 1, group.suite.number), Remove(other.group.own_leaf)),
        ]
        for proposals in bad:
            with refused(member):
                member.commit(*proposals, wire_format=wire, include_pending=False)

    @several()
    @rule(who=picks, whom=picks)
    def what_is_not_for_members_is_refused(self, who: int, whom: int) -> None:
        """Own messages, GroupInfos, Welcomes, key packages, messages of another group."""
        member, other = self.log.pick(who), self.log.pick(whom)
        own = member.seal(b"own")
        stranger = Member("stranger", member.suite.number)
        stranger.create(b"another group")
        with refused(member):
            member.process(own)
        with refused(member, "message-kind"):
            member.process(other.group.group_info())
        with refused(member, "group-unknown"):
            member.process(stranger.seal(b"elsewhere"))

    # --- other groups of the same people ---

    @several()
    @rule(who=picks, some=st.sets(picks, max_size=5))
    def branch(self, who: int, some: set[int]) -> None:
        """A few of the members make a group of their own."""
        maker = self.log.pick(who)
        rest = {id(one): one for one in map(self.log.pick, some) if one is not maker}
        if rest:
            self.successor(
                maker, list(rest.values()), ResumptionPSKUsage.BRANCH, maker.suite.number
            )

    @rule(who=picks, wire=wires, number=st.sampled_from(sorted(SUITES)), special=texts)
    def reinit(self, who: int, wire: WireFormat, number: int, special: bytes) -> None:
        """The group is closed; everybody goes on in its successor, in another suite perhaps."""
        log, closer = self.log, self.log.pick(who)
        log.groups += 1
        group_id = b"successor %d" % log.groups
        listed = log.extensions(senders=True, special=special)
        made = closer.commit(
            ReInit(group_id, 1, number, listed), wire_format=wire, include_pending=False
        )
        log.won(closer, made)
        for member in log.members:
            with refused(member):
                member.seal(b"too late")
        usage = ResumptionPSKUsage.REINIT
        log.members = self.successor(closer, log.others(closer), usage, number, group_id, listed)
        log.number = number
        log.late.clear()
        log.old.clear()
        for gone in log.gone:
            gone.suite = suite(number)

    def successor(
        self,
        maker: Participant,
        rest: list[Participant],
        usage: ResumptionPSKUsage,
        number: int,
        group_id: bytes = b"branch",
        extensions: tuple[Extension, ...] = (),
    ) -> list[Participant]:
        """A group that continues this one, with its members; their old values stay."""
        old = maker.group
        people = []
        for member in (maker, *rest):
            again = self.log.participant(member.name, number, member.random(4).hex())
            again.signer = member.signer
            people.append(again)
        founder = people[0]
        founder.create(group_id, extensions=extensions)
        packages = [member.key_package() for member in people[1:]]
        nonce = founder.random(founder.suite.hash_size)
        psk = PreSharedKey(PreSharedKeyID.resumption(usage, old.group_id, old.epoch, nonce))
        made = founder.commit(psk, *(Add(package) for package, _ in packages), predecessor=old)
        founder.merge(made)
        for member, before, package in zip(people[1:], rest, packages, strict=True):
            assert made.welcome is not None
            member.join(made.welcome, package, predecessor=before.group)
            member.check_store()
        for member in people:
            member.oldest = member.group.epoch
            assert view(member.group) == view(founder.group)
        return people

    # --- one's own store ---

    @rule(who=picks, keep=st.integers(0, 5))
    def forget_past_epochs(self, who: int, keep: int) -> None:
        member = self.log.pick(who)
        forgotten = member.group.forget_past(keep)
        member.keep(forgotten.group, forgotten.changes)
        member.oldest = max(member.oldest, member.group.epoch - keep)

    @rule(who=picks)
    def start_again_from_the_store(self, who: int) -> None:
        member = self.log.pick(who)
        before = member.group
        member.restart()
        assert member.group == before

    # --- what always holds ---

    @invariant()
    def all_agree(self) -> None:
        if hasattr(self, "log"):
            self.log.compare()
            assert 1 <= len(self.log.members) <= MOST


def message_epoch(message: bytes) -> int:
    epoch = peek(message).epoch
    assert epoch is not None
    return epoch


TestGroups = pytest.mark.timeout(1800)(Groups.TestCase)
TestGroups.settings = settings(
    max_examples=int(os.environ.get("PLI_MACHINE_EXAMPLES", "40")),
    stateful_step_count=int(os.environ.get("PLI_MACHINE_STEPS", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
