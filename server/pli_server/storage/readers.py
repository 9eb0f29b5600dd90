"""Readers: a few threads with connections of their own, which see what was committed."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa

from ..errors import Refusal
from .database import Database, Lane, Use
from .faults import Fault, describe

log = logging.getLogger(__name__)
T = TypeVar("T")

THREADS = 2
RETRY_MS = 1_000


class Readers:
    """Runs read functions beside the writer."""

    def __init__(
        self,
        database: Database,
        threads: int = THREADS,
        observe: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`observe` is told how long each read took, its waiting for a thread included."""
        self._database = database
        self._observe = observe
        self._own = threading.local()
        self._lanes: list[Lane] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pli reader")

    async def run(self, function: Callable[[sa.Connection], T]) -> T:
        """The function's result; it must only read.

        Raises:
            Refusal: try-later, the database cannot be reached; whatever the function raises.
        """
        begun = time.perf_counter()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._call, function)
        finally:
            self._observe(time.perf_counter() - begun)

    async def close(self) -> None:
        """Wait for what runs, then close the connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._pool.shutdown()
        for lane in self._lanes:
            lane.close()

    def _call(self, function: Callable[[sa.Connection], T]) -> T:
        lane: Lane | None = getattr(self._own, "lane", None)
        if lane is None:
            lane = self._own.lane = self._database.lane(Use.READING)
            self._lanes.append(lane)
        try:
            return lane.run(function)
        except Exception as error:
            if self._database.fault(error) is not Fault.LOST:
                raise
            lane.drop()
        # The server was restarted since the last read: another connection does.
        try:
            return lane.run(function)
        except Exception as error:
            if self._database.fault(error) is not Fault.LOST:
                raise
            lane.drop()
            log.warning("the database cannot be reached: %s", describe(error))
            raise Refusal("try-later", retry_after=RETRY_MS) from None
