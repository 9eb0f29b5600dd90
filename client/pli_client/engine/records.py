"""Records: attach, detach, object; proofs to the DUI's bot and its receipts back.

A message of ours that touches a record is forwarded to the bot once the relay has stored it, since
only then its proof is complete; an intent `forward` keeps that alive through crashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pli_protocol.content import (
    Attach,
    Detach,
    Filed,
    Forward,
    Objection,
    Post,
    Proof,
    Receipt,
    RecordRef,
)
from pli_protocol.content.proof import ProofError, verify_receipt
from pli_protocol.relay.frames import Position

from ..store import conversations, groups, messages, mls_state, people
from ..store import records as store
from .work import Work

if TYPE_CHECKING:
    from .history import Said


def written(work: Work, said: Said, at: int) -> None:
    """A Post that bears a record is attached by being written."""
    record = said.message.record
    if record is not None:
        _attach(work, said, said.message_id, record, said.message.note_type, at)


def acted(work: Work, said: Said, at: int) -> None:
    """A message about records."""
    body = said.message.body
    if isinstance(body, Attach | Detach | Objection) and _elsewhere(work, said, body.message_id):
        # Who is not in the conversation of a message says nothing about its record.
        return
    match body:
        case Attach(message_id, record, note_type):
            _attach(work, said, message_id, record, note_type, at)
        case Detach(message_id, record, reason):
            _detach(work, said, message_id, record, reason, at)
        case Objection(message_id, record, reason):
            _object(work, said, message_id, record, reason, at)
        case Forward():
            _forwarded(work, said)
        case Receipt() as receipt:
            _answered(work, said, receipt)
        case Filed() as filed:
            _filed(work, said, filed, at)


def _elsewhere(work: Work, said: Said, message_id: bytes) -> bool:
    row = messages.read(work.db, message_id)
    return row is not None and row.conversation_id != said.conversation_id


def may_detach(work: Work, message_id: bytes, record: RecordRef, person_id: bytes) -> bool:
    """Its author and whoever attached it may take a message off a record; others only object."""
    row = messages.read(work.db, message_id)
    if row is not None and row.sender == person_id:
        return True
    return any(a.attached_by == person_id for a in store.standing(work.db, message_id, record))


def _attach(
    work: Work, said: Said, message_id: bytes, record: RecordRef, note_type: str | None, at: int
) -> None:
    known = any(a.attach_message == said.message_id for a in store.of_message(work.db, message_id))
    if known:
        return
    store.attach(
        work.db,
        message_id,
        record,
        note_type,
        by=said.person_id,
        act=said.message_id,
        at=at,
        filing="waiting",
    )
    work.event(
        said.conversation_id,
        "attached",
        message_id=message_id,
        system=record.system,
        record=record.id,
        note_type=note_type,
        by=said.person_id,
        act=said.message_id,
    )


def _detach(
    work: Work, said: Said, message_id: bytes, record: RecordRef, reason: str, at: int
) -> None:
    if not may_detach(work, message_id, record, said.person_id):
        _object(work, said, message_id, record, reason, at)
        return
    if not store.standing(work.db, message_id, record):
        return
    row = messages.read(work.db, message_id)
    author = row is not None and row.sender == said.person_id
    store.detach(
        work.db, message_id, record, by=said.person_id, act=said.message_id, at=at, all_of_it=author
    )
    work.event(
        said.conversation_id,
        "detached",
        message_id=message_id,
        system=record.system,
        record=record.id,
        by=said.person_id,
        act=said.message_id,
        reason=reason,
    )


def _object(
    work: Work, said: Said, message_id: bytes, record: RecordRef, reason: str, at: int
) -> None:
    store.object_to(
        work.db, message_id, record, by=said.person_id, act=said.message_id, reason=reason, at=at
    )
    if not said.own:
        work.event(
            said.conversation_id,
            "objected",
            message_id=message_id,
            system=record.system,
            record=record.id,
            by=said.person_id,
            reason=reason,
        )


def _forwarded(work: Work, said: Said) -> None:
    if said.own:
        return
    work.event(said.conversation_id, "forwarded", message_id=said.message_id, by=said.person_id)


# --- the way to the bot -----------------------------------------------------------------------


def stored(work: Work, said: Said) -> None:
    """An own message stands in the log: what touches a record goes to the bot now."""
    conversation = conversations.read(work.db, said.conversation_id)
    if conversation is None or conversation.kind == "service":
        return
    body, target = said.message.body, None
    if isinstance(body, Post) and said.message.record is not None:
        target, record, act = said.message_id, said.message.record, None
    elif isinstance(body, Attach | Detach):
        target, record, act = body.message_id, body.record, said.message_id
    if target is None or _bot_inside(work, said.conversation_id):
        return
    conversations.add_intent(
        work.db,
        said.conversation_id,
        "forward",
        {"target": target, "act": act, "system": record.system, "record": record.id},
        work.now,
    )
    work.wake(said.conversation_id)


def _bot_inside(work: Work, conversation_id: bytes) -> bool:
    group = groups.current(work.db, conversation_id)
    if group is None:
        return False
    persons = {row.person_id for row in groups.members(work.db, group.group_id)}
    return any(bot.person_id in persons for bot in people.bots(work.db))


def proof_of(work: Work, message_id: bytes) -> Proof | None:
    """What shows who wrote a message; None while it has no place in the log."""
    row = messages.read(work.db, message_id)
    if row is None or row.signed is None or row.group_id is None:
        return None
    if row.epoch is None or row.timeline is None or row.seq is None:
        return None
    context = mls_state.epoch_context(work.db, row.group_id, row.epoch)
    chain = people.device_chain(work.db, row.device_id)
    if row.device_id == work.own.device_id:
        chain = work.own.chain
    if context is None or chain is None:
        return None
    position = Position(row.timeline, row.seq)
    return Proof(row.signed, context, row.conversation_id, chain, position, row.time)


def forward_body(work: Work, intent: conversations.Intent) -> Forward | None:
    """The Forward of an intent; None when its proofs cannot be made (yet)."""
    target = proof_of(work, _bytes(intent.body["target"]))
    act_id = intent.body.get("act")
    act = proof_of(work, _bytes(act_id)) if act_id is not None else None
    if target is None or (act_id is not None and act is None):
        return None
    return Forward(target, act)


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("an intent of another form")
    return value


# --- the way back -----------------------------------------------------------------------------


def _answered(work: Work, said: Said, receipt: Receipt) -> None:
    """The bot's receipt. It is passed on by the device that had forwarded the message."""
    if said.own or said.device.person.kind != "bot":
        return
    conversation = conversations.read(work.db, said.conversation_id)
    service = conversation is not None and conversation.kind == "service"
    forward = messages.read(work.db, said.message.in_reply_to) if said.message.in_reply_to else None
    asked_here = forward is not None and forward.device_id == work.own.device_id
    if service and not asked_here:
        return
    if not service and _elsewhere(work, said, receipt.message_id):
        return
    if receipt.filed:
        proof = proof_of(work, said.message_id)
        target = messages.read(work.db, receipt.message_id)
        if proof is None or target is None:
            return
        conversation_id, by = target.conversation_id, said.person_id
        news = _note_filed(work, conversation_id, receipt, proof, by, work.now)
        if service and news:
            from .sending import queue

            body = Filed(receipt.message_id, receipt.record, proof)
            queue(work, conversation_id, body)
    else:
        changed = store.set_filing(
            work.db,
            receipt.message_id,
            receipt.record,
            "refused",
            receipt=msgspec.msgpack.encode((receipt.code, receipt.text)),
        )
        if changed:
            work.event(
                _conversation_of(work, receipt.message_id),
                "filing-refused",
                message_id=receipt.message_id,
                system=receipt.record.system,
                record=receipt.record.id,
                code=receipt.code,
                text=receipt.text,
            )


