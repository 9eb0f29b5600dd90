"""The one writer: a thread that groups what waits into one transaction and answers after COMMIT.

    loop ── submit(job) ──> queue ── batch ──> BEGIN … each job … COMMIT (flushed) ──> loop: finish(outcome)

Outcomes come back to the loop in the order of the log. What happens on the thread is in `committing`.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from ..errors import Refusal, StorageFailed
from .changes import Changes
from .committing import Committed, Committer
from .database import Database
from .faults import describe
from .jobs import Job, Work
from .locks import Owners
from .transaction import Transaction
from .usage import Usage

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH_JOBS: Final = 512
BATCH_BYTES: Final = 8 * 1024 * 1024
ACKNOWLEDGE_SECONDS: Final = 0.5


class Writer:
    """The queue before the database. Its methods are called on the loop, except where they say."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], int],
        timeline: int,
        queued_bytes: int,
        usage: Usage,
        on_failure: Callable[[], None],
        on_commit: Callable[[int, float], None] = lambda jobs, seconds: None,
        on_changes: Callable[[Changes], None] = lambda changes: None,
    ) -> None:
        """`on_commit` is told, on the writer's thread, of each transaction's jobs and seconds;
        `on_changes`, on the loop, of what it changed, once its jobs were answered.
        """
        self._loop = asyncio.get_running_loop()
        self._limit = queued_bytes
        self._on_failure = on_failure
        self._on_commit = on_commit
        self._on_changes = on_changes
        self._stopping = threading.Event()
        self._committer = Committer(
            database, clock=clock, timeline=timeline, usage=usage, stopping=self._stopping
        )
        self.undone = self._committer.undone
        """Transactions that were undone, by cause."""
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._queued = 0
        self._cursors: dict[tuple[int, int], int] = {}
        self._cursors_lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._failed = False
        self._closed = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="pli writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Bytes of requests that wait for the disk."""
        return self._queued

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            Refusal: try-later, too much waits already.
            StorageFailed: nothing is written any more.
        """
        if self._failed:
            raise StorageFailed
        if self._queued > self._limit:
            raise Refusal("try-later", "too much is waiting for the disk", retry_after=1000)
        self._queued += job.size
        self._queue.put(job)

    async def do(
        self,
        what: str,
        function: Callable[[Transaction], T],
        *,
        then: Callable[[T], None] | None = None,
        key: tuple[int, bytes] | None = None,
        size: int = 256,
        owners: Owners = None,
        groups: tuple[bytes, ...] = (),
    ) -> T:
        """Run a function in the next transaction; returns when its work is on disk.

        It may be run more than once: until COMMIT nothing but the transaction may be changed by it.

        Args:
            owners: What keeps other nodes out while it checks and writes (`locks`); None: alone of all.
            groups: The groups that it will ask the transaction for.

        Raises:
            Refusal: by the function, or try-later when it could not be stored.
            StorageFailed: it is not known whether it was stored.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self.submit(
            Work(what, function, then, future, key=key, size=size, owners=owners, groups=groups)
        )
        return await future

    def post(self, what: str, function: Callable[[Transaction], T], owners: Owners = None) -> None:
        """The same without waiting for it; nobody is told when it is refused."""
        self.submit(Work(what, function, None, None, owners=owners))

    def note(self, what: str, function: Callable[[Transaction], None]) -> None:
        """The same for a trace of what was answered already: left out when nothing can be stored."""
        with contextlib.suppress(Refusal, StorageFailed):
            self.post(what, function, ())

    def acknowledge(self, group_no: int, device_no: int, seq: int) -> None:
        """Move a cursor with the next transaction; losing it only costs sending rows again."""
        with self._cursors_lock:
            self._cursors[group_no, device_no] = seq
        if self._timer is None:
            self._timer = self._loop.call_later(ACKNOWLEDGE_SECONDS, self._flush_cursors)

    async def close(self) -> None:
        """Write what waits, then stop."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._failed:
            with contextlib.suppress(Refusal):
                self.post("acknowledge", lambda tx: tx.trail.close(), ())
        self._stopping.set()
        self._queue.put(None)
        await self._closed
        self._thread.join()

    def _flush_cursors(self) -> None:
        self._timer = None
        if self._cursors and not self._failed:
            try:
                self.post("acknowledge", lambda _: None, ())
            except Refusal:
                self._timer = self._loop.call_later(ACKNOWLEDGE_SECONDS, self._flush_cursors)

    def _deliver(self, batch: list[Job], outcomes: Sequence[Any]) -> None:
        for job, outcome in zip(batch, outcomes, strict=True):
            self._queued -= job.size
            try:
                job.finish(outcome)
            except Exception as error:
                log.error("finishing a %s failed: %s", job.what, describe(error))

    def _committed(self, batch: list[Job], done: Committed) -> None:
        self._deliver(batch, done.outcomes)
        if done.changes is not None:
            self._on_changes(done.changes)
        if done.broken:
            self._on_failure()

    # --- on the writer's thread ---------------------------------------------------------------

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch, stopping = self._gather()
            if batch and not self._failed:
                self._write(batch)
            elif batch:
                failed = Committed([StorageFailed()] * len(batch))
                self._loop.call_soon_threadsafe(self._committed, batch, failed)
        self._committer.close()
        self._loop.call_soon_threadsafe(self._closed.set_result, None)

    def _gather(self) -> tuple[list[Job], bool]:
        job = self._queue.get()
        if job is None:
            return [], True
        batch, size = [job], job.size
        while len(batch) < BATCH_JOBS and size < BATCH_BYTES:
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
            size += job.size
        return batch, False

    def _write(self, batch: list[Job]) -> None:
        with self._cursors_lock:
            cursors, self._cursors = self._cursors, {}
        begun = time.perf_counter()
        done = self._committer.commit(batch, cursors)
        if done.changes is not None:
            self._on_commit(len(batch), time.perf_counter() - begun)
        else:
            # They go with the next transaction: else their devices would get those rows again.
            with self._cursors_lock:
                self._cursors = {**cursors, **self._cursors}
        # Said here too: the next batch is looked at before the loop hears of it.
        self._failed = done.broken
        self._loop.call_soon_threadsafe(self._committed, batch, done)
