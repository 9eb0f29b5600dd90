"""The one thread that touches a vault's database (aiosqlite's), and how the event loop waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Any, TypeVar, cast

import aiosqlite

from .database import Connection

T = TypeVar("T")


class DatabaseThread:
    """Runs one piece of work after another, in the order in which they were asked for."""

    def __init__(self, connector: Callable[[], Connection]) -> None:
        # aiosqlite types its connections as sqlite3's; SQLCipher's are of the same shape.
        self._database = aiosqlite.Connection(cast(Any, connector), iter_chunk_size=64)
        # A vault that was forgotten open must not keep the process: to the file that is a kill.
        self._database._thread.daemon = True

    async def start(self) -> None:
        """Run the connector; raises what it raises, and the thread is gone then."""

        connected = False

        async def connect() -> None:
            nonlocal connected
            await self._database
            connected = True

        try:
            await _to_its_end(connect())
        finally:
            if not connected:
                # aiosqlite lets go of its thread unseen, which must not outlive the event loop.
                await asyncio.to_thread(self._database._thread.join)

    async def run(self, work: Callable[[], T]) -> T:
        """Its result or error. When cancelled: work that has not begun never does, begun work is awaited.

        So whoever is cancelled within a transaction knows that it is over, though not how it ended.
        """
        turn = _Turn()

        def in_turn() -> T | None:
            return work() if turn.take() else None

        # A transaction is many statements and must be one hop: aiosqlite's public methods are one
        # statement each, so the work itself is handed to its thread.
        hop: Callable[[Callable[[], T | None]], Awaitable[T | None]] = self._database._execute
        return cast(T, await _to_its_end(hop(in_turn), turn.take))

    async def stop(self) -> None:
        """Close the connection and end the thread after what is under way."""
        ended = self._database.stop()
        if ended is not None:
            await _to_its_end(ended)


class _Turn:
    """Begun or given up, whichever comes first, on whichever thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._settled = False

    def take(self) -> bool:
        """True for the first who asks: the thread that begins, or the caller that gives up."""
        with self._lock:
            first, self._settled = not self._settled, True
            return first


async def _to_its_end(work: Awaitable[T], give_up: Callable[[], bool] = lambda: False) -> T:
    """Await it; a caller that is cancelled meanwhile gets its CancelledError when it is over."""
    done = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        if give_up():
            done.cancel()
        while not done.done():
            try:
                await asyncio.wait((done,))
            except asyncio.CancelledError:
                continue
        if not done.cancelled():
            done.exception()  # seen, so that asyncio does not complain
        raise
