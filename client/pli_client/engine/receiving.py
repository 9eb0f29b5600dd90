"""Receiving: one row of the log, from guard to cursor, within one vault transaction.

The guard by (group, timeline, seq) and the hash chain come before MLS. A row that cannot be processed
is put aside with its bytes and the cursor moves on; a log that does not hold stops the group.
"""

from collections.abc import Callable
from enum import Enum

from pli_protocol.content import ContentError, decode, message_id
from pli_protocol.identity import Device, IdentityError
from pli_protocol.mls.errors import MLSError
from pli_protocol.mls.framing import WireFormat
from pli_protocol.mls.group import Group
from pli_protocol.mls.message import peek
from pli_protocol.mls.outcome import (
    ApplicationReceived,
    CommitReceived,
    ProposalReceived,
    Removed,
)
from pli_protocol.mls.proposal import Remove, Update
from pli_protocol.relay.frames import Acknowledge, Acknowledgement, Position, ReportCommit, Row
from pli_protocol.relay.log import RosterChange, device_id

from ..errors import PliError
from ..store import conversations, groups, log_rows, messages, mls_state, outbox, people
from ..vault.database import SQLError, is_environment
from . import committing, history, old_logs, returning
from .commit_checks import check_commit
from .old_logs import Known, RelayForked
from .profile import ProfileError
from .sending import fail_all, note_stored
from .work import Work


class Taken(Enum):
    """What became of a row."""

    DONE = "done"
    DUPLICATE = "duplicate"
    GAP = "gap"
    """Rows before it are missing: fetch them."""
    UNKNOWN = "unknown"
    """A group that this device is not in (yet)."""
    STOPPED = "stopped"
    """The relay's log does not hold; nothing more is taken from it."""


def take(work: Work, row: Row, message: bytes | None) -> Taken:
    """Process one row. `message` is its payload's bytes; None: they cannot be had."""
    group_row = groups.read(work.db, row.group)
    if group_row is None or group_row.state == "stopped":
        # Nothing is taken from it; acknowledged all the same, so that other groups are not held up.
        work.frames.append(Acknowledge((Acknowledgement(row.group, row.position.seq),)))
        return Taken.UNKNOWN if group_row is None else Taken.STOPPED
    if group_row.state == "creating" and group_row.timeline == 0:
        groups.set_timeline(work.db, row.group, row.position.timeline)
        group_row = groups.read(work.db, row.group) or group_row
    try:
        if row.position.timeline > group_row.timeline:
            entered = old_logs.enter(work, group_row, row)
            if entered is None:
                return Taken.GAP
            group_row = entered
        if not _guard(group_row, row):
            _report_again(work, group_row, row)
            return _acknowledged(work, row.group, Taken.DUPLICATE)
        if row.position.seq == group_row.next_seq:
            old_logs.check_chain(group_row.chain, row, row.position, row.chain)
            _check_promised(work, row)
        elif group_row.state in ("active", "closed", "creating"):
            return Taken.GAP
        log_rows.keep_row(work.db, row, message or b"")
        groups.advance(work.db, row.group, row.position.seq + 1, row.chain)
        known = old_logs.known_before(work, row, message or b"")
        if known is not Known.NEW:
            _report_again(work, group_row, row)
            if known is Known.PASSED and message is not None and row.kind == "application":
                # The relay's word hides nothing: what can still be read was not read before.
                _process(work, group_row, row, message, _pass_over)
        elif message is None:
            _put_aside(work, group_row, row, b"", "payload")
        else:
            _process(work, group_row, row, message)
    except RelayForked as fork:
        return _stop(work, group_row, row, message, fork.what)
    return _acknowledged(work, row.group, Taken.DONE)


def _stop(
    work: Work, group_row: groups.GroupRow, row: Row, message: bytes | None, what: str
) -> Taken:
    log_rows.put_aside(work.db, row, message or b"", what)
    groups.set_trouble(
        work.db, row.group, "stopped", what, at=work.now, seq=row.position.seq, culprit=None
    )
    work.event(group_row.conversation_id, "stopped", reason=what)
    return Taken.STOPPED


