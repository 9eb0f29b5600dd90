"""The one writer: a thread that groups what waits into one transaction and answers after COMMIT.

    loop ── submit(job) ──> queue ── batch ──> BEGIN … each job … COMMIT (flushed) ──> loop: finish(outcome)

Each job is isolated: a hot job (a message) checks everything before it gathers its row, any other
runs inside a savepoint. Outcomes come back to the loop in the order of the log.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

import sqlalchemy as sa

from pli_protocol.failpoint import declare, failpoint

from ..audit.tally import Tally
from ..errors import Refusal, StorageFailed
from .faults import BROKEN, BUSY, FULL, describe, result_code
from .groups import GroupCache
from .transaction import Transaction
from .usage import Usage

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH_JOBS: Final = 512
BATCH_BYTES: Final = 8 * 1024 * 1024
RETRY_FULL_MS: Final = 10_000
RETRY_BUSY_MS: Final = 1_000
ACKNOWLEDGE_SECONDS: Final = 0.5

WRITES: Final = (
    "acknowledge",
    "attempt",
    "blob",
    "blob-fetch",
    "claim",
    "commit",
    "confirm-token",
    "create-group",
    "enrolment-answer",
    "enrolment-request",
    "head",
    "key-packages",
    "leave",
    "partner",
    "password",
    "recovery-codes",
    "register",
    "report",
    "reset-credentials",
    "return",
    "revocations",
    "second-factor",
    "send",
    "sign-in",
    "sign-in-failed",
    "sweep",
    "totp",
    "welcome",
)
"""The kinds of write transaction, each with fail points relay.<kind>.before, .within, .after."""

declare(*(f"relay.{what}.{when}" for what in WRITES for when in ("before", "within", "after")))


class Job(Protocol):
    """Something to write."""

    what: str
    size: int
    hot: bool
    key: tuple[int, bytes] | None
    """Device number and send id, where the job appends a row."""

    def apply(self, tx: Transaction, /) -> Any:
        """Do it, on the writer's thread; raises Refusal."""

    def finish(self, outcome: Any, /) -> None:
        """On the loop, after COMMIT: the result, a Refusal or StorageFailed."""


class Work(Generic[T]):
    """A job made of functions; `then` runs on the loop in the order of the log, before any later job's."""

    hot = False

    def __init__(
        self,
        what: str,
        function: Callable[[Transaction], T],
        then: Callable[[T], None] | None,
        future: "asyncio.Future[T] | None",
        key: tuple[int, bytes] | None = None,
        size: int = 256,
    ) -> None:
        self.what = what
        self.key = key
        self.size = size
        self._function = function
        self._then = then
        self._future = future

    def apply(self, tx: Transaction) -> T:
        return self._function(tx)

    def finish(self, outcome: Any) -> None:
        failed = isinstance(outcome, Exception)
        if not failed and self._then is not None:
            self._then(outcome)
        if self._future is None or self._future.done():
            return
        if failed:
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)


