"""Readers: a few threads with connections of their own, which see what was committed."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa

T = TypeVar("T")

THREADS = 2


class Readers:
    """Runs read functions beside the writer."""

    def __init__(
        self,
        engine: sa.Engine,
        threads: int = THREADS,
        observe: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`observe` is told how long each read took, its waiting for a thread included."""
        self._engine = engine
        self._observe = observe
        self._own = threading.local()
        self._connections: list[sa.Connection] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pli reader")

    async def run(self, function: Callable[[sa.Connection], T]) -> T:
        """The function's result; it must only read."""
        begun = time.perf_counter()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._call, function)
        finally:
            self._observe(time.perf_counter() - begun)

    def close(self) -> None:
        """Wait for what runs, then close the connections."""
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()

    def _call(self, function: Callable[[sa.Connection], T]) -> T:
        connection: sa.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._engine.connect()
            connection.exec_driver_sql("PRAGMA query_only = ON")
            self._connections.append(connection)
        return function(connection)
