"""Keeps the write-ahead log short: SQLite leaves every overwritten page in it, old ratchet keys too.

Only a checkpoint that truncates it takes them away. One runs beside, never inside, a write: once
nothing was written for QUIET seconds, at the latest MOST seconds after the first write since the
last one, at once when a scrub is asked for, and when the vault is opened and closed. So a dead key
can be in the file for MOST seconds and one checkpoint; longer only where checkpoints fail (a full
disk: tried again after QUIET), and after a crash until the vault is opened again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

QUIET: Final = 1.0
"""Seconds without a write after which the write-ahead log is emptied."""

MOST: Final = 20.0
"""Seconds after which it is emptied even while writes go on."""


class LogKeeper:
    """Calls `checkpoint` when it is time; it returns False where trying again makes no sense."""

    def __init__(
        self,
        checkpoint: Callable[[], Awaitable[bool]],
        pause: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._checkpoint, self._pause, self._clock = checkpoint, pause, clock
        self._writes = 0
        self._written = asyncio.Event()
        self._scrub = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="pli vault log")

    def written(self, *, scrub: bool = False) -> None:
        """Something was written; with `scrub`, secrets were deleted that should go at once."""
        self._writes += 1
        self._written.set()
        if scrub:
            self._scrub.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        again = True
        while again:
            await self._written.wait()
            await self._until_quiet()
            self._written.clear()
            self._scrub.clear()
            again = await self._checkpoint()

    async def _until_quiet(self) -> None:
        first, seen = self._clock(), -1
        while seen != self._writes and self._clock() - first < MOST and not self._scrub.is_set():
            seen = self._writes
            quiet = asyncio.ensure_future(self._pause(QUIET))
            asked = asyncio.ensure_future(self._scrub.wait())
            try:
                await asyncio.wait((quiet, asked), return_when=asyncio.FIRST_COMPLETED)
            finally:
                quiet.cancel()
                asked.cancel()