def _guard(group_row: groups.GroupRow, row: Row) -> bool:
    new = row.position.seq >= group_row.next_seq
    if new and row.position.timeline != group_row.timeline:
        raise RelayForked("timeline")
    return new


def _place(row: Row) -> Position:
    """Where the row is shown: where it stood first, if it was brought to a restored relay."""
    return row.position if row.first is None else row.first.position


def _report_again(work: Work, group_row: groups.GroupRow, row: Row) -> None:
    """The report of a commit may have been lost with the connection, as its acknowledgement was."""
    if row.kind == "commit" and group_row.state == "active" and row.epoch < group_row.epoch:
        work.frames.append(ReportCommit(row.group, row.position.seq, True))


def _check_promised(work: Work, row: Row) -> None:
    """Where the relay said that an own send stands, nothing else may stand."""
    promised = outbox.stored_at(work.db, row.group, _place(row))
    if promised is not None and promised != row.send_id:
        raise RelayForked("accepted")


def _acknowledged(work: Work, group_id: bytes, taken: Taken) -> Taken:
    now = groups.read(work.db, group_id)
    if now is not None:
        work.frames[:] = [f for f in work.frames if not _acknowledges(f, group_id)]
        work.frames.append(Acknowledge((Acknowledgement(group_id, now.next_seq - 1),)))
    return taken


def _acknowledges(frame: object, group_id: bytes) -> bool:
    return isinstance(frame, Acknowledge) and frame.groups[0].group == group_id


def _process(
    work: Work,
    group_row: groups.GroupRow,
    row: Row,
    message: bytes,
    refuse: Callable[[Work, groups.GroupRow, Row, bytes, str], None] | None = None,
) -> None:
    """The row's content; whatever a sender may have done wrong ends in the quarantine."""
    refuse = refuse or _put_aside
    try:
        with work.attempt():
            if row.sender == work.own.device_id:
                _own_row(work, group_row, row, message)
            else:
                _others_row(work, group_row, row, message)
    except (RelayForked, PliError, MemoryError):
        raise
    except SQLError as error:
        if is_environment(error):
            raise
        refuse(work, group_row, row, message, f"internal: {type(error).__name__}")
    except (MLSError, ProfileError, IdentityError, ContentError) as error:
        refuse(work, group_row, row, message, _reason(error))
    except Exception as error:  # a surprise in one row must not stop the queue
        refuse(work, group_row, row, message, f"internal: {type(error).__name__}")


def _pass_over(_: Work, _row: groups.GroupRow, _of: Row, _message: bytes, _why: str) -> None:
    """It was read long ago, or is of before this device came."""


def _reason(error: Exception) -> str:
    return str(getattr(error, "rule", "") or type(error).__name__)


def _put_aside(
    work: Work, group_row: groups.GroupRow, row: Row, message: bytes, reason: str
) -> None:
    log_rows.put_aside(work.db, row, message, reason)
    commit = row.kind == "commit" and group_row.state in ("active", "closed")
    if commit and row.epoch == group_row.epoch:
        # Everybody else may be an epoch further now; this device can only ask to come back.
        outbox.unseal(work.db, row.group)
        work.frames.append(ReportCommit(row.group, row.position.seq, False, reason[:200]))
        if group_row.state == "active":
            returning.trouble(
                work, group_row, "refused", reason, seq=row.position.seq, culprit=row.sender
            )
        return
    person = people.person_of_device(work.db, row.sender)
    work.event(group_row.conversation_id, "refused", by=person, reason=reason, message_id=None)


# --- own rows ---------------------------------------------------------------------------------


