"""Entering a group through a Welcome: a new conversation, a return, or a successor."""

import hashlib
from dataclasses import dataclass

from pli_protocol.identity import Device
from pli_protocol.mls.codec import decode
from pli_protocol.mls.errors import MLSError
from pli_protocol.mls.group import Group
from pli_protocol.mls.key_package import KeyPackage, KeyPackageSecrets
from pli_protocol.mls.message import MLSMessage
from pli_protocol.mls.outcome import Joined
from pli_protocol.mls.welcome import Welcome
from pli_protocol.relay.frames import AcknowledgeWelcome, WelcomeWaiting

from ..store import (
    conversations,
    groups,
    key_packages,
    log_rows,
    mls_state,
    outbox,
    people,
    repair,
)
from . import founding, history
from .decisions import refound_allowed
from .profile import MAX_LEAVES, SUITE, ProfileError, check_group, check_leaf_lifetime
from .work import Work

UNOPENABLE = ("no-key-package", "welcome:")
"""Reasons after which this device asks to be added again."""


def can_be_mended(reason: str) -> bool:
    """Whether a refused Welcome may be followed by one that opens; others break our rules."""
    return reason.startswith(UNOPENABLE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a Welcome; `refused` is why it was not used."""

    conversation_id: bytes | None
    refused: str | None = None

    @property
    def ask_return(self) -> bool:
        return self.refused is not None and can_be_mended(self.refused)


def welcome(work: Work, frame: WelcomeWaiting, data: bytes | None) -> Outcome:
    """Use a Welcome (None: it cannot be fetched); it is acknowledged whatever comes of it.

    Its key package is deleted.
    """
    work.frames.append(AcknowledgeWelcome(frame.item))
    held = groups.read(work.db, frame.group)
    if data is not None and _used_before(work, data):
        return Outcome(None if held is None else held.conversation_id)
    try:
        if data is None:
            raise ProfileError("welcome: payload")
        with work.attempt():
            return Outcome(_enter(work, frame, data))
    except ProfileError as error:
        reason = error.rule
    except (MLSError, ValueError) as error:
        reason = f"welcome: {getattr(error, 'rule', type(error).__name__)}"
    except MemoryError:  # not to be tried again at each start
        reason = "welcome: memory"
    work.db.execute(
        "INSERT OR REPLACE INTO welcomes VALUES (?, ?, ?, 'refused', ?, ?)",
        (frame.item, frame.group, data or b"", reason, frame.time),
    )
    work.event(None, "welcome-refused", group=frame.group, sender=frame.sender, reason=reason)
    return Outcome(None if held is None else held.conversation_id, reason)


def _used_before(work: Work, data: bytes) -> bool:
    """A Welcome lets in once: a second time would bring used keys back."""
    row = work.db.execute(
        "SELECT 1 FROM welcomes WHERE state = 'used' AND body = ?", (_digest(data),)
    ).fetchone()
    return row is not None


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _enter(work: Work, frame: WelcomeWaiting, data: bytes) -> bytes:
    joined, reference, last_resort = _join(work, data)
    group = joined.group
    if group.group_id != frame.group:
        raise ProfileError("welcome-group")
    if joined.committer is None:
        raise ProfileError("welcome-committer")
    committer = work.device(joined.committer)
    if work.trust.refuses(committer) is not None:
        raise ProfileError("welcome-committer-revoked")
    conversation_id = check_group(group)
    for _, leaf in group.tree.leaves():
        check_leaf_lifetime(leaf)
    before = _judge(work, conversation_id, group, committer, frame.predecessor)
    if last_resort:
        key_packages.mark_used(work.db, reference)
    else:
        key_packages.delete(work.db, reference)
        work.scrub = True
    work.db.execute(
        "INSERT OR REPLACE INTO welcomes VALUES (?, ?, ?, 'used', '', ?)",
        (frame.item, frame.group, _digest(data), frame.time),
    )
    _store(work, frame, conversation_id, joined, committer, before)
    return conversation_id


def _join(work: Work, data: bytes) -> tuple[Joined, bytes, bool]:
    body = decode(MLSMessage, data).body
    if not isinstance(body, Welcome):
        raise ProfileError("welcome")
    for secrets in body.secrets:
        row = key_packages.find(work.db, secrets.new_member)
        if row is None:
            continue
        joined = Group.join(
            data,
            decode(KeyPackage, row.key_package),
            KeyPackageSecrets.decode(row.secrets),
            work.own.signer,
            max_leaves=MAX_LEAVES,
            identity=work.identity,
            now=work.now_s,
        )
        return joined, row.reference, row.last_resort
    raise ProfileError("no-key-package")


def _judge(
    work: Work,
    conversation_id: bytes,
    group: Group,
    committer: Device,
    predecessor: bytes | None,
) -> groups.GroupRow | None:
    """For a conversation that is held: a return to its group, or a successor by the rule.

    Returns the group that this one follows or replaces, None for a new conversation.
    """
    same = groups.read(work.db, group.group_id)
    if same is not None:
        _judge_return(work, same, conversation_id, group, committer)
        return same
    conversation = conversations.read(work.db, conversation_id)
    if conversation is None:
        return None
    old = groups.current(work.db, conversation_id)
    if old is not None and old.state == "creating" and old.predecessor is not None:
        founding.abandon(work, old.group_id, "conflict")  # our own successor came second
        old = groups.current(work.db, conversation_id)
    if old is None:
        raise ProfileError("conversation-id")
    if group.suite.number != SUITE.number and work.suite_of(old.group_id) == SUITE.number:
        raise ProfileError("suite")  # no way back to a suite of before
    if conversation.state in ("removed", "left"):
        return old  # invited anew
    known = {m.person_id for m in groups.members(work.db, old.group_id)}
    persons = {work.device(m).person.person_id for m in group.members()}
    if not refound_allowed(known, committer.person.person_id, persons):
        raise ProfileError("successor-members")
    _check_successor(work, old, group.group_id, predecessor)
    return old


def _judge_return(
    work: Work, held: groups.GroupRow, conversation_id: bytes, group: Group, committer: Device
) -> None:
    """A Welcome to a group that is held: by a member, forwards only. Raises ProfileError.

    Anybody can make a group that is named like ours, and what is not signed of a Welcome can be
    changed so that it looks new: an older epoch would bring used keys back.
    """
    if held.conversation_id != conversation_id:
        raise ProfileError("conversation-id")
    if work.suite_of(held.group_id) not in (None, group.suite.number):
        raise ProfileError("suite")  # a group keeps its suite for life
    if group.epoch <= held.epoch:
        raise ProfileError("welcome-epoch")
    if held.state in ("removed", "left"):
        return  # invited anew, by whoever is a member now
    known = {m.person_id for m in groups.members(work.db, held.group_id)}
    if committer.person.person_id not in known:
        raise ProfileError("welcome-not-a-member")


def _check_successor(
    work: Work, old: groups.GroupRow, group_id: bytes, predecessor: bytes | None
) -> None:
    """The relay takes one successor of a group; one that it did not take would split the members.

    Raises ProfileError("successor-predecessor").
    """
    if predecessor == old.group_id or old.successor == group_id:
        return
    taken_wrongly = old.successor is not None and groups.read(work.db, old.successor) is None
    if taken_wrongly or (predecessor is not None and groups.read(work.db, predecessor) is None):
        return  # re-founded beside a wrong successor, or more than once while this device was away
    raise ProfileError("successor-predecessor")


def _store(
    work: Work,
    frame: WelcomeWaiting,
    conversation_id: bytes,
    joined: Joined,
    committer: Device,
    before: groups.GroupRow | None,
) -> None:
    group = joined.group
    same = before is not None and before.group_id == group.group_id
    old_members = {} if before is None else _persons(work, before.group_id)
    generation = 1 if before is None else before.generation + (0 if same else 1)
    if before is None:
        conversations.add(work.db, conversation_id, "", "team", "active", work.now)
    if same:
        work.forget(group.group_id)
        mls_state.drop_pending(work.db, group.group_id)
        work.gone.discard(group.group_id)
        newest = groups.current(work.db, conversation_id)
        if newest is not None and newest.state == "creating":
            founding.abandon(work, newest.group_id, "conflict")  # no need to re-found any more
    groups.add(
        work.db,
        group.group_id,
        conversation_id,
        "active",
        generation=generation,
        position=frame.position,
        chain=frame.chain,
        epoch=group.epoch,
        predecessor=None if same or before is None else before.group_id,
        now=work.now,
    )
    if frame.first is not None:
        first = frame.first
        position = first.position
        repair.write_old_log(
            work.db, group.group_id, position.timeline, position.seq + 1, first.chain
        )
    work.keep(group, joined.changes)
    work.enter_epoch(group)
    if before is not None and _was_out(work, conversation_id):
        conversations.set_title(work.db, conversation_id, "")  # whoever let us in tells the new one
    conversations.set_state(work.db, conversation_id, "active")
    row = groups.read(work.db, group.group_id)
    if row is None:
        raise AssertionError("the group was just written")
    place = frame.position if frame.first is None else frame.first.position
    where = history.Place(row, place, group.epoch, frame.time, b"")
    _tell(work, where, committer, before, same, old_members)
    work.wake(conversation_id)


def _was_out(work: Work, conversation_id: bytes) -> bool:
    row = conversations.read(work.db, conversation_id)
    return row is not None and row.state in ("removed", "left")


def _tell(
    work: Work,
    where: history.Place,
    committer: Device,
    before: groups.GroupRow | None,
    same: bool,
    old_members: dict[bytes, bytes],
) -> None:
    """Show what changed: a new conversation, a gap, a successor; who came and went meanwhile."""
    conversation_id = where.group.conversation_id
    by = committer.person.person_id
    new_members = set(_persons(work, where.group.group_id).values())
    if before is None:
        work.event(conversation_id, "joined", by=by)
        history.members_changed(work, where, committer, [work.own.person_id], [], [])
        return
    old = set(old_members.values())
    history.members_changed(
        work,
        where,
        committer,
        sorted(new_members - old),
        sorted(old - new_members),
        [work.own.person_id] if same else [],
    )
    if same:
        # What was sealed for the old leaf may stand in the log; only its row could have said so.
        outbox.unseal(work.db, before.group_id)
        missed = log_rows.unread_rows(work.db, before.group_id, where.position.seq)
        if missed > 0:
            work.event(conversation_id, "gap", rows=missed, reason=before.detail)
    else:
        founding.adopt_successor(work, before, where.group.group_id)
        suspect = people.person_of_device(work.db, before.culprit) if before.culprit else None
        work.event(
            conversation_id,
            "refounded",
            by=by,
            left_out=sorted(old - new_members),
            culprit=suspect if suspect not in new_members else None,
        )


def _persons(work: Work, group_id: bytes) -> dict[bytes, bytes]:
    return {m.device_id: m.person_id for m in groups.members(work.db, group_id)}
