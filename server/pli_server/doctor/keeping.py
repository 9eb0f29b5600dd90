"""Checks of what is kept for later: backups and the trace."""

import time
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from ..backup.schedule import last_backup
from ..storage import tables as t
from .findings import Finding, Situation, fail, ok, warn
from .storage import read

HOUR: Final = 3600
LATE: Final = 2.0
"""How many intervals may pass before a missing backup is more than late."""


def backup(situation: Situation) -> Iterable[Finding]:
    """There is a schedule, and it is kept."""
    settings = situation.settings
    if settings.backup.directory is None:
        yield warn(
            "backup",
            "there is no schedule in the settings",
            "[backup] directory and key; or make sure that something else backs up",
        )
        return
    last = last_backup(settings)
    if last is None:
        yield fail("backup", f"there is none in {settings.backup.directory}", "see the relay's log")
        return
    hours = (time.time() - last / 1000) / HOUR
    text = f"the newest is {hours:.0f} hours old"
    if hours > LATE * settings.backup.hours:
        yield fail("backup", text, "see the relay's log; pli-server backup FOLDER makes one now")
    elif hours > settings.backup.hours + 1:
        yield warn("backup", text, "it is late: see the relay's log")
    else:
        yield ok("backup", text)


def trace(situation: Situation) -> Iterable[Finding]:
    """Every entry that the newest head counts is there."""
    held = sa.select(sa.func.count()).where(t.trace_entries.c.timeline == t.trace_trees.c.timeline)
    query = sa.select(t.trace_trees.c.timeline, t.trace_trees.c.size, held.scalar_subquery())
    trees = read(situation, lambda db: db.execute(query).all())
    short = [(timeline, size - count) for timeline, size, count in trees if size != count]
    if short:
        timeline, missing = short[0]
        yield fail(
            "trace",
            f"of timeline {timeline} {missing} entries are missing",
            "somebody changed the database: keep a copy of it, and tell the establishments",
        )
    else:
        yield ok("trace", f"{sum(tree.size for tree in trees)} entries")