def _own_row(work: Work, group_row: groups.GroupRow, row: Row, message: bytes) -> None:
    item = outbox.by_send_id(work.db, row.send_id)
    if item is not None:
        if item.ciphertext != message:
            raise RelayForked("own-row")
        if item.state == "stored" and outbox.position_of(work.db, item.message_id) not in (
            None,
            _place(row),
        ):
            raise RelayForked("accepted")
        note_stored(work, item, _place(row), row.time, seq=row.position.seq)
        outbox.delete(work.db, item.id)
        if item.kind == "message":
            _again(work, item)
        return
    pending = mls_state.pending(work.db, row.group)
    if pending is not None and pending.send_id == row.send_id:
        if pending.message != message:
            raise RelayForked("own-row")
        if not pending.creates:  # the relay counts sends from the first after the group's opening
            groups.note_send(work.db, row.group, row.send_id, row.position.seq)
        where = history.Place(group_row, _place(row), row.epoch, row.time, b"")
        committing.merge(work, group_row, pending, where)
        work.frames.append(ReportCommit(row.group, row.position.seq, True))
        return
    if row.kind == "return" or old_logs.own_after_all(work, group_row, row):
        return
    if group_row.state in ("active", "closed"):
        raise ProfileError("own-row-unknown")


def _again(work: Work, item: outbox.Outgoing) -> None:
    """What order decides (a title) is decided by the log's order, not by when it was written."""
    said = history.Said(
        item.conversation_id,
        item.message_id,
        decode(item.content),
        item.content,
        work.own.device,
        True,
    )
    history.apply(work, said, work.now)


# --- others' rows -----------------------------------------------------------------------------


def _others_row(work: Work, group_row: groups.GroupRow, row: Row, message: bytes) -> None:
    if group_row.state in ("removed", "left"):
        return
    group = work.load(row.group) if group_row.state in ("active", "closed") else None
    if row.kind == "return":
        if group_row.state == "active":
            returning.asked(work, group_row, row, message)
        return
    if group is None:
        if group_row.state in ("active", "closed"):
            log_rows.put_aside(work.db, row, message, "state-unreadable")
            returning.lost_state(work, group_row)
        else:
            log_rows.put_aside(work.db, row, message, "no-state")
        if row.kind == "commit":
            returning.note_removals(work, group_row, message)
        return
    if row.kind != "return" and peek(message).wire_format is not WireFormat.PRIVATE_MESSAGE:
        raise ProfileError("wire-format")
    processed = group.process(message, identity=work.identity, now=_when(work, row))
    match processed:
        case ApplicationReceived():
            work.keep(processed.group, processed.changes)
            _message(work, group_row, row, processed)
        case ProposalReceived():
            _proposal(work, group_row, processed)
        case CommitReceived():
            _commit(work, group_row, row, group, processed)
        case Removed():
            _removed(work, group_row, row, processed)


