"""Rows that a client brings to a restored relay: they continue an old log exactly, or are kept out.

A brought row is appended like any other, at a new position of the current timeline, with its first one
beside it; so cursors and delivery know nothing of it. What it changes (epoch, roster) it changes now.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from pli_protocol.relay import frames as f
from pli_protocol.relay.log import RosterChange, chain_hash

from ..audit.acts import Act
from ..errors import Refusal
from ..session import Session
from ..settings import Limits
from ..storage import tables as t
from ..storage import timelines as times
from ..storage.groups import GroupState, Member, MemberState
from ..storage.transaction import KINDS, RETURN, Appended, Transaction
from .creation import open_group
from .header import Header
from .old_log import OldLog, old_log, store_old_log
from .roster import (
    NO_EFFECTS,
    Newcomer,
    RosterEffects,
    add_member,
    apply_change,
    check_change,
)

NUMBERS: Final = {name: number for number, name in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Brought:
    """A row whose payload was read: its header (None: a request to return) and a commit's change."""

    row: f.BroughtRow
    header: Header | None
    change: RosterChange | None


@dataclass(slots=True)
class Mended:
    """What a request brought."""

    held: f.LogHeld
    rows: list[tuple[Appended, RosterEffects]] = field(default_factory=list)


def bring(
    tx: Transaction, session: Session, frame: f.BringRows, rows: Sequence[Brought], limits: Limits
) -> Mended:
    """Append what follows; raises Refusal "not-found", "conflict", "roster", "invalid".

    A head in the frame was checked: the relay signed it in the frame's timeline.
    """
    timelines = times.read(tx.connection)
    _may_bring(timelines, frame, tx.now)
    group = tx.group(frame.group)
    if group is None:
        group = _opened(tx, session, frame, rows)
    else:
        authorise(group, session)
    log = old_log(tx, timelines, group, frame.timeline)
    taken = []
    _look_up(tx, rows)
    for brought in rows:
        if brought.row.seq > log.last or log.last == 0:
            taken += _take(tx, session, group, frame.timeline, log, brought, limits)
    if rows:
        store_old_log(tx, group, frame.timeline, log)
    if taken:
        counts = {"rows": len(taken), "timeline": frame.timeline, "last": log.last}
        session.trace(tx, Act.ROWS_BROUGHT, group=group.group_id, **counts)
    began = tx.connection.scalar(
        sa.select(sa.func.max(t.rows.c.seq)).where(
            t.rows.c.group_no == group.no, t.rows.c.no <= timelines.began_after
        )
    )
    tx.flush()
    return Mended(_held(tx, frame.rid, log, group, began or 0, session.device_no), taken)


def _may_bring(timelines: times.Timelines, frame: f.BringRows, now: int) -> None:
    """Raises Refusal: no timeline of this relay's, as far as it knows or is shown; or it is too late."""
    shown = not frame.rows or frame.head is not None
    if not timelines.knows(frame.timeline) or not (shown or timelines.had(frame.timeline)):
        raise Refusal("not-found")
    if frame.rows and not timelines.taking(now):
        raise Refusal("conflict", "the relay was restored too long ago")


def _held(
    tx: Transaction, rid: int, log: OldLog, group: GroupState, began: int, device_no: int
) -> f.LogHeld:
    own, joined = group.members.get(device_no), None
    if own is not None and own.since > began:
        began = own.since
        joined = tx.connection.scalar(
            sa.select(t.rows.c.chain).where(t.rows.c.group_no == group.no, t.rows.c.seq == began)
        )
    last_send = None if own is None else own.last_send
    return f.LogHeld(rid, log.last, log.chain, began, group.epoch, last_send, joined)


def authorise(group: GroupState | None, session: Session) -> GroupState:
    """The group, where the device is a member; raises Refusal "not-found"."""
    member = None if group is None else group.members.get(session.device_no)
    if group is None or member is None or not member.receives:
        raise Refusal("not-found")
    return group


def _opened(
    tx: Transaction, session: Session, frame: f.BringRows, rows: Sequence[Brought]
) -> GroupState:
    """The group that the first row opens: it was made after the backup."""
    first = rows[0] if rows else None
    if first is None or first.change is None or first.header is None or first.row.seq != 1:
        raise Refusal("not-found")
    if session.device is None or (
        session.device.device_id not in (first.row.sender, *first.change.added)
    ):
        raise Refusal("not-found")
    creator = _device(tx, first.row.sender)
    old = None if frame.predecessor is None else tx.group(frame.predecessor)
    if old is not None:
        before = old.members.get(session.device_no)
        if before is None or not before.receives or old.successor is not None:
            old = None
    group = open_group(tx, frame.group, creator.establishment, creator.account_no, old)
    add_member(tx, group, creator, 0)
    return group


def _look_up(tx: Transaction, rows: Sequence[Brought]) -> None:
    ids = {brought.row.sender for brought in rows}
    d = t.devices.c
    numbers = {
        row.device_id: row.no
        for row in tx.connection.execute(sa.select(d.device_id, d.no).where(d.device_id.in_(ids)))
    }
    keys = [
        (numbers[brought.row.sender], brought.row.send_id)
        for brought in rows
        if brought.row.sender in numbers
    ]
    tx.look_up(keys)


