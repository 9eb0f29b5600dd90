"""What the relay pushes, in order: rows in batches, Welcomes, notices.

Pushing hands over and returns: rows wait here, at most a window of them, and are taken many at a time
in one transaction. What failed is fetched again; the guard drops what comes twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pli_protocol.relay.frames import (
    DirectoryChanged,
    GroupRefounded,
    PartnersChanged,
    RelayFrame,
    RevocationsChanged,
    Row,
    StatementsChanged,
    WelcomeWaiting,
)

from ..errors import PliError, RelayError, RelayRefused
from ..payloads import if_there
from ..store import groups
from ..vault import transaction
from . import founding, joining
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

JOIN: Final = transaction("join")
REFOUNDED: Final = transaction("refounded")

BATCH: Final = 64
"""Rows taken in one transaction."""


class Inflow:
    """The pushes of one connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[RelayFrame] = deque()
        self._something = asyncio.Event()
        self._missed: set[bytes] = set()
        self._busy = False

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._busy and not self._missed

    async def push(self, frame: RelayFrame) -> None:
        self._waiting.append(frame)
        self._something.set()

    def forget(self) -> None:
        """The connection is gone: the relay pushes again what was not acknowledged."""
        self._waiting.clear()

    async def run(self) -> None:
        while True:
            await self._something.wait()
            await self._engine.repair.wait()
            self._busy = True
            try:
                await self._take_some()
            except (TimeoutError, PliError) as error:
                await self._failed(error)
            except Exception as error:
                from .engine import log

                log.error("what the relay pushed could not be taken", exc_info=error)
                await self._failed(error)
            finally:
                self._busy = False
            if not self._waiting:
                self._something.clear()
            self._engine.announce()

    async def _failed(self, error: Exception) -> None:
        """Wait, then fetch what was meant to be processed: nothing was acknowledged."""
        timing = self._engine.timing
        relay = isinstance(error, RelayError)
        await timing.pause(timing.between(timing.retry) if relay else timing.trouble)
        await self.catch_up_missed()

    async def _take_some(self) -> None:
        if not self._waiting:
            return
        first = self._waiting[0]
        if not isinstance(first, Row):
            await self._notice(first)
            if self._waiting and self._waiting[0] is first:
                self._waiting.popleft()
            return
        rows: list[Row] = []
        while self._waiting and len(rows) < BATCH:
            following = self._waiting[0]
            if not isinstance(following, Row):
                break
            rows.append(following)
            self._waiting.popleft()
        self._missed |= {row.group for row in rows}
        gaps = await self._engine.take_rows(rows)
        self._missed -= {row.group for row in rows} - gaps
        if gaps:
            await self.catch_up_missed()

    async def catch_up_missed(self) -> None:
        """Fetch the groups in which something is missing. What fails is tried at the next sign-in."""
        for group_id in list(self._missed):
            try:
                await self._engine.catch_up(group_id)
            except RelayRefused:
                pass
            except PliError:
                continue
            self._missed.discard(group_id)

    async def _notice(self, frame: RelayFrame) -> None:
        match frame:
            case WelcomeWaiting():
                await self._welcome(frame)
            case GroupRefounded(group, successor):
                await self._refounded(group, successor)
            case RevocationsChanged(establishment, number):
                engine = self._engine
                fetching = engine.housekeeping.fetch_revocations(establishment, number)
                engine.spawn(fetching, "pli revocations")
            case StatementsChanged(establishment, number):
                engine = self._engine
                engine.spawn(engine.statements_changed(establishment, number), "pli statements")
            case PartnersChanged():
                self._engine.spawn(self._engine.partners.keep_fresh(), "pli partners")
            case DirectoryChanged():
                self._engine.spawn(self._engine.directory_changed(), "pli directory")
            case _:
                pass

    async def _welcome(self, frame: WelcomeWaiting) -> None:
        engine = self._engine
        data = await if_there(engine.connection, frame.welcome)
        if data is not None:
            await self._read_old_log(frame)
        outcome = await engine.write_knowing_partners(
            lambda work: joining.welcome(work, frame, data), name=JOIN
        )
        if outcome.refused is None:
            engine.housekeeping.package_used()
            self._missed.add(frame.group)  # a row that came before its Welcome was dropped
            await self.catch_up_missed()
        if outcome.ask_return:
            engine.housekeeping.ask_return_soon(frame.group, outcome.refused or "welcome")
        if outcome.conversation_id is not None:
            engine.wake(outcome.conversation_id)

    async def _read_old_log(self, frame: WelcomeWaiting) -> None:
        """What the log has of before: own sends of unknown outcome, a predecessor's last members."""
        for group_id in (frame.predecessor, frame.group):
            if group_id is not None:
                with suppress(RelayRefused):
                    await self._engine.catch_up(group_id)

    async def _refounded(self, group_id: bytes, successor: bytes) -> None:
        engine = self._engine
        with suppress(RelayRefused):
            await engine.catch_up(group_id)

        def step(work: Work) -> None:
            row = groups.read(work.db, group_id)
            if row is not None and row.successor is None:
                founding.adopt_successor(work, row, successor)

        await engine.write(step, name=REFOUNDED)