def _when(work: Work, row: Row) -> int:
    """Unix seconds for dates in a row: what was good when it was written may have ended since."""
    return min(work.now_s, row.time // 1000)


def _message(
    work: Work, group_row: groups.GroupRow, row: Row, received: ApplicationReceived
) -> None:
    device = work.device(received.sender)
    people.remember_device(work.db, device, work.now)
    message = decode(received.data)
    identifier = message_id(group_row.conversation_id, device.person.person_id, received.data)
    said = history.Said(
        group_row.conversation_id, identifier, message, received.data, device, False
    )
    known = messages.read(work.db, identifier)
    if known is not None:
        # Sealed again after its first row had come after all, or repeated by its sender. The first row
        # of one that was sealed again for a restored relay may come late: it then stands there.
        if row.first is not None:
            where = history.Place(group_row, _place(row), received.epoch, row.time, received.signed)
            history.place(work, said, where, known.state)
        return
    where = history.Place(group_row, _place(row), received.epoch, row.time, received.signed)
    why = _counts_no_more(work, device, _when(work, row))
    if why is not None:
        # Shown as refused, and without effect. It may have been written before the revocation:
        # nothing that the relay could not have made up says when.
        history.note(work, said, "refused")
        history.place(work, said, where, "refused")
        work.event(
            group_row.conversation_id,
            "refused",
            by=said.person_id,
            reason=why,
            message_id=identifier,
        )
        return
    history.note(work, said, "received")
    history.place(work, said, where, "received")
    work.event(group_row.conversation_id, "message", message_id=identifier)
    history.apply(work, said, row.time)
    _compare_heads(work, group_row, said)


def _counts_no_more(work: Work, device: Device, at: int) -> str | None:
    """Why what a device says is refused: it was revoked, or it or its account had ended at `at`."""
    if work.trust.refuses(device) is not None:
        return "revoked-device"
    try:
        work.trust.device(device.chain, at)
    except IdentityError as error:
        return "ended-account" if error.rule == "expired" else None
    return None


def _compare_heads(work: Work, group_row: groups.GroupRow, said: history.Said) -> None:
    """What the sender saw of the log and of the revocations must fit what we saw."""
    head = said.message.log
    if head is not None:
        ours = log_rows.row_chain(work.db, group_row.group_id, head.position)
        # It may have been written before the conversation was re-founded.
        elsewhere = log_rows.chain_known(work.db, group_row.conversation_id, head.chain)
        if ours is not None and ours != head.chain and not elsewhere:
            work.event(
                group_row.conversation_id, "forked", by=said.person_id, seq=head.position.seq
            )
    if said.message.tree is not None:
        work.heads.append((said.message.tree, said.person_id))
    list_head = said.message.revocations
    where = said.device.person.establishment
    if list_head is not None and list_head.number > work.trust.head(where).number:
        work.newer_lists[where] = max(work.newer_lists.get(where, 0), list_head.number)
        work.event(None, "revocations-behind", number=list_head.number)


def _proposal(work: Work, group_row: groups.GroupRow, received: ProposalReceived) -> None:
    if received.member is None:
        raise ProfileError("external-proposal")
    own_leaf = isinstance(received.proposal, Remove) and (
        received.proposal.removed == received.member.leaf
    )
    if not own_leaf and not isinstance(received.proposal, Update):
        # No client of ours proposes to add, or to remove others: they commit it themselves.
        raise ProfileError("proposal-kind")
    work.keep(received.group, received.changes)
    if own_leaf:
        device = work.device(received.member)
        groups.mark_leaving(work.db, group_row.group_id, device.person.person_id)
        work.event(group_row.conversation_id, "leaving", person=device.person.person_id)
    work.wake(group_row.conversation_id)


def _commit(
    work: Work, group_row: groups.GroupRow, row: Row, old: Group, received: CommitReceived
) -> None:
    change = check_commit(work, received, _when(work, row))
    before = {m.device_id: m.person_id for m in groups.members(work.db, row.group)}
    work.keep(received.group, received.changes)
    committing.lost(work, group_row)
    committing.finish(work, group_row, received.group)
    by = work.device(received.sender)
    where = history.Place(group_row, _place(row), row.epoch, row.time, received.signed)
    committing.note_change(work, where, by, change, before)
    work.frames.append(ReportCommit(row.group, row.position.seq, True))


def _removed(work: Work, group_row: groups.GroupRow, row: Row, received: Removed) -> None:
    """This device was removed: its keys go, its person sees by whom."""
    by = work.device(received.sender)
    change = RosterChange.decode(received.authenticated_data)
    gone = tuple(sorted(device_id(member.signature_key) for member in received.removed))
    if change.removed != gone:
        raise ProfileError("roster")
    own_person = work.own.person_id
    work.frames.append(ReportCommit(row.group, row.position.seq, True))
    work.forget(row.group)
    mls_state.drop_pending(work.db, row.group)
    if work.own.device_id in change.added:
        groups.set_trouble(
            work.db, row.group, "lost", "added-again", at=work.now, seq=None, culprit=None
        )
        groups.set_asked(work.db, row.group, work.now)  # the Welcome is on its way already
        return
    leaving = _was_leaving(work, group_row)
    groups.set_state(work.db, row.group, "left" if leaving else "removed")
    conversations.set_state(work.db, group_row.conversation_id, "left" if leaving else "removed")
    where = history.Place(group_row, _place(row), row.epoch, row.time, received.signed)
    others = {m.person_id for m in groups.members(work.db, row.group)}
    history.members_changed(work, where, by, [], [own_person] if own_person in others else [], [])
    fail_all(work, group_row.conversation_id, "removed")


def _was_leaving(work: Work, group_row: groups.GroupRow) -> bool:
    conversation = conversations.read(work.db, group_row.conversation_id)
    return conversation is not None and conversation.state in ("leaving", "left")
