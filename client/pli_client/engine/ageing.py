"""Keys grow old while nothing happens: those of past epochs go after a day, online or not.

A count bounds them while commits come (mls.epoch.PAST_EPOCHS); where none come, only time does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..errors import PliError
from ..store import groups, mls_state
from ..vault import Database
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

KEPT: Final = 86_400_000
"""Milliseconds for which keys of past epochs open late messages."""

EVERY: Final = 3600.0
"""Seconds between two looks."""


async def keep_young(engine: Engine) -> None:
    """Look now, then once an hour, until cancelled."""
    while True:
        with suppress(PliError):
            before = int(engine.timing.clock() * 1000) - KEPT
            if await engine.read(lambda db, at=before: _grown_old(db, at)):  # type: ignore[misc]
                await engine.write(forget_past)
        await engine.timing.pause(EVERY)


def forget_past(work: Work) -> None:
    """Drop the keys of past epochs of every group whose present one is a day old."""
    for group_id in _grown_old(work.db, work.now - KEPT):
        group = work.load(group_id)
        if group is not None and group.past:
            changed = group.forget_past()
            work.keep(changed.group, changed.changes)
            work.scrub = True


def _grown_old(db: Database, before: int) -> list[bytes]:
    found = []
    for group_id in mls_state.with_past(db):
        row = groups.read(db, group_id)
        since = None if row is None else mls_state.epoch_since(db, group_id, row.epoch)
        if since is not None and since < before:
            found.append(group_id)
    return found
