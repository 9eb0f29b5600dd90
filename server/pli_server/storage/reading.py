"""Queries that only read: rows, Welcomes, memberships. Run on a reader, or inside a transaction."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from pli_protocol.relay.frames import Origin, Position, Row, WelcomeWaiting

from . import tables as t
from . import timelines
from .groups import MemberState
from .transaction import KINDS, unpack

READ_BYTES: Final = 1024 * 1024
"""Bytes of payloads that one read takes at most (one payload more)."""

_CHUNK: Final = 500
"""Values in one list of a query."""


class Membership(NamedTuple):
    """A device's place in one group's log."""

    no: int
    group_id: bytes
    acked: int
    last: int
    until: int | None
    successor: bytes | None
    since: int


class Place(NamedTuple):
    """Which of a group's rows are a device's."""

    since: int
    until: int | None
    """None: it receives. 0: its person left."""


class RoomNow(NamedTuple):
    """A group as the database has it, for the devices of one room."""

    last: int
    roster: int
    """Counts the changes of the group's members."""
    rows: list[Row]
    places: dict[int, Place]


def rows(
    db: sa.Connection, group_no: int, group_id: bytes, after: int, until: int, limit: int
) -> list[Row]:
    """Rows with after < seq <= until that retention has left, oldest first."""
    chosen, size = [], 0
    selected = db.execute(
        _ROWS, {"group": group_no, "after": after, "until": until, "limit": limit}
    )
    for row in selected:
        chosen.append(row)
        size += len(row.payload)
        if size >= READ_BYTES:
            selected.close()
            break
    where = timelines.places(
        db, timelines.read(db), group_no, [(row.seq, row.no) for row in chosen]
    )
    return [
        Row(
            group_id,
            position,
            row.epoch,
            KINDS[row.kind],
            row.device_id,
            row.send_id,
            row.time,
            unpack(row.is_blob, row.payload),
            row.chain,
            first,
        )
        for row, (position, first) in zip(chosen, where, strict=True)
    ]


def welcomes(db: sa.Connection, device_no: int, limit: int) -> list[WelcomeWaiting]:
    """Welcomes that wait for a device, the oldest first."""
    times = timelines.read(db)
    selected = db.execute(_WELCOMES, {"device": device_no, "limit": limit})
    return [
        WelcomeWaiting(
            row.item,
            row.group_id,
            unpack(row.is_blob, row.payload),
            Position(times.of_welcome(row.no), row.seq),
            row.chain,
            row.sender,
            row.time,
            row.predecessor,
            _first(row),
        )
        for row in selected
    ]


def _first(row: sa.Row[Any]) -> Origin | None:
    if row.first_seq is None:
        return None
    return Origin(Position(row.first_timeline, row.first_seq), row.first_chain)


def memberships(db: sa.Connection, device_no: int) -> list[Membership]:
    """The groups of which something is or may still have to be delivered to a device."""
    found = db.execute(_MEMBERSHIPS, {"device": device_no})
    return [Membership(*row) for row in found]


def places(db: sa.Connection, group_no: int, devices: Sequence[int]) -> dict[int, Place]:
    """The places of these devices in a group; those that never were members have none."""
    found: dict[int, Place] = {}
    for start in range(0, len(devices), _CHUNK):
        chosen = {"group": group_no, "devices": devices[start : start + _CHUNK]}
        for row in db.execute(_PLACES, chosen):
            found[row.device_no] = Place(row.since, row.until)
    return found


def room(
    db: sa.Connection,
    group_no: int,
    group_id: bytes,
    after: int,
    limit: int,
    devices: Sequence[int],
) -> RoomNow:
    """What a room lacks: rows first, so that the places are no older than the commits among them."""
    last, roster = db.execute(_GROUP, {"group": group_no}).one()
    until = min(last, after + limit)
    found = rows(db, group_no, group_id, after, until, limit) if until > after else []
    return RoomNow(last, roster, found, places(db, group_no, devices))


def welcomes_wait(db: sa.Connection, device_no: int) -> bool:
    """Whether any Welcome waits for the device."""
    return bool(db.scalar(_WELCOMES_WAIT, {"device": device_no}))


_ROWS = (
    sa.select(
        t.rows.c.no,
        t.rows.c.seq,
        t.rows.c.epoch,
        t.rows.c.kind,
        t.devices.c.device_id,
        t.rows.c.send_id,
        t.rows.c.time,
        t.rows.c.is_blob,
        t.rows.c.payload,
        t.rows.c.chain,
    )
    .join(t.devices, t.devices.c.no == t.rows.c.sender_no)
    .where(
        t.rows.c.group_no == sa.bindparam("group"),
        t.rows.c.seq > sa.bindparam("after"),
        t.rows.c.seq <= sa.bindparam("until"),
        t.rows.c.payload.is_not(None),
    )
    .order_by(t.rows.c.seq)
    .limit(sa.bindparam("limit"))
)
_WELCOMES = (
    sa.select(
        t.welcome_items.c.item,
        t.groups.c.group_id,
        t.welcomes,
        t.brought_rows.c.timeline.label("first_timeline"),
        t.brought_rows.c.first_seq,
        t.brought_rows.c.chain.label("first_chain"),
    )
    .select_from(t.welcome_items)
    .join(t.welcomes, t.welcomes.c.no == t.welcome_items.c.welcome_no)
    .join(t.groups, t.groups.c.no == t.welcomes.c.group_no)
    .outerjoin(
        t.brought_rows,
        sa.and_(
            t.brought_rows.c.group_no == t.welcomes.c.group_no,
            t.brought_rows.c.seq == t.welcomes.c.seq,
        ),
    )
    .where(
        t.welcome_items.c.device_no == sa.bindparam("device"),
    )
    .order_by(t.welcomes.c.no)
    .limit(sa.bindparam("limit"))
)
_MEMBERSHIPS = (
    sa.select(
        t.groups.c.no,
        t.groups.c.group_id,
        t.members.c.acked,
        t.groups.c.last,
        t.members.c.until,
        t.groups.c.successor,
        t.members.c.since,
    )
    .join(t.groups, t.groups.c.no == t.members.c.group_no)
    .where(
        t.members.c.device_no == sa.bindparam("device"),
        sa.or_(
            t.members.c.state.in_([MemberState.ACTIVE, MemberState.REMOVED]),
            sa.and_(
                t.members.c.state == MemberState.ENDED,
                t.members.c.acked < t.members.c.until,
            ),
        ),
    )
)
_GROUP = sa.select(t.groups.c.last, t.groups.c.roster).where(t.groups.c.no == sa.bindparam("group"))
_PLACES = sa.select(t.members.c.device_no, t.members.c.since, t.members.c.until).where(
    t.members.c.group_no == sa.bindparam("group"),
    t.members.c.device_no.in_(sa.bindparam("devices", expanding=True)),
)
_WELCOMES_WAIT = sa.select(sa.exists().where(t.welcome_items.c.device_no == sa.bindparam("device")))


def account_counts(now: int) -> sa.ColumnElement[bool]:
    """Of the table of accounts: neither revoked nor past its end at `now` (milliseconds)."""
    ends = t.accounts.c.ends
    return sa.and_(t.accounts.c.revoked.is_(None), sa.or_(ends.is_(None), ends >= now))
