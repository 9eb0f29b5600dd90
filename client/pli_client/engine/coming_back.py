"""Coming back, from this device's side: ask to be added again, re-found, or go on beside."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pli_protocol.relay.frames import GetCommitReports

from ..errors import RelayRefused
from ..store import groups, log_rows, people
from ..vault import transaction
from . import decisions, founding, returning, suite_change
from .profile import SUITE
from .repair import LOST_COMMIT
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

REFOUND: Final = transaction("refound")
OUTCOME: Final = transaction("outcome")

AGAIN: Final = 0.0

FOR_UPDATES: Final = 4 * 3600
"""Seconds between two looks whether all members have updated to today's suite."""
LONGEST_FOR_UPDATES: Final = 3 * 86_400
"""Seconds of trouble after which those who have not are left out (and shown as such)."""


class ComingBack:
    """One conversation's way back; each step says in how many seconds to look again."""

    def __init__(self, engine: Engine, conversation_id: bytes) -> None:
        self._engine = engine
        self._id = conversation_id
        self._refound_at: tuple[bytes, float] | None = None

    def second(self, predecessor: bytes) -> None:
        """Somebody else was first to re-found: their Welcome is on its way."""
        timing = self._engine.timing
        self._refound_at = (predecessor, timing.clock() + timing.trouble)

    async def step(self, row: groups.GroupRow) -> float | None:
        """Ask to be added again; after a minute without an answer, re-found the conversation."""
        engine, timing = self._engine, self._engine.timing
        if row.successor is not None:
            return await self._await_successor(row, row.successor)
        now = timing.clock()
        if row.detail == LOST_COMMIT:
            return await self._refound_without_asking(row, now)
        if row.asked_at is None or now - row.asked_at / 1000 > timing.ask_again:
            engine.housekeeping.may_ask_again(row.group_id)
            await engine.housekeeping.ask_return(row.group_id, row.detail or row.state)
            return AGAIN
        if self._refound_at is None or self._refound_at[0] != row.group_id:
            began = (row.trouble_at or int(now * 1000)) / 1000
            due = decisions.refound_due(began, timing.refound_after, timing.chance())
            self._refound_at = (row.group_id, due)
        if now < self._refound_at[1]:
            return self._refound_at[1] - now
        return await self._refound(row)

    async def _refound_without_asking(self, row: groups.GroupRow, now: float) -> float | None:
        """Others went on without this device's commits, whom they removed among them: to be added again
        there would bring these back."""
        if self._refound_at is None or self._refound_at[0] != row.group_id:
            delay = self._engine.timing.between(self._engine.timing.others_wait)
            self._refound_at = (row.group_id, now + delay)
        if now < self._refound_at[1]:
            return self._refound_at[1] - now
        return await self._refound(row)

    async def _await_successor(self, row: groups.GroupRow, successor: bytes) -> float | None:
        """The group was re-founded: a Welcome comes, or is asked for, or was rightly refused."""
        engine, timing = self._engine, self._engine.timing
        await timing.pause(timing.welcome_grace)
        if await engine.read(lambda db: groups.read(db, successor)) is not None:
            return timing.trouble
        why = await engine.read(lambda db: groups.refused_welcome(db, successor))
        if why == "successor-members":
            return await self._refound_beside(row)
        refusal = await engine.housekeeping.ask_return(successor, "successor")
        if refusal == "not-found":
            await engine.write(lambda work: _shut_out(work, row), name=OUTCOME)
        return timing.ask_again

    async def _refound_beside(self, row: groups.GroupRow) -> float | None:
        """Somebody who is no member, or who adds others, was first to re-found: go on without them.

        The relay takes one successor, so this one is a group of its own; members take it by the same
        rule as a successor.
        """
        timing = self._engine.timing
        if not await self._engine.write(lambda work: work.load(row.group_id) is not None):
            return timing.ask_again  # whoever kept the group's state will found it
        if self._refound_at is None or self._refound_at[0] != row.successor:
            own = self._engine.own.device_id
            rows = await self._engine.read(lambda db: groups.members(db, row.group_id))
            lowest = min((m.leaf, m.device_id) for m in rows)[1] == own
            delay = 0.0 if lowest else timing.between(timing.others_wait)
            self._refound_at = (row.successor or b"", timing.clock() + delay)
        wait = self._refound_at[1] - timing.clock()
        return wait if wait > 0 else await self._refound(row)

    async def _refound(self, row: groups.GroupRow) -> float | None:
        engine, timing = self._engine, self._engine.timing
        with suppress(RelayRefused):
            await engine.catch_up(row.group_id)
        culprit = await self._culprit(row)
        if culprit is None and await self._removed_by_refused(row):
            return AGAIN
        wanted = await engine.write(lambda work: founding.accounts_of(work, row.group_id))
        claimed = await engine.claim([*wanted, engine.own.address])
        if await engine.write(lambda work: waits_for_updates(work, row, claimed)):
            self._refound_at = (row.group_id, engine.timing.clock() + FOR_UPDATES)
            return engine.timing.ask_again

        def step(work: Work) -> bool:
            now = groups.read(work.db, row.group_id)
            if now != row:
                return False
            return founding.refound(work, row, claimed, culprit)

        made = await engine.write(step, name=REFOUND)
        return AGAIN if made else timing.between(timing.retry)

    async def _removed_by_refused(self, row: groups.GroupRow) -> bool:
        """Others applied the commit that this device refused, and it removes this device."""
        seq = row.trouble_seq
        if row.state != "refused" or seq is None:
            return False

        def step(work: Work) -> bool:
            commit = log_rows.kept_row(work.db, row.group_id, row.timeline, seq)
            if commit is not None:
                returning.note_removals(work, row, commit)
            now = groups.read(work.db, row.group_id)
            return now is not None and now.state == "removed"

        return await self._engine.write(step, name=OUTCOME)

    async def _culprit(self, row: groups.GroupRow) -> bytes | None:
        if row.trouble_seq is None or row.culprit is None:
            return None
        engine = self._engine
        try:
            answer = await engine.connection.request(
                GetCommitReports(0, row.group_id, row.trouble_seq)
            )
        except RelayRefused:
            return row.culprit

        def persons(work: Work) -> dict[bytes, bytes]:
            devices = [report.device for report in answer.reports] + [row.culprit or b""]
            found = {d: people.person_of_device(work.db, d) for d in devices}
            return {d: p for d, p in found.items() if p is not None}

        owners = await engine.write(persons)
        return decisions.culprit_of(answer.reports, owners, row.culprit)


def waits_for_updates(
    work: Work, row: groups.GroupRow, claimed: list[tuple[bytes, bytes, bytes]]
) -> bool:
    """Whether to go on asking instead of re-founding a group of an old suite without some members.

    Only this device lost its state: whoever has not updated yet can still add it again.
    """
    if row.state != "lost" or work.suite_of(row.group_id) in (None, SUITE.number):
        return False
    if work.now - (row.trouble_at or work.now) > LONGEST_FOR_UPDATES * 1000:
        return False
    return bool(suite_change.left_behind(work, row, claimed))


def _shut_out(work: Work, row: groups.GroupRow) -> None:
    """Unless the successor's Welcome came while the relay was asked."""
    now = groups.current(work.db, row.conversation_id)
    if now is not None and (now.group_id, now.state) == (row.group_id, row.state):
        returning.shut_out(work, row)