def _conversation_of(work: Work, message_id: bytes) -> bytes | None:
    row = messages.read(work.db, message_id)
    return None if row is None else row.conversation_id


def _filed(work: Work, said: Said, filed: Filed, at: int) -> None:
    """Somebody posted the bot's receipt into the conversation."""
    if said.own:
        return
    try:
        verified = verify_receipt(filed, work.trust)
    except ProofError as error:
        work.event(
            said.conversation_id,
            "refused",
            by=said.person_id,
            reason=f"receipt-{error.rule}",
            message_id=said.message_id,
        )
        return
    receipt = verified.message.body
    if isinstance(receipt, Receipt):
        _note_filed(
            work, said.conversation_id, receipt, filed.receipt, verified.author.person.person_id, at
        )


def _note_filed(
    work: Work, conversation_id: bytes, receipt: Receipt, proof: Proof, by: bytes, at: int
) -> bool:
    """False: it was known to be filed."""
    changed = store.set_filing(
        work.db,
        receipt.message_id,
        receipt.record,
        "filed",
        receipt=msgspec.msgpack.encode((receipt.number, proof)),
        at=at,
    )
    if changed:
        work.event(
            conversation_id,
            "filed",
            message_id=receipt.message_id,
            system=receipt.record.system,
            record=receipt.record.id,
            number=receipt.number,
            by=by,
        )
    return bool(changed)
