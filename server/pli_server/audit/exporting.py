"""`audit export`: the entries of one establishment and a period, as JSON lines or FHIR Bundles.

Ids only: accounts and devices as the establishment's own directory knows them. A leaf of messages is
told as the rows that the establishment's own people sent.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from pli_protocol.identity import IdentityError, verify_authority

from ..errors import OperatorError
from ..storage import tables as t
from ..storage.transaction import KINDS
from .acts import Act, Entry, Fact, read_entry

CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Event:
    """One act, as it is told to the establishment."""

    timeline: int
    entry: int
    act: str
    body: Entry

    def line(self) -> str:
        """One JSON object; ids in hexadecimal, the time in UTC."""
        body = self.body
        shown: dict[str, Any] = {
            "time": moment(body.time),
            "act": self.act,
            "establishment": _hex(body.establishment),
            "account": _hex(body.account),
            "device": _hex(body.device),
            **{name: told(fact) for name, fact in body.facts.items()},
            "timeline": self.timeline,
            "entry": self.entry,
        }
        return json.dumps({name: value for name, value in shown.items() if value is not None})


def moment(time: int) -> str:
    """Milliseconds since 1970 as an instant, UTC."""
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds")


def told(fact: Fact) -> int | str:
    """A fact as JSON shows it."""
    return fact.hex() if isinstance(fact, bytes) else fact


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def find_establishment(db: sa.Connection, which: str) -> bytes:
    """The id of an establishment, by the beginning of its id in hexadecimal, or by its name.

    Raises:
        OperatorError: none, or more than one.
    """
    found = []
    for row in db.execute(sa.select(t.establishments.c.id, t.establishments.c.authority)):
        try:
            name = verify_authority(row.authority).name
        except IdentityError:
            name = ""
        if name == which or (len(which) >= 8 and row.id.hex().startswith(which.lower())):
            found.append(row.id)
    if len(found) != 1:
        raise OperatorError(
            f"{len(found) or 'no'} establishments here are called that;"
            " give the beginning of its id (8 characters or more) or its whole name"
        )
    return bytes(found[0])


def events(db: sa.Connection, establishment: bytes, begin: int, end: int) -> Iterator[Event]:
    """What the trace has of an establishment with begin <= time < end, in the order of the log."""
    timeline, after = -1, -1
    place = {"establishment": establishment, "begin": begin, "end": end, "limit": CHUNK}
    while found := db.execute(_ENTRIES, {**place, "timeline": timeline, "after": after}).all():
        for row in found:
            if row.kind == Act.MESSAGES:
                yield from _messages(db, row, establishment)
            else:
                yield Event(row.timeline, row.no, row.kind, read_entry(row.body))
        timeline, after = found[-1].timeline, found[-1].no


def _messages(db: sa.Connection, entry: Any, establishment: bytes) -> Iterator[Event]:
    found = db.execute(_SENT, {"batch": entry.batch, "establishment": establishment})
    for row in found.all():
        facts: dict[str, Any] = {"group": row.group_id, "seq": row.seq, "kind": KINDS[row.kind]}
        body = Entry(row.time, establishment, row.account, row.device_id, facts)
        yield Event(entry.timeline, entry.no, entry.kind, body)


_ENTRIES = (
    sa.select(t.trace_entries)
    .where(
        t.trace_entries.c.time >= sa.bindparam("begin"),
        t.trace_entries.c.time < sa.bindparam("end"),
        t.trace_entries.c.body.is_not(None),
        sa.or_(
            t.trace_entries.c.establishment == sa.bindparam("establishment"),
            t.trace_entries.c.kind == Act.MESSAGES.value,
        ),
        sa.tuple_(t.trace_entries.c.timeline, t.trace_entries.c.no)
        > sa.tuple_(sa.bindparam("timeline"), sa.bindparam("after")),
    )
    .order_by(t.trace_entries.c.timeline, t.trace_entries.c.no)
    .limit(sa.bindparam("limit"))
)
_SENT = (
    sa.select(
        t.rows.c.seq,
        t.rows.c.kind,
        t.rows.c.time,
        t.groups.c.group_id,
        t.devices.c.device_id,
        t.accounts.c.account,
    )
    .join(t.groups, t.groups.c.no == t.rows.c.group_no)
    .join(t.devices, t.devices.c.no == t.rows.c.sender_no)
    .join(t.accounts, t.accounts.c.no == t.devices.c.account_no)
    .where(
        t.rows.c.batch == sa.bindparam("batch"),
        t.accounts.c.establishment == sa.bindparam("establishment"),
    )
    .order_by(t.rows.c.group_no, t.rows.c.seq)
)
