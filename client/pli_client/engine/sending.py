"""Sending: content is stored at once, sealed when the relay is there, kept until its row came back."""

from typing import Final

from pli_protocol.content import (
    Body,
    LogHead,
    Message,
    NoteType,
    RecordRef,
    RevocationHead,
    decode,
    encode,
    message_id,
)
from pli_protocol.mls.group import Group
from pli_protocol.mls.proposal import Remove
from pli_protocol.relay.frames import Position

from ..store import conversations, groups, log_heads, messages, outbox
from . import history, records
from .profile import padding
from .work import Work

IN_FLIGHT: Final = 8
"""Sends of one conversation whose answers are awaited at a time."""


def queue(
    work: Work,
    conversation_id: bytes,
    body: Body,
    *,
    in_reply_to: bytes | None = None,
    record: RecordRef | None = None,
    note_type: NoteType | None = None,
    urgent: bool = False,
    expires_at: int | None = None,
) -> bytes:
    """Store what a person says: from here on it is not lost. Returns the message's id.

    Raises:
        ContentError: over a bound.
    """
    head = work.trust.head()
    message = Message(
        work.random(16),
        work.now,
        body,
        in_reply_to=in_reply_to,
        record=record,
        note_type=note_type,
        urgent=urgent,
        expires_at=expires_at,
        revocations=RevocationHead(head.number, head.hash) if head.number else None,
        log=_log_head(work, conversation_id),
        tree=log_heads.to_tell(work.db, conversation_id),
    )
    content = encode(message)
    identifier = message_id(conversation_id, work.own.person_id, content)
    said = history.Said(
        conversation_id, identifier, decode(content), content, work.own.device, True
    )
    history.note(work, said, "queued")
    history.apply(work, said, work.now)
    outbox.add(work.db, conversation_id, identifier, content, work.now)
    work.wake(conversation_id)
    return identifier


def _log_head(work: Work, conversation_id: bytes) -> LogHead | None:
    group = groups.current(work.db, conversation_id)
    if group is None or group.next_seq < 2 or group.state != "active":
        return None
    return LogHead(Position(group.timeline, group.next_seq - 1), group.chain)


def queue_leave(work: Work, conversation_id: bytes) -> None:
    """Propose to remove every device of ours; sealed and sent in its turn."""
    outbox.add(work.db, conversation_id, work.random(32), b"", work.now, kind="leave", shown=False)
    work.wake(conversation_id)


# --- sealing ----------------------------------------------------------------------------------


def seal_waiting(work: Work, group_row: groups.GroupRow, room: int) -> int:
    """Seal up to `room` waiting messages for this group, in order; how many were sealed.

    One transaction takes the advanced ratchet, the final ciphertext and the send id.
    """
    group = work.load(group_row.group_id)
    if group is None:
        return 0
    previous = _last_send_id(work, group_row)
    sealed = 0
    for item in outbox.in_state(work.db, group_row.conversation_id, "waiting", room):
        if messages.to_upload(work.db, item.message_id):
            break  # its files go first, and what comes after keeps its place
        if item.kind == "leave":
            made = _propose_leave(work, group)
            if made is None:
                outbox.delete(work.db, item.id)
                continue
            group, ciphertext, signed = made
        else:
            # Proposals of others are committed before (`decisions`); one of ours, others commit.
            result = group.seal(
                item.content, padding=padding, ahead_of_proposals=True, random=work.random
            )
            group, ciphertext, signed = result.group, result.message, result.signed
            work.keep(group, result.changes)
        send_id = work.random(16)
        outbox.mark_sealed(
            work.db,
            item.id,
            group_id=group.group_id,
            epoch=group.epoch,
            send_id=send_id,
            previous=previous,
            ciphertext=ciphertext,
            signed=signed,
        )
        previous, sealed = send_id, sealed + 1
    return sealed


def _last_send_id(work: Work, group: groups.GroupRow) -> bytes | None:
    open_sends = outbox.in_state(work.db, group.conversation_id, "sealed")
    mine = [item for item in open_sends if item.group_id == group.group_id]
    return mine[-1].send_id if mine else group.last_send