class Writer:
    """Owns the write connection. Its methods are called on the loop, except where they say."""

    def __init__(
        self,
        engine: sa.Engine,
        *,
        clock: Callable[[], int],
        timeline: int,
        queued_bytes: int,
        usage: Usage,
        on_failure: Callable[[], None],
        on_commit: Callable[[int, float], None] = lambda jobs, seconds: None,
    ) -> None:
        """`on_commit` is told, on the writer's thread, of each transaction's jobs and seconds."""
        self._loop = asyncio.get_running_loop()
        self._connection = engine.connect()
        self._clock = clock
        self._timeline = timeline
        self._limit = queued_bytes
        self._on_failure = on_failure
        self._on_commit = on_commit
        self.undone: Counter[str] = Counter()
        """Transactions that were undone, by cause."""
        self._cache = GroupCache()
        self._usage = usage
        self._tally = Tally()
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
    ) -> T:
        """Run a function in the next transaction; returns when its work is on disk.

        Raises:
            Refusal: by the function, or try-later when it could not be stored.
            StorageFailed: it is not known whether it was stored.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self.submit(Work(what, function, then, future, key, size))
        return await future

    @staticmethod
    def work(
        what: str, function: Callable[[Transaction], T], then: Callable[[T], None]
    ) -> "Work[T]":
        """A job of functions for which nobody waits."""
        return Work(what, function, then, None)

    def post(self, what: str, function: Callable[[Transaction], T]) -> None:
        """The same without waiting for it; nobody is told when it is refused."""
        self.submit(Work(what, function, None, None))

    def note(self, what: str, function: Callable[[Transaction], None]) -> None:
        """The same for a trace of what was answered already: left out when nothing can be stored."""
        with contextlib.suppress(Refusal, StorageFailed):
            self.post(what, function)

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
                self.submit(Work("acknowledge", lambda tx: tx.trail.close(), None, None))
        self._queue.put(None)
        await self._closed
        self._thread.join()
        self._connection.close()

    def _flush_cursors(self) -> None:
        self._timer = None
        if self._cursors and not self._failed:
            try:
                self.post("acknowledge", lambda _: None)
            except Refusal:
                self._timer = self._loop.call_later(ACKNOWLEDGE_SECONDS, self._flush_cursors)

    def _deliver(self, batch: list[Job], outcomes: Sequence[Any]) -> None:
        for job, outcome in zip(batch, outcomes, strict=True):
            self._queued -= job.size
            try:
                job.finish(outcome)
            except Exception as error:
                log.error("finishing a %s failed: %s", job.what, describe(error))

    def _fail(self, batch: list[Job]) -> None:
        self._failed = True
        self._deliver(batch, [StorageFailed()] * len(batch))
        self._on_failure()

    # --- on the writer's thread ---------------------------------------------------------------

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch, stopping = self._gather()
            if batch and not self._failed:
                self._commit(batch)
            elif batch:
                self._loop.call_soon_threadsafe(
                    self._deliver, batch, [StorageFailed()] * len(batch)
                )
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

    def _commit(self, batch: list[Job]) -> None:
        kinds = sorted({job.what for job in batch} | ({"acknowledge"} if self._cursors else set()))
        _passage(kinds, "before")
        outcomes: Sequence[Any]
        begun = time.perf_counter()
        try:
            outcomes = self._transact(batch, kinds)
        except Exception as error:
            refusal = self._roll_back(error)
            if refusal is None:
                self._failed = True
                self._loop.call_soon_threadsafe(self._fail, batch)
                return
            outcomes = [refusal] * len(batch)
        else:
            self._on_commit(len(batch), time.perf_counter() - begun)
            _passage(kinds, "after")
        self._loop.call_soon_threadsafe(self._deliver, batch, outcomes)

    def _transact(self, batch: list[Job], kinds: list[str]) -> Sequence[Any]:
        connection = self._connection
        with self._cursors_lock:
            cursors, self._cursors = self._cursors, {}
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        tx = Transaction(
            connection,
            self._cache,
            now=self._clock(),
            timeline=self._timeline,
            usage=self._usage,
            tally=self._tally,
        )
        # Cursors first: a device that signs in again in this batch continues after them.
        tx.acknowledge((*key, seq) for key, seq in cursors.items())
        tx.look_up([job.key for job in batch if job.key is not None])
        outcomes = [self._apply(tx, job) for job in batch]
        tx.finish()
        _passage(kinds, "within")
        connection.exec_driver_sql("COMMIT")
        return outcomes

    def _apply(self, tx: Transaction, job: Job) -> Any:
        if job.hot:
            try:
                return job.apply(tx)
            except Refusal as refusal:
                return refusal
        tx.begin_request()
        self._connection.exec_driver_sql("SAVEPOINT request")
        try:
            outcome = job.apply(tx)
            tx.flush()
        except Exception as error:
            if result_code(error) in FULL | BUSY | BROKEN:
                raise
            self._connection.exec_driver_sql("ROLLBACK TO request")
            self._connection.exec_driver_sql("RELEASE request")
            tx.abandon()
            return _refusal(job, error)
        self._connection.exec_driver_sql("RELEASE request")
        return outcome

    def _roll_back(self, error: Exception) -> Refusal | None:
        """Undo the transaction; None: the disk or the file cannot be trusted any more."""
        self._cache.clear()
        self._usage.forget()
        code = result_code(error)
        try:
            if self._connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
                self._connection.exec_driver_sql("ROLLBACK")
        except (sa.exc.DBAPIError, sqlite3.Error):
            log.critical("rolling back failed: %s", describe(error))
            return None
        if code in FULL:
            self.undone["full"] += 1
            log.error("the disk is full: nothing is stored until there is space; reading goes on")
            return Refusal("try-later", "the relay's disk is full", retry_after=RETRY_FULL_MS)
        if code in BUSY:
            self.undone["busy"] += 1
            log.warning("the database was busy for too long")
            return Refusal("try-later", retry_after=RETRY_BUSY_MS)
        if code in BROKEN:
            log.critical("the database failed: %s", describe(error))
            return None
        self.undone["fault"] += 1
        log.error("a transaction was undone by a fault of the program: %s", describe(error))
        return Refusal("try-later", retry_after=RETRY_BUSY_MS)


def _refusal(job: Job, error: Exception) -> Refusal:
    """What one request is told whose work was undone alone."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, sa.exc.IntegrityError | sqlite3.IntegrityError):
        log.warning("a %s met a constraint of the database", job.what)
        return Refusal("conflict")
    log.error("a %s was undone by a fault of the program: %s", job.what, describe(error))
    return Refusal("try-later", retry_after=RETRY_BUSY_MS)


def _passage(kinds: list[str], when: str) -> None:
    for kind in kinds:
        failpoint(f"relay.{kind}.{when}")
