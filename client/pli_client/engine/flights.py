"""Sends under way: at most a few per conversation, in order, the same bytes until an answer came."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pli_protocol.relay.frames import Accepted, Send

from ..errors import Offline, RelayRefused
from ..store import groups, outbox
from ..vault import transaction
from . import returning, sending
from .work import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import Engine

STORED: Final = transaction("stored")
OUTCOME: Final = transaction("outcome")

_HOPELESS: Final = ("invalid", "too-large", "limit")


class Flights:
    """Those of one conversation. `landed` is called whenever one ends."""

    def __init__(self, engine: Engine, conversation_id: bytes, landed: Callable[[], None]) -> None:
        self._engine = engine
        self._id = conversation_id
        self._landed = landed
        self._flights: dict[bytes, asyncio.Task[Accepted]] = {}
        self._misfits = 0

    def __len__(self) -> int:
        return len(self._flights)

    async def abandon(self) -> None:
        """The engine stops; the outcome of what is under way is learnt next time."""
        flights = list(self._flights.values())
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def start(self) -> None:
        """Put what is sealed on its way, in order; the same bytes as before, after a reconnection."""
        items = await self._engine.read(lambda db: outbox.in_state(db, self._id, "sealed"))
        for item in items:
            if item.send_id is None or item.ciphertext is None or item.send_id in self._flights:
                continue
            frame = Send(0, item.send_id, item.previous, item.ciphertext)
            task = asyncio.create_task(self._engine.connection.request(frame), name="pli send")
            task.add_done_callback(lambda _: self._landed())
            self._flights[item.send_id] = task

    async def collect(self) -> bool:
        """Note what became of the sends that ended; False: of none."""
        accepted: list[tuple[bytes, Accepted]] = []
        refused: list[tuple[bytes, RelayRefused]] = []
        for send_id, task in list(self._flights.items()):
            if not task.done():
                continue
            del self._flights[send_id]
            error = None if task.cancelled() else task.exception()
            if task.cancelled() or isinstance(error, Offline):
                continue  # unknown: the same bytes go again
            if isinstance(error, RelayRefused):
                refused.append((send_id, error))
            elif error is not None:
                raise error
            else:
                accepted.append((send_id, task.result()))
        if accepted:
            self._misfits = 0
            await self._engine.write(lambda work: _note_stored(work, accepted), name=STORED)
        if refused:
            await self._mend(refused)
        return bool(accepted or refused)

    async def _mend(self, refused: list[tuple[bytes, RelayRefused]]) -> None:
        """Sends that the relay refused: process what moved the epoch, send again in order, or fail."""
        engine, timing = self._engine, self._engine.timing
        codes = {error.refusal for _, error in refused}
        reasons = {send_id: error.refusal for send_id, error in refused}
        items = [
            item
            for send_id, _ in refused
            if (item := await engine.read(lambda db, s=send_id: outbox.by_send_id(db, s)))  # type: ignore[misc]
        ]
        hopeless = [i for i in items if reasons[i.send_id or b""] in _HOPELESS]
        if hopeless:

            def give_up(work: Work) -> None:
                for item in hopeless:
                    sending.fail(work, item, reasons[item.send_id or b""])

            await engine.write(give_up, name=OUTCOME)
            return
        if "try-later" in codes:
            waits = [error.retry_after or 1000 for _, error in refused]
            await timing.pause(max(waits) / 1000)
            return
        if self._flights:
            # Those behind a refused one end the same way; then all go again in order.
            await asyncio.wait(self._flights.values())
        if items and items[0].group_id is not None:
            await self._look_again(items[0].group_id, codes)
        self._misfits += 1

    async def _look_again(self, group_id: bytes, codes: set[str]) -> None:
        """Read the log: a commit in it unseals what was sealed for the epoch before."""
        engine, timing = self._engine, self._engine.timing
        readable = True
        try:
            await engine.catch_up(group_id)
        except RelayRefused as refused:
            readable = refused.refusal != "not-found"
        if "conflict" in codes:
            await engine.housekeeping.note_successors()
        if "not-found" in codes and not readable:
            # Neither writing nor reading: the relay delivers nothing to this device any more.
            await engine.write(lambda work: _shut_out(work, group_id), name=OUTCOME)
        elif codes & {"not-found", "conflict"} or self._misfits > 3:
            await timing.pause(timing.between(timing.retry))


def _shut_out(work: Work, group_id: bytes) -> None:
    row = groups.read(work.db, group_id)
    if row is not None and row.state == "active":
        returning.shut_out(work, row)


def _note_stored(work: Work, accepted: list[tuple[bytes, Accepted]]) -> None:
    for send_id, answer in accepted:
        item = outbox.by_send_id(work.db, send_id)
        if item is not None:
            sending.note_stored(work, item, answer.position, answer.time)
