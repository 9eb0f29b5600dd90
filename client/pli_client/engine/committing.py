"""Commits of ours: when one is due, how it is made, how it becomes the next epoch.

A commit is stored with its Welcome and the next epoch's state before it is sent, and merged only
when it comes back in the log. While it is pending, messages wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pli_protocol.content import Info
from pli_protocol.identity import Device
from pli_protocol.identity.chain import CLOCK_TOLERANCE
from pli_protocol.mls.errors import MLSError
from pli_protocol.mls.group import Group
from pli_protocol.mls.outcome import Committed
from pli_protocol.mls.proposal import Add, Proposal, Remove
from pli_protocol.relay.log import RosterChange

from ..store import conversations, groups, mls_state, outbox, people, repair
from . import candidates, history
from .candidates import as_list
from .commit_checks import plan_data
from .decisions import Reasons, commit_now, lowest_active
from .parting import parting
from .profile import RENEWED_AFTER, SUITE, ProfileError, padding
from .sending import queue
from .work import Work

MAX_ATTEMPTS: Final = 20
"""Commits that may lose the race, or fail, before what was wanted is given up visibly."""


class CommitIntent(msgspec.Struct, frozen=True):
    """What a pending commit is for."""

    intents: tuple[int, ...] = ()
    inform: bool = False
    renews: bool = False
    beside: bool = False
    """A group re-founded where the relay's one place of successor was taken wrongly."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a group wants of us now."""

    commit: bool
    """A commit should be made now."""
    look_again: float | None
    """Unix seconds at which this may change by itself."""
    revoked: tuple[int, ...] = ()
    """Leaves of devices that count no more, or whose partnership has ended."""
    refound: bool = False
    """Somebody is to come in, which a group of an old suite does not do: re-found it first."""
    leave: bool = False
    """A partnership has ended, and the conversation is in the other's house."""


# --- when -------------------------------------------------------------------------------------


def needs(work: Work, row: groups.GroupRow, patience: float) -> Needs:
    """Whether a commit is due in this group.

    Args:
        patience: Unix seconds from which on we act in the place of the lowest active leaf.
    """
    group = work.load(row.group_id)
    if group is None or row.state != "active":
        return Needs(False, None)
    members = groups.members(work.db, row.group_id)
    own = int(group.own_leaf)
    revoked = tuple(m.leaf for m in members if m.leaf != own and _gone(work, group, m.leaf))
    guests = parting(work, group, members)
    going = tuple(dict.fromkeys((*revoked, *guests.removed)))
    returning = groups.returns(work.db, row.group_id)
    due = [r for r in returning if r.due_at <= work.now]
    inactive = {r.device_id for r in returning} | {m.device_id for m in members if m.leaving}
    inactive |= {m.device_id for m in members if m.leaf in going}
    lowest = lowest_active([(m.leaf, m.device_id) for m in members], inactive)
    wanted = {i.kind for i in conversations.intents(work.db, row.conversation_id)}
    old_suite = group.suite.number != SUITE.number
    strangers = [r for r in due if not _fits(r, group, members)]
    reasons = Reasons(
        wanted="remove" in wanted or ("add" in wanted and not old_suite),
        proposals=bool(_foreign_proposals(group)),
        revoked=bool(going),
        returns_due=len(due) > len(strangers),
        renewal=_leaf_is_old(work, row, group),
        message_waits=bool(outbox.in_state(work.db, row.conversation_id, "waiting", 1)),
        our_turn=lowest == own or work.now >= patience * 1000,
    )
    later = [r.due_at / 1000 for r in returning if r.due_at > work.now]
    later += [] if guests.look_again is None else [guests.look_again]
    if (reasons.proposals or reasons.revoked) and not reasons.our_turn:
        later.append(patience)
    commit = commit_now(reasons)
    refound = old_suite and not commit and ("add" in wanted or bool(strangers))
    return Needs(commit, min(later, default=None), going, refound, guests.leave)


def _fits(asked: groups.ReturnRow, group: Group, members: Sequence[groups.MemberRow]) -> bool:
    """Whether a device that asks to be added can be, by its suite; an old one takes none that is new."""
    suite = candidates.read_key_package(asked.key_package).cipher_suite
    known = any(m.device_id == asked.device_id for m in members)
    return suite == group.suite.number and (known or suite == SUITE.number)


def _leaf_is_old(work: Work, row: groups.GroupRow, group: Group) -> bool:
    """Our leaf wants a fresh key, or bears another certificate than ours by now."""
    if work.now - row.leaf_renewed_at > RENEWED_AFTER * 1000:
        return True
    member = group.member(group.own_leaf)
    return member is not None and member.credential != work.own.credential


def _gone(work: Work, group: Group, leaf: int) -> bool:
    """The device at a leaf counts no more: revoked, or it or its account has ended."""
    member = group.member(leaf)
    if member is None:
        return False
    device = work.device(member)
    return work.trust.refuses(device) is not None or (
        not work.clock_doubtful and _end(device) < work.now_s
    )


