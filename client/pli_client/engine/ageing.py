"""Keys grow old: those of a past epoch go a day after it ended, by this computer's clock, online or not.

A count bounds them, too (mls.epoch.PAST_EPOCHS). The times that MLS itself keeps come from the relay's rows,
which may be too early, never too late; here nobody else's clock counts.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..errors import PliError
from ..store import mls_state
from ..vault import Database
from . import renewal
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
            now = int(engine.timing.clock() * 1000)
            if await engine.read(lambda db, at=now: _grown_old(db, at)):  # type: ignore[misc]
                await engine.write(forget_all_past)
            await renewal.if_due(engine)
        await engine.timing.pause(EVERY)


def forget_all_past(work: Work) -> None:
    """Drop the keys of every past epoch, in all groups, that ended more than a day ago."""
    for group_id in _grown_old(work.db, work.now):
        forget_past(work, group_id)


def forget_past(work: Work, group_id: bytes) -> None:
    """Drop the keys of the group's past epochs that ended more than a day ago."""
    group = work.load(group_id)
    if group is None or not group.past:
        return
    young = mls_state.epochs_ended(work.db, group_id, *_within(work.now))
    keep = sum(past.context.epoch in young for past in group.past)
    if keep < len(group.past):
        changed = group.forget_past(keep)
        work.keep(changed.group, changed.changes)
        work.scrub = True


def _within(now: int) -> tuple[int, int]:
    """A clock that was once far ahead must not keep keys for ever."""
    return now - KEPT, now + KEPT


def _grown_old(db: Database, now: int) -> list[bytes]:
    """Groups that hold keys of an epoch that ended more than a day ago."""
    return [
        group_id
        for group_id, epochs in mls_state.past_epochs(db).items()
        if not epochs <= mls_state.epochs_ended(db, group_id, *_within(now))
    ]
