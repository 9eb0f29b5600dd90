"""How long the trace keeps what it tells: then salt and body go, hash and class stay."""

from typing import Final

import sqlalchemy as sa

from ..storage import tables as t
from ..storage.transaction import Transaction
from .acts import Act

YEAR_MS: Final = 365 * 86_400_000
LEAST_MS: Final = YEAR_MS // 2
"""The shortest retention that is allowed: six months."""


def age_ms(months: int) -> int:
    """Milliseconds after which a body goes."""
    return months * YEAR_MS // 12


def clear_bodies(tx: Transaction, old: int, step: int) -> int:
    """Delete salt, body and establishment of entries of before `old`; how many, at most `step`."""
    chosen = tx.connection.execute(
        sa.select(t.trace_entries.c.timeline, t.trace_entries.c.no)
        .where(t.trace_entries.c.time < old, t.trace_entries.c.body.is_not(None))
        .order_by(t.trace_entries.c.time)
        .limit(step)
    ).all()
    if not chosen:
        return 0
    tx.connection.execute(
        sa.update(t.trace_entries)
        .where(
            t.trace_entries.c.timeline == sa.bindparam("of"),
            t.trace_entries.c.no == sa.bindparam("entry"),
        )
        .values(salt=None, body=None, establishment=None),
        [{"of": row.timeline, "entry": row.no} for row in chosen],
    )
    tx.trace(Act.RETENTION, None, bodies=len(chosen))
    return len(chosen)