def _take(
    tx: Transaction,
    session: Session,
    group: GroupState,
    timeline: int,
    log: OldLog,
    brought: Brought,
    limits: Limits,
) -> list[tuple[Appended, RosterEffects]]:
    """One row; an empty list where it is held already, as its sender sent it again."""
    row = brought.row
    position = f.Position(timeline, row.seq)
    _check(group, log, position, brought)
    sender = _sender(tx, group, row)
    log.last, log.chain = row.seq, row.chain
    if tx.held(sender.device_no, row.send_id) is not None:
        return []
    if brought.change is not None:
        return [_commit(tx, session, group, sender, position, brought, brought.change, limits)]
    appended = _append(tx, session, group, sender, position, row)
    if row.kind != KINDS[RETURN]:
        _sent(tx, group, sender, row)
    return [(appended, NO_EFFECTS)]


def _sent(tx: Transaction, group: GroupState, sender: Member, row: f.BroughtRow) -> None:
    """A device that said it is back knows its last send here: what others bring of it changes nothing."""
    back = sa.exists().where(
        t.returned.c.device_no == sender.device_no, t.returned.c.timeline == tx.timeline
    )
    if not tx.connection.scalar(sa.select(back)):
        tx.sent(group, sender, row.send_id)


def _check(group: GroupState, log: OldLog, position: f.Position, brought: Brought) -> None:
    """Raises Refusal: the row does not continue the log, or its payload is not what it says."""
    row, header = brought.row, brought.header
    if log.last and row.seq != log.last + 1:
        raise Refusal("conflict", "rows between are missing")
    chain = chain_hash(
        log.chain, group.group_id, position, row.epoch, row.kind, row.sender, row.send_id, row.message
    )  # fmt: skip
    if chain != row.chain:
        raise Refusal("conflict", "the row does not continue the log that is held")
    if header is not None and (header.group_id, header.epoch, KINDS[header.kind]) != (
        group.group_id, row.epoch, row.kind
    ):  # fmt: skip
        raise Refusal("invalid", "the payload's header is another one")
    if row.epoch > group.epoch:
        raise Refusal("invalid", "a row of an epoch that nothing began")


def _sender(tx: Transaction, group: GroupState, row: f.BroughtRow) -> Member:
    device = _device(tx, row.sender)
    member = group.members.get(device.no)
    if row.kind == KINDS[RETURN]:
        if device.account_no not in group.accounts():
            raise Refusal("conflict", "a row of somebody who is no member")
        return member or Member(
            device.no, device.device_id, device.account_no, MemberState.ENDED, 0
        )
    if member is None or not member.on_roster:
        raise Refusal("conflict", "a row of somebody who is no member")
    return member


def _commit(
    tx: Transaction,
    session: Session,
    group: GroupState,
    sender: Member,
    position: f.Position,
    brought: Brought,
    change: RosterChange,
    limits: Limits,
) -> tuple[Appended, RosterEffects]:
    """A commit that the backup lacked: its Welcome comes later, or lies with those that it added."""
    if brought.row.epoch != group.epoch or group.successor is not None:
        raise Refusal("conflict", "another commit ended this epoch since")
    plan = check_change(tx, group, sender, change, limits, active=False)
    appended = _append(tx, session, group, sender, position, brought.row)
    group.epoch += 1
    if position.seq != 1:
        _sent(tx, group, sender, brought.row)
    apply_change(tx, group, sender, appended, plan, None, limits)
    tx.devices_changed(newcomer.no for newcomer in plan.added)
    return appended, RosterEffects(entered=tuple(newcomer.no for newcomer in plan.added))


def _append(
    tx: Transaction,
    session: Session,
    group: GroupState,
    sender: Member,
    position: f.Position,
    row: f.BroughtRow,
) -> Appended:
    """The bringer's account is charged: nothing shows that the sender ever said it."""
    first = f.Origin(position, row.chain)
    appended = tx.append(
        group,
        NUMBERS[row.kind],
        sender,
        row.send_id,
        row.message,
        epoch=row.epoch,
        time=min(row.time, tx.now),
        first=first,
        charged=session.account_no,
    )
    tx.connection.execute(
        sa.insert(t.brought_rows).values(
            group_no=group.no,
            seq=appended.position.seq,
            timeline=position.timeline,
            first_seq=position.seq,
            chain=row.chain,
        )
    )
    return appended


def _device(tx: Transaction, device_id: bytes) -> Newcomer:
    found = tx.connection.execute(
        sa.select(
            t.devices.c.no,
            t.devices.c.device_id,
            t.devices.c.account_no,
            t.accounts.c.establishment,
        )
        .join(t.accounts, t.accounts.c.no == t.devices.c.account_no)
        .where(t.devices.c.device_id == device_id)
    ).first()
    if found is None:
        raise Refusal("roster", "a device that the relay does not know; bring its chain first")
    return Newcomer(*found)
