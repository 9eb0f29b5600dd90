"""How far the log of a group in an older timeline is held: as it was restored, then as it was brought."""

from dataclasses import dataclass

import sqlalchemy as sa

from pli_protocol.relay.log import FIRST_CHAIN

from ..storage import tables as t
from ..storage import timelines as times
from ..storage.groups import GroupState
from ..storage.transaction import Transaction


@dataclass(slots=True)
class OldLog:
    """How far an old timeline's log is held. `last` 0: nothing of it."""

    last: int
    chain: bytes


def old_log(
    tx: Transaction, timelines: times.Timelines, group: GroupState, timeline: int
) -> OldLog:
    """How far the log of an older timeline is held: by what was brought, else by what was restored."""
    o = t.old_logs.c
    found = tx.connection.execute(
        sa.select(o.last, o.chain).where(o.group_no == group.no, o.timeline == timeline)
    ).first()
    if found is not None:
        return OldLog(found.last, found.chain)
    after, until = timelines.rows_of(timeline)
    own = tx.connection.execute(
        sa.select(t.rows.c.seq, t.rows.c.chain)
        .where(t.rows.c.group_no == group.no, t.rows.c.no > after, t.rows.c.no <= until)
        .order_by(t.rows.c.seq.desc())
        .limit(1)
    ).first()
    return OldLog(0, FIRST_CHAIN) if own is None else OldLog(own.seq, own.chain)


def store_old_log(tx: Transaction, group: GroupState, timeline: int, log: OldLog) -> None:
    """Note it, once something of it was brought."""
    of_log = (t.old_logs.c.group_no == group.no, t.old_logs.c.timeline == timeline)
    value = {"last": log.last, "chain": log.chain}
    if tx.connection.execute(sa.update(t.old_logs).where(*of_log).values(value)).rowcount == 0:
        key = {"group_no": group.no, "timeline": timeline}
        tx.connection.execute(sa.insert(t.old_logs).values({**key, **value}))
