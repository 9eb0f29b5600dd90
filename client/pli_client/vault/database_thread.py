"""The one thread that touches a vault's database, and how the event loop waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class DatabaseThread:
    """Runs one piece of work after another, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pli-vault")

    async def run(self, work: Callable[[], T]) -> T:
        """Its result or error. When cancelled: work that has not begun never does, begun work is awaited.

        So whoever is cancelled within a transaction knows that it is over, though not how it ended.
        """
        job = self._executor.submit(work)
        done = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            job.cancel()
            while not done.done():
                try:
                    await asyncio.wait((done,))
                except asyncio.CancelledError:
                    continue
            if not done.cancelled():
                done.exception()  # seen, so that asyncio does not complain
            raise

    def stop(self) -> None:
        """The thread ends after what is under way."""
        self._executor.shutdown(wait=False)