def _propose_leave(work: Work, group: Group) -> tuple[Group, bytes, bytes] | None:
    """The proposal to remove this device; None when it stands already."""
    for pending in group.pending_proposals:
        if isinstance(pending.proposal, Remove) and pending.proposal.removed == group.own_leaf:
            return None
    proposed = group.propose(Remove(group.own_leaf), padding=padding, random=work.random)
    work.keep(proposed.group, proposed.changes)
    return proposed.group, proposed.message, b""


# --- outcomes ---------------------------------------------------------------------------------


def note_stored(
    work: Work, item: outbox.Outgoing, position: Position, time: int, *, seq: int | None = None
) -> None:
    """The relay has it on disk, as its answer or the log says. May be told twice.

    Args:
        seq: where the log has it now, if `position` is that of an older timeline.
    """
    if item.state != "sealed" or item.group_id is None or item.send_id is None:
        return
    group = groups.read(work.db, item.group_id)
    if group is None:
        return
    groups.note_send(work.db, item.group_id, item.send_id, position.seq if seq is None else seq)
    outbox.mark_stored(work.db, item.id)
    if item.kind == "leave":
        _left(work, group)
        return
    said = history.Said(
        item.conversation_id,
        item.message_id,
        decode(item.content),
        item.content,
        work.own.device,
        True,
    )
    where = history.Place(group, position, item.epoch or 0, time, item.signed or b"")
    history.place(work, said, where, "stored")
    work.event(item.conversation_id, "stored", message_id=item.message_id)
    records.stored(work, said)


def _left(work: Work, group: groups.GroupRow) -> None:
    conversations.set_state(work.db, group.conversation_id, "leaving")
    if not conversations.intents(work.db, group.conversation_id, "leave"):
        conversations.add_intent(work.db, group.conversation_id, "leave", {}, work.now)
    work.wake(group.conversation_id)


def fail(work: Work, item: outbox.Outgoing, reason: str) -> None:
    """It cannot be sent; shown as failed. What was sealed behind it is sealed anew."""
    outbox.fail(work.db, item.id, reason)
    messages.set_state(work.db, item.message_id, "failed")
    if item.group_id is not None:
        outbox.unseal_after(work.db, item.group_id, item.id)
    work.event(item.conversation_id, "failed", message_id=item.message_id, reason=reason)
    work.wake(item.conversation_id)


def cancel(work: Work, identifier: bytes) -> list[str] | None:
    """Take back a message that was not sealed yet; the names of its files' ciphertexts. None: too late."""
    item = outbox.by_message_id(work.db, identifier)
    if item is None or item.state not in ("waiting", "failed") or item.kind != "message":
        return None
    outbox.delete(work.db, item.id)
    messages.set_state(work.db, identifier, "failed")
    work.event(item.conversation_id, "failed", message_id=identifier, reason="cancelled")
    work.wake(item.conversation_id)
    return messages.drop_uploads(work.db, identifier)


def fail_all(work: Work, conversation_id: bytes, reason: str) -> None:
    """Nothing more can be done here: what waits is shown as failed."""
    wanted = conversations.intents(work.db, conversation_id)
    ended = [intent.id for intent in wanted if intent.kind != "forward"]
    conversations.fail_intents(work.db, ended, reason)
    for state in ("sealed", "waiting"):
        for item in outbox.in_state(work.db, conversation_id, state):
            fail(work, item, reason)


def try_again(work: Work, identifier: bytes) -> bool:
    """Queue a failed message again, behind what waits. False: it has not failed."""
    item = outbox.by_message_id(work.db, identifier)
    if item is None or item.state != "failed":
        return False
    outbox.delete(work.db, item.id)
    outbox.add(work.db, item.conversation_id, identifier, item.content, work.now)
    messages.set_state(work.db, identifier, "queued")
    work.wake(item.conversation_id)
    return True
