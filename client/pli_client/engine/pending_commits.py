"""Sending a commit that waits, until its outcome stands in the log."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from pli_protocol.relay.frames import MAX_INLINE, CreateGroup, Send

from ..errors import RelayRefused
from ..payloads import as_payload
from ..store import groups, mls_state
from ..vault import transaction
from . import committing, founding

if TYPE_CHECKING:
    from .coming_back import ComingBack
    from .engine import Engine

OUTCOME: Final = transaction("outcome")

AGAIN: Final = 0.0


class PendingCommits:
    """Those of one conversation, one at a time."""

    def __init__(self, engine: Engine, coming_back: ComingBack) -> None:
        self._engine = engine
        self._coming_back = coming_back
        self._misfits = 0
        self.held_until = 0.0
        """Unix seconds until which a restored relay takes no commit in the conversation's group."""

    async def send(self, row: groups.GroupRow) -> float | None:
        """Send the commit that waits (again): its outcome stands in the log, nowhere else."""
        engine, timing = self._engine, self._engine.timing
        pending = await engine.read(lambda db: mls_state.pending(db, row.group_id))
        if pending is None:
            if row.state == "creating":
                await engine.write(lambda work: founding.abandon(work, row.group_id, "internal"))
            return AGAIN
        connection, random = engine.connection, engine.around.random
        intent = msgspec.msgpack.decode(pending.intent, type=committing.CommitIntent)
        predecessor = None if intent.beside else row.predecessor
        message = await as_payload(connection, pending.message, random)
        welcome = None
        if pending.welcome is not None:
            # Both in one frame: each may be small enough for it, and not the two together.
            room = MAX_INLINE - (len(message) if isinstance(message, bytes) else 0)
            welcome = await as_payload(connection, pending.welcome, random, room)
        frame = (
            CreateGroup(0, row.group_id, pending.send_id, message, welcome, predecessor)
            if pending.creates
            # The newest send: messages may have gone while a restored relay took no commit.
            else Send(0, pending.send_id, row.last_send, message, welcome)
        )
        try:
            accepted = await connection.request(frame)
        except RelayRefused as refused:
            return await self._refused(row, pending, refused)
        if pending.creates and row.timeline == 0:
            timeline = accepted.position.timeline
            await engine.write(
                lambda work: groups.set_timeline(work.db, row.group_id, timeline), name=OUTCOME
            )
        await engine.catch_up(row.group_id)
        still = await engine.read(lambda db: mls_state.pending(db, row.group_id))
        if still is not None and still.send_id == pending.send_id:
            return timing.trouble  # accepted, yet not in the log: a relay that errs
        return AGAIN

    async def _refused(
        self, row: groups.GroupRow, pending: mls_state.PendingCommit, refused: RelayRefused
    ) -> float | None:
        engine, timing = self._engine, self._engine.timing
        if refused.refusal == "try-later":
            return (refused.retry_after or 1000) / 1000
        if refused.refusal == "restored":
            wait = (refused.retry_after or 10_000) / 1000
            self.held_until = timing.clock() + wait
            return wait if pending.creates else AGAIN
        if pending.creates:
            await engine.write(
                lambda work: founding.abandon(work, row.group_id, refused.refusal), name=OUTCOME
            )
            if row.predecessor is not None:
                await engine.housekeeping.note_successors()
                self._coming_back.second(row.predecessor)
            return timing.between(timing.retry)
        with suppress(RelayRefused):
            await engine.catch_up(row.group_id)
        still = await engine.read(lambda db: mls_state.pending(db, row.group_id))
        if still is None or still.send_id != pending.send_id:
            return timing.between(timing.retry)  # another commit won; try again with jitter
        if refused.refusal in ("stale-epoch", "predecessor-missing", "conflict", "not-found"):
            self._misfits += 1
            if self._misfits < 3 or refused.refusal in ("conflict", "stale-epoch"):
                return timing.trouble
        self._misfits = 0
        await engine.write(
            lambda work: committing.refused(work, row, refused.refusal), name=OUTCOME
        )
        return timing.between(timing.retry)
