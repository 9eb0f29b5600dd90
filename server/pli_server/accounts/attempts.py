"""Limits on guessing, in the database: per account, across connections and nodes.

An attempt counts as a failure before the password is looked at, so that many at once are no way around
it; who proves to be right is forgotten. Names that do not exist are counted like those that do.
"""

from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..settings import Accounts
from ..storage import tables as t
from ..storage.transaction import Transaction

FORGOTTEN_MS: Final = 86_400_000
"""Milliseconds after which the sweep forgets an attempt."""


class Counted(NamedTuple):
    """What is known when an attempt begins."""

    locked: bool
    """It is refused, whatever it holds."""
    retry_after: int | None
    """Milliseconds until another attempt is looked at, if this one fails."""


def count(tx: Transaction, establishment: bytes, holder: bytes, limits: Accounts) -> Counted:
    """Count an attempt; while the lock lasts none is counted, so that nobody is locked out for ever."""
    row = _row(tx, establishment, holder, limits)
    if row.locked_until > tx.now:
        return Counted(True, row.locked_until - tx.now)
    failures = row.failures + 1
    lock = _lock_ms(failures, limits)
    tx.connection.execute(
        sa.update(t.attempts)
        .where(t.attempts.c.establishment == establishment, t.attempts.c.holder == holder)
        .values(failures=failures, locked_until=tx.now + lock, time=tx.now)
    )
    return Counted(False, lock or None)


def forget(tx: Transaction, establishment: bytes, holder: bytes) -> None:
    """It was right, or there is nothing to be tried any more."""
    tx.connection.execute(
        sa.delete(t.attempts).where(
            t.attempts.c.establishment == establishment, t.attempts.c.holder == holder
        )
    )


def forget_old(tx: Transaction, now: int) -> int:
    """For the sweep: no lock lasts that long."""
    return tx.connection.execute(
        sa.delete(t.attempts).where(t.attempts.c.time < now - FORGOTTEN_MS)
    ).rowcount


def _lock_ms(failures: int, limits: Accounts) -> int:
    """Nothing at first, then doubling."""
    over = failures - limits.attempts
    if over < 0:
        return 0
    return min(limits.lock_seconds << min(over, 24), limits.lock_seconds_most) * 1000


def _row(
    tx: Transaction, establishment: bytes, holder: bytes, limits: Accounts
) -> "sa.Row[Any, Any]":
    db = tx.connection
    here = (t.attempts.c.establishment == establishment, t.attempts.c.holder == holder)
    wanted = (
        sa.select(t.attempts.c.failures, t.attempts.c.locked_until).where(*here).with_for_update()
    )
    found = db.execute(wanted).first()
    if found is None:
        _make_room(db, limits.attempts_kept)
        db.execute(_NEW, {"establishment": establishment, "holder": holder, "time": tx.now})
        found = db.execute(wanted).one()
    return found


def _make_room(db: sa.Connection, most: int) -> None:
    """Anybody can invent names: the oldest go. Argon2's pace makes that take longer than any lock."""
    count = db.scalar(sa.select(sa.func.count()).select_from(t.attempts)) or 0
    if count >= most:
        oldest = sa.select(sa.func.min(t.attempts.c.time)).scalar_subquery()
        db.execute(sa.delete(t.attempts).where(t.attempts.c.time == oldest))


_NEW: Final = sa.text(
    "INSERT INTO attempts (establishment, holder, failures, locked_until, time)"
    " VALUES (:establishment, :holder, 0, 0, :time) ON CONFLICT DO NOTHING"
)
