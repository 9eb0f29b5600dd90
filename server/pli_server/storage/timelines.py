"""The timelines of a database: 1 at first, one more each time that the relay is restored.

A row, a group or a Welcome is of the timeline in which its number was given: each timeline notes the
last numbers of the one before it. So nothing of them has a column for it, and a relay that was never
restored pays nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from pli_protocol.relay.frames import Origin, Position

from . import tables as t

FIRST: Final = 1

SETTLED_AFTER: Final = 72 * 3_600_000
"""Milliseconds after which commits are taken in a group whose devices have not all come back."""

TAKEN_FOR: Final = 8 * 86_400_000
"""Milliseconds for which rows are brought to a restored relay: clients keep them no longer."""


class Mark(NamedTuple):
    """Where a timeline begins."""

    timeline: int
    rows_after: int
    groups_after: int
    welcomes_after: int
    restored_at: int


class Timelines:
    """All that there were; the newest is the one that goes on."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self._marks = sorted(marks)

    @property
    def restored(self) -> bool:
        return bool(self._marks)

    @property
    def current(self) -> int:
        return self._marks[-1].timeline if self._marks else FIRST

    def mending(self, now: int) -> bool:
        """Whether the relay was restored so lately that devices are awaited."""
        return bool(self._marks) and now < self._marks[-1].restored_at + SETTLED_AFTER

    def taking(self, now: int) -> bool:
        """Whether the relay was restored so lately that rows are brought to it."""
        return bool(self._marks) and now < self._marks[-1].restored_at + TAKEN_FOR

    def of_row(self, number: int) -> int:
        """The timeline of the row with this `no`."""
        return self._of(number, [mark.rows_after for mark in self._marks])

    def of_welcome(self, number: int) -> int:
        """The timeline of the Welcome with this `no`."""
        return self._of(number, [mark.welcomes_after for mark in self._marks])

    def group_is_older(self, number: int) -> bool:
        """Whether the group was opened before the current timeline began."""
        return bool(self._marks) and number <= self._marks[-1].groups_after

    def rows_of(self, timeline: int) -> tuple[int, int]:
        """An older timeline's rows have numbers above the first and up to the second; none: (0, 0)."""
        began = {FIRST: 0} | {mark.timeline: mark.rows_after for mark in self._marks}
        ends = [mark.rows_after for mark in self._marks if mark.timeline > timeline]
        return (began[timeline], min(ends)) if timeline in began and ends else (0, 0)

    @property
    def began_after(self) -> int:
        """The number of the last row before the current timeline."""
        return self._marks[-1].rows_after if self._marks else 0

    def knows(self, timeline: int) -> bool:
        """Whether it is one of before the current one. A timeline that this database never was in may be,
        too: the relay lived in it between a restored backup and the next."""
        return FIRST <= timeline < self.current

    def had(self, timeline: int) -> bool:
        """Whether this database was in it, before the current one."""
        return timeline == FIRST or any(mark.timeline == timeline for mark in self._marks[:-1])

    def _of(self, number: int, after: Sequence[int]) -> int:
        found = FIRST
        for mark, last in zip(self._marks, after, strict=True):
            if number > last:
                found = mark.timeline
        return found


def read(db: sa.Connection) -> Timelines:
    """As the database has them; they change only while no relay runs on it."""
    return Timelines(Mark(*row) for row in db.execute(sa.select(*t.timelines.columns)))


def places(
    db: sa.Connection, timelines: Timelines, group_no: int, rows: Sequence[tuple[int, int]]
) -> list[tuple[Position, Origin | None]]:
    """Where rows (their `seq` and `no`) stand, and where those stood first that were brought."""
    firsts: dict[int, Origin] = {}
    if timelines.restored and rows:
        b = t.brought_rows.c
        for row in db.execute(
            sa.select(b.seq, b.timeline, b.first_seq, b.chain).where(
                b.group_no == group_no, b.seq.between(rows[0][0], rows[-1][0])
            )
        ):
            firsts[row.seq] = Origin(Position(row.timeline, row.first_seq), row.chain)
    return [(Position(timelines.of_row(no), seq), firsts.get(seq)) for seq, no in rows]


def current(db: sa.Connection) -> int:
    """The timeline that the database is in."""
    return read(db).current