def _end(device: Device) -> int:
    """Unix seconds after which nobody's clock can say that the device still counts."""
    ends = [end for end in (device.not_after, device.person.not_after) if end is not None]
    return min(ends) + CLOCK_TOLERANCE


def _foreign_proposals(group: Group) -> list[Any]:
    return [p for p in group.pending_proposals if p.sender.index != group.own_leaf]


# --- making one -------------------------------------------------------------------------------


def make(work: Work, row: groups.GroupRow, revoked: Sequence[int]) -> bool:
    """Make one commit for all that is due, and store it pending. False: there was nothing to do."""
    group = work.load(row.group_id)
    if group is None or mls_state.pending(work.db, row.group_id) is not None:
        return False
    proposals, intent = _collect(work, row, group, revoked)
    if not proposals and not _foreign_proposals(group) and not intent.renews:
        return False
    try:
        committed = commit(work, group, proposals)
    except MLSError as error:
        return _give_up(work, row, intent, group, error)
    work.keep(committed.sent, committed.changes_sent)
    mls_state.add_pending(
        work.db,
        mls_state.PendingCommit(
            group.group_id,
            work.random(16),
            group.epoch,
            committed.message,
            committed.welcome,
            mls_state.encode_changes(committed.changes),
            plan_data(committed.plan),
            msgspec.msgpack.encode(intent),
            row.last_send,
            False,
        ),
        work.now,
    )
    return True


def commit(work: Work, group: Group, proposals: Sequence[Proposal]) -> Committed:
    """A commit of ours over these proposals and the valid pending ones. Raises MLSError."""
    return group.commit(
        proposals,
        authenticated_data=plan_data,
        padding=padding,
        credential=work.own.credential,
        identity=work.identity,
        now=work.now_s,
        random=work.random,
    )


def _collect(
    work: Work, row: groups.GroupRow, group: Group, revoked: Sequence[int]
) -> tuple[list[Proposal], CommitIntent]:
    """Everything due, by value; intents that came about by themselves end here."""
    members = groups.members(work.db, row.group_id)
    removed = {leaf for leaf in revoked if group.member(leaf) is not None}
    adds: list[Add] = []
    seen: set[bytes] = set()
    served: list[int] = []
    staying = {m.person_id for m in members if not m.leaving} - unwanted(work, row)
    old_suite = group.suite.number != SUITE.number
    for asked in groups.returns(work.db, row.group_id):
        if asked.person_id not in staying:
            # Removed since it asked, or about to be: this would let the person in again.
            groups.drop_return(work.db, row.group_id, asked.device_id)
            continue
        if asked.due_at > work.now:
            continue
        try:
            if not _fits(asked, group, members):
                continue
            package, device = candidates.check(work, asked.key_package, None, (group.suite.number,))
        except (ProfileError, MLSError):
            groups.drop_return(work.db, row.group_id, asked.device_id)
            continue
        seen.add(device.device_id)
        adds.append(Add(package))
        removed |= {m.leaf for m in members if m.device_id == device.device_id}
    present = {m.device_id for m in members if m.leaf not in removed}
    for intent in conversations.intents(work.db, row.conversation_id):
        if intent.kind == "add" and "claimed" in intent.body and not old_suite:
            made, accounts = candidates.adds_of(work, intent.body, present, seen)
            missing = set(as_list(intent.body["accounts"])) - accounts
            if missing and not made:
                reason = candidates.why_nobody(intent.body["claimed"], missing)
                conversations.fail_intents(work.db, [intent.id], reason)
                work.event(
                    row.conversation_id, "add-failed", accounts=sorted(missing), reason=reason
                )
                continue
            adds += made
            served.append(intent.id)
        elif intent.kind == "remove":
            person = intent.body["person"]
            removed |= {m.leaf for m in members if m.person_id == person}
            served.append(intent.id)
    removed.discard(int(group.own_leaf))
    covered = {
        p.proposal.removed for p in group.pending_proposals if isinstance(p.proposal, Remove)
    }
    proposals: list[Proposal] = [Remove(leaf) for leaf in sorted(removed - covered)]
    proposals += adds
    if not proposals and not _foreign_proposals(group):
        conversations.end_intents(work.db, served)
        served = []
    renews = _leaf_is_old(work, row, group)
    return proposals, CommitIntent(tuple(served), bool(adds), renews)


def unwanted(work: Work, row: groups.GroupRow) -> set[object]:
    """Persons whom this person wants removed."""
    wanted = conversations.intents(work.db, row.conversation_id, "remove")
    return {intent.body["person"] for intent in wanted}


def _give_up(
    work: Work, row: groups.GroupRow, intent: CommitIntent, group: Group, error: MLSError
) -> bool:
    """What was wanted does not go together: it fails visibly, the rest may be tried again."""
    rule = getattr(error, "rule", type(error).__name__)
    conversations.fail_intents(work.db, list(intent.intents), rule)
    for asked in groups.returns(work.db, row.group_id):
        if asked.due_at <= work.now:
            groups.drop_return(work.db, row.group_id, asked.device_id)
    work.event(row.conversation_id, "change-failed", reason=rule)
    if not intent.intents and _foreign_proposals(group):
        raise error
    return True


