"""Readers: a few threads with connections of their own, which see what was committed."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa

T = TypeVar("T")

THREADS = 2


class Readers:
    """Runs read functions beside the writer."""

    def __init__(self, engine: sa.Engine, threads: int = THREADS) -> None:
        self._engine = engine
        self._own = threading.local()
        self._connections: list[sa.Connection] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pli reader")

    async def run(self, function: Callable[[sa.Connection], T]) -> T:
        """The function's result; it must only read."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._call, function)

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
