"""Reading logs and saying what became of rows: Fetch, acknowledgements, reports of commits."""

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import encode

from ..errors import Refusal, StorageFailed
from ..group_log.appending import announce_ended
from ..group_log.roster import NO_EFFECTS, RosterEffects, end_removed
from ..relay import Relay
from ..session import Session
from ..storage import reading
from ..storage import tables as t
from ..storage.groups import MemberState
from ..storage.jobs import Work
from ..storage.transaction import COMMIT, Transaction

T = TypeVar("T")

ROOM_FOR_ROWS = f.MAX_FRAME - 256


async def fetch(relay: Relay, session: Session, frame: f.Fetch) -> f.Rows:
    """Rows of the device's membership after a seq, at most a frame full."""

    def read(db: sa.Connection) -> f.Rows:
        member = member_of(db, frame.group, session.device_no)
        last = member.last if member.until is None else member.until
        after = max(frame.after, member.since)
        found = reading.rows(db, member.no, frame.group, after, last, frame.limit)
        rows, size = [], 0
        for row in found:
            size += len(encode(row))
            if size > ROOM_FOR_ROWS:
                break
            rows.append(row)
        return f.Rows(frame.rid, tuple(rows), last)

    return await relay.readers.run(read)


def acknowledge(relay: Relay, session: Session, frame: f.Acknowledge) -> None:
    """Move cursors; what was not sent to this device cannot be acknowledged."""
    assert session.delivery is not None
    for item in frame.groups:
        session.delivery.acknowledge(item.group, item.seq)


def acknowledge_welcome(relay: Relay, session: Session, frame: f.AcknowledgeWelcome) -> None:
    """The Welcome may go; the payload goes with the last device that waits for it."""
    device_no = session.device_no

    def work(tx: Transaction) -> None:
        db = tx.connection
        number = db.scalar(
            sa.select(t.welcome_items.c.welcome_no).where(
                t.welcome_items.c.item == frame.item, t.welcome_items.c.device_no == device_no
            )
        )
        if number is None:
            return
        # The last two devices may say so to two nodes at once: one of them is the last.
        db.execute(_WELCOME.where(t.welcomes.c.no == number))
        db.execute(sa.delete(t.welcome_items).where(t.welcome_items.c.item == frame.item))
        left = sa.select(t.welcome_items.c.item).where(t.welcome_items.c.welcome_no == number)
        if db.execute(left.limit(1)).first() is None:
            db.execute(sa.delete(t.welcomes).where(t.welcomes.c.no == number))

    def then(_: None) -> None:
        if session.delivery is not None:
            session.delivery.welcome_used(frame.item)

    _queue(relay, session, "welcome", work, then)


def report_commit(relay: Relay, session: Session, frame: f.ReportCommit) -> None:
    """Keep what the device said of a commit; those removed may stop receiving now."""
    device_no = session.device_no

    def work(tx: Transaction) -> RosterEffects:
        group = tx.group(frame.group)
        member = None if group is None else group.members.get(device_no)
        if group is None or member is None or not member.receives or frame.seq <= member.since - 1:
            return NO_EFFECTS
        kind = tx.connection.scalar(
            sa.select(t.rows.c.kind).where(t.rows.c.group_no == group.no, t.rows.c.seq == frame.seq)
        )
        if kind != COMMIT:
            return NO_EFFECTS
        key = {"group_no": group.no, "seq": frame.seq, "device_no": device_no}
        value = {"applied": int(frame.applied), "reason": frame.reason}
        found = tx.connection.execute(
            sa.update(t.reports)
            .where(*(t.reports.c[name] == bound for name, bound in key.items()))
            .values(value)
        )
        if found.rowcount == 0:
            tx.connection.execute(sa.insert(t.reports).values({**key, **value}))
        if not frame.applied:
            return NO_EFFECTS
        return end_removed(tx, group, member, frame.seq)

    def then(effects: RosterEffects) -> None:
        announce_ended(relay, frame.group, effects)

    _queue(relay, session, "report", work, then, (frame.group,))


class _Counted(Work[T]):
    """Work for which nobody waits, but which counts among the connection's unanswered requests:
    else one client could fill the writer's queue, and everybody else would be told to come later."""

    def __init__(
        self,
        session: Session,
        what: str,
        function: Callable[[Transaction], T],
        then: Callable[[T], None],
        groups: tuple[bytes, ...],
    ) -> None:
        super().__init__(what, function, then, None, owners=(), groups=groups)
        self._session = session

    def finish(self, outcome: Any) -> None:
        self._session.end_request()
        if isinstance(outcome, StorageFailed):
            # Nobody waits for an answer: the client learns by the end of the connection.
            self._session.close()
        super().finish(outcome)


def _queue(
    relay: Relay,
    session: Session,
    what: str,
    function: Callable[[Transaction], T],
    then: Callable[[T], None],
    groups: tuple[bytes, ...] = (),
) -> None:
    relay.writer.submit(_Counted(session, what, function, then, groups))
    session.begin_request()


async def get_commit_reports(
    relay: Relay, session: Session, frame: f.GetCommitReports
) -> f.CommitReports:
    """What devices said of a commit, to any device that receives the group."""

    def read(db: sa.Connection) -> f.CommitReports:
        member = member_of(db, frame.group, session.device_no)
        if member.state not in (MemberState.ACTIVE, MemberState.REMOVED):
            raise Refusal("not-found")
        if frame.seq < member.since:
            return f.CommitReports(frame.rid, ())
        found = db.execute(
            sa.select(t.devices.c.device_id, t.reports.c.applied, t.reports.c.reason)
            .join(t.devices, t.devices.c.no == t.reports.c.device_no)
            .where(t.reports.c.group_no == member.no, t.reports.c.seq == frame.seq)
            .order_by(t.reports.c.device_no)
        )
        reports, size = [], 0
        for row in found:
            report = f.CommitReport(row.device_id, bool(row.applied), row.reason)
            size += 64 + len(report.reason.encode())
            if size > ROOM_FOR_ROWS:
                break
            reports.append(report)
        return f.CommitReports(frame.rid, tuple(reports))

    return await relay.readers.run(read)


def member_of(db: sa.Connection, group_id: bytes, device_no: int) -> Any:
    """The group's number and last row with the device's place; raises Refusal "not-found"."""
    found = db.execute(_MEMBER, {"group": group_id, "device": device_no}).first()
    if found is None or found.state == MemberState.LEAVING or found.until == 0:
        raise Refusal("not-found")
    return found


_WELCOME = sa.select(t.welcomes.c.no).with_for_update(key_share=True)
_MEMBER = (
    sa.select(
        t.groups.c.no, t.groups.c.last, t.members.c.state, t.members.c.since, t.members.c.until
    )
    .join(t.members, t.members.c.group_no == t.groups.c.no)
    .where(
        t.groups.c.group_id == sa.bindparam("group"),
        t.members.c.device_no == sa.bindparam("device"),
    )
)