# --- outcomes ---------------------------------------------------------------------------------


def merge(
    work: Work, row: groups.GroupRow, pending: mls_state.PendingCommit, where: history.Place
) -> None:
    """Our commit came back in the log: its epoch begins. Raises MLSError for a damaged state."""
    current = work.load(row.group_id)
    if current is None:
        raise ProfileError("state")
    following = mls_state.following(current, pending.changes)
    before = {m.device_id: m.person_id for m in groups.members(work.db, row.group_id)}
    changed = following.merged(current)
    work.keep(changed.group, changed.changes)
    finish(work, row, changed.group)
    mls_state.drop_pending(work.db, row.group_id)
    if pending.welcome is not None:
        repair.keep_welcome(work.db, row.group_id, where.position, pending.welcome, where.time)
    intent = msgspec.msgpack.decode(pending.intent, type=CommitIntent)
    conversations.end_intents(work.db, list(intent.intents))
    groups.set_renewed(work.db, row.group_id, work.now)
    if row.state == "creating":
        groups.set_state(work.db, row.group_id, "active")
        conversations.set_state(work.db, row.conversation_id, "active")
        if row.predecessor is not None:
            before = _take_over(work, row, row.predecessor)
    note_change(work, where, work.own.device, RosterChange.decode(pending.roster), before)
    if intent.inform:
        _inform(work, row.conversation_id)
    work.wake(row.conversation_id)


def _take_over(work: Work, row: groups.GroupRow, predecessor: bytes) -> dict[bytes, bytes]:
    """Our successor won: the old group ends. Returns its members, for what changed."""
    old = groups.read(work.db, predecessor)
    before = {m.device_id: m.person_id for m in groups.members(work.db, predecessor)}
    after = {m.person_id for m in groups.members(work.db, row.group_id)}
    if old is None:
        return before
    groups.set_successor(work.db, predecessor, row.group_id)
    groups.set_state(work.db, predecessor, "closed", old.detail or old.state)
    culprit = people.person_of_device(work.db, old.culprit) if old.culprit else None
    work.event(
        row.conversation_id,
        "refounded",
        by=work.own.person_id,
        left_out=sorted(set(before.values()) - after),
        culprit=culprit if culprit not in after else None,
    )
    return before


def finish(work: Work, row: groups.GroupRow, group: Group) -> None:
    """A new epoch has begun, by whomever: what was sealed for the old one waits again."""
    work.enter_epoch(group)
    outbox.unseal(work.db, row.group_id)
    work.wake(row.conversation_id)


def note_change(
    work: Work, where: history.Place, by: Device, change: RosterChange, before: dict[bytes, bytes]
) -> None:
    """Show who came, went, or came back, as persons."""
    group_id = where.group.group_id
    after = {m.device_id: m.person_id for m in groups.members(work.db, group_id)}
    added = sorted(set(after.values()) - set(before.values()))
    removed = sorted(set(before.values()) - set(after.values()))
    returned = {after[d] for d in change.added if d in after and d in before}
    for device in change.added:
        groups.drop_return(work.db, group_id, device)
    history.members_changed(work, where, by, added, removed, sorted(returned - set(added)))


def lost(work: Work, row: groups.GroupRow) -> None:
    """Another commit won: ours is dropped, what it was for is tried again."""
    pending = mls_state.pending(work.db, row.group_id)
    if pending is None:
        return
    intent = msgspec.msgpack.decode(pending.intent, type=CommitIntent)
    mls_state.drop_pending(work.db, row.group_id)
    conversations.count_attempt(work.db, list(intent.intents))
    tired = [
        i
        for i in conversations.intents(work.db, row.conversation_id)
        if i.id in intent.intents and i.attempts >= MAX_ATTEMPTS
    ]
    conversations.fail_intents(work.db, [i.id for i in tired], "conflict")
    work.wake(row.conversation_id)


def refused(work: Work, row: groups.GroupRow, reason: str) -> None:
    """The relay does not take our commit, and will not: give up visibly."""
    pending = mls_state.pending(work.db, row.group_id)
    if pending is None:
        return
    intent = msgspec.msgpack.decode(pending.intent, type=CommitIntent)
    mls_state.drop_pending(work.db, row.group_id)
    conversations.fail_intents(work.db, list(intent.intents), reason)
    work.event(row.conversation_id, "change-failed", reason=reason)
    work.wake(row.conversation_id)


def _inform(work: Work, conversation_id: bytes) -> None:
    conversation = conversations.read(work.db, conversation_id)
    if conversation is not None:
        service = conversation.kind == "service"
        queue(work, conversation_id, Info(conversation.title, "service" if service else "team"))
