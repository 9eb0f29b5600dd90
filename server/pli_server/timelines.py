"""What makes a relay's database the beginning of a new timeline, once it was restored (rule 6)."""

from typing import Final

import sqlalchemy as sa

from pli_protocol.transparency import Frontier

from .audit.acts import Act, Fact
from .audit.trail import record
from .storage import tables as t

SETTLED_AFTER: Final = 72 * 3_600_000
"""Milliseconds after which commits are taken in a group whose devices have not all come back."""


def begin(connection: sa.Connection, now: int) -> int:
    """Begin a new timeline in a database that was restored; returns its number.

    The number is the time (milliseconds since 1970): greater than any that was used before, also when
    the same backup is restored twice. Key packages that may have been handed out since are gone, sign-in
    tokens are forgotten (the first one shown is taken), uploads that were under way begin anew.
    """
    before = current(connection)
    number = max(now, before + 1)
    _write(connection, "timeline", str(number))
    _write(connection, "restored_at", str(now))
    connection.execute(
        sa.update(t.key_packages)
        .where(t.key_packages.c.last_resort == 0, t.key_packages.c.claimed.is_(None))
        # The hashes stay, so that none of them is ever published again.
        .values(claimed=now, key_package=None)
    )
    connection.execute(sa.update(t.devices).values(token=None, next_token=None))
    connection.execute(sa.delete(t.blobs).where(t.blobs.c.complete == 0))
    _trace(connection, now, number, before)
    return number


def _trace(connection: sa.Connection, now: int, number: int, before: int) -> None:
    """The first entry of the new timeline's log names the last head known of the one before."""
    found = connection.execute(
        sa.select(t.trace_trees).where(t.trace_trees.c.timeline == before)
    ).first()
    frontier = Frontier.decode(found.size, found.frontier) if found is not None else Frontier()
    facts: dict[str, Fact] = {"before": before, "size": frontier.size, "root": frontier.root}
    record(connection, now, number, Act.TIMELINE, None, **facts)


def current(connection: sa.Connection) -> int:
    """The timeline that the database is in; 1 where it was never restored."""
    return int(_read(connection, "timeline") or 1)


def restored_at(connection: sa.Connection) -> int | None:
    """When it was restored last (milliseconds since 1970); None: never."""
    found = _read(connection, "restored_at")
    return None if found is None else int(found)


def _read(connection: sa.Connection, key: str) -> str | None:
    found: str | None = connection.scalar(sa.select(t.meta.c.value).where(t.meta.c.key == key))
    return found


def _write(connection: sa.Connection, key: str, value: str) -> None:
    update = sa.update(t.meta).where(t.meta.c.key == key).values(value=value)
    if connection.execute(update).rowcount == 0:
        connection.execute(sa.insert(t.meta).values(key=key, value=value))
