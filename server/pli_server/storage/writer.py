"""The one writer: a thread that groups what waits into one transaction and answers after COMMIT.

    loop ── submit(job) ──> queue ── batch ──> BEGIN … each job … COMMIT (flushed) ──> loop: finish(outcome)

Each job is isolated: a hot job (a message) checks everything before it gathers its row, any other
runs inside a savepoint. Outcomes come back to the loop in the order of the log.

Where the database may be lost (PostgreSQL is restarted), or other nodes were in the way, the batch runs
again, unless COMMIT was said and not answered: then nobody knows, and nobody is answered.
"""

import asyncio
import contextlib
import logging
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
from .changes import Changes
from .database import Database, Lane, Statements, Use
from .faults import OF_THE_BATCH, Fault, describe
from .groups import GroupCache
from .locks import Owners
from .transaction import Transaction
from .usage import Usage

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH_JOBS: Final = 512
BATCH_BYTES: Final = 8 * 1024 * 1024
RETRY_FULL_MS: Final = 10_000
RETRY_BUSY_MS: Final = 1_000
ACKNOWLEDGE_SECONDS: Final = 0.5
PAUSES: Final = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before a batch is run again."""

WRITES: Final = (
    "acknowledge",
    "attempt",
    "blob",
    "bring",
    "certificate",
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
    "linking-answer",
    "linking-request",
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
    owners: Owners
    """Under whose name it is kept apart from other nodes' jobs (`locks`)."""
    groups: tuple[bytes, ...]
    """The groups that it is known to need."""

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
        *,
        key: tuple[int, bytes] | None = None,
        size: int = 256,
        owners: Owners = None,
        groups: tuple[bytes, ...] = (),
    ) -> None:
        self.what = what
        self.key = key
        self.size = size
        self.owners = owners
        self.groups = groups
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
        self._database = database
        self._lane: Lane | None = None
        self._clock = clock
        self._timeline = timeline
        self._limit = queued_bytes
        self._on_failure = on_failure
        self._on_commit = on_commit
        self._on_changes = on_changes
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
        self._away = False
        self._committing = False
        self._stopping = threading.Event()
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

    def _committed(self, batch: list[Job], outcomes: Sequence[Any], changes: Changes) -> None:
        self._deliver(batch, outcomes)
        self._on_changes(changes)

    def _fail(self, batch: list[Job]) -> None:
        self._failed = True
        self._deliver(batch, [StorageFailed()] * len(batch))
        self._on_failure()

    # --- on the writer's thread ---------------------------------------------------------------

    def _run(self) -> None:
        lane, stopping = self._database.lane(Use.WRITING), False
        self._lane = lane
        while not stopping:
            batch, stopping = self._gather()
            if batch and not self._failed:
                self._write(lane, batch)
            elif batch:
                self._loop.call_soon_threadsafe(
                    self._deliver, batch, [StorageFailed()] * len(batch)
                )
        lane.close()
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

    def _write(self, lane: Lane, batch: list[Job]) -> None:
        with self._cursors_lock:
            cursors, self._cursors = self._cursors, {}
        kinds = sorted({job.what for job in batch} | ({"acknowledge"} if cursors else set()))
        _passage(kinds, "before")
        for pause in PAUSES:
            if pause:
                self._stopping.wait(pause)
            self._committing = False
            begun = time.perf_counter()
            try:
                outcomes, changes = lane.run(lambda db: self._transact(db, batch, cursors, kinds))
            except Exception as error:
                fault = self._undo(lane, error)
                unknown = fault is Fault.LOST and self._committing
                if fault in (Fault.CLASH, Fault.LOST) and not unknown and not self._away:
                    continue
                self._give_up(batch, fault, unknown)
                return
            self._on_commit(len(batch), time.perf_counter() - begun)
            _passage(kinds, "after")
            self._away = False
            self._loop.call_soon_threadsafe(self._committed, batch, outcomes, changes)
            return
        self._away = fault is Fault.LOST
        self._give_up(batch, fault, unknown=False)

    def _transact(
        self,
        connection: sa.Connection,
        batch: list[Job],
        cursors: dict[tuple[int, int], int],
        kinds: list[str],
    ) -> tuple[Sequence[Any], Changes]:
        statements, shared = self._database.statements(connection), self._database.shared
        statements.begin()
        tx = Transaction(
            connection,
            statements,
            self._cache,
            now=self._clock(),
            timeline=self._timeline,
            usage=self._usage,
            shared=shared,
            tally=self._tally,
        )
        if shared:
            _lock(tx, statements, batch, cursors)
        # Cursors first: a device that signs in again in this batch continues after them.
        tx.acknowledge((*key, seq) for key, seq in cursors.items())
        tx.look_up([job.key for job in batch if job.key is not None])
        outcomes = [self._apply(tx, job) for job in batch]
        tx.finish()
        _passage(kinds, "within")
        self._committing = True
        statements.commit()
        return outcomes, tx.changes

    def _apply(self, tx: Transaction, job: Job) -> Any:
        if job.hot:
            try:
                return job.apply(tx)
            except Refusal as refusal:
                return refusal
        tx.begin_request()
        tx.connection.exec_driver_sql("SAVEPOINT request")
        try:
            outcome = job.apply(tx)
            tx.flush()
        except Exception as error:
            fault = self._database.fault(error)
            if fault in OF_THE_BATCH:
                raise
            tx.connection.exec_driver_sql("ROLLBACK TO request")
            tx.connection.exec_driver_sql("RELEASE request")
            tx.abandon()
            return _refusal(job, error, fault)
        tx.connection.exec_driver_sql("RELEASE request")
        return outcome

    def _undo(self, lane: Lane, error: Exception) -> Fault:
        """Leave the transaction and forget what was believed in it; says what its error means."""
        self._cache.clear()
        self._usage.forget()
        fault = self._database.fault(error)
        if fault is Fault.CONSTRAINT and self._database.shared:
            # Another node stored the same send in another group; the next try finds it.
            fault = Fault.CLASH
        if fault is not Fault.LOST:
            try:
                lane.run(lambda db: self._database.statements(db).roll_back())
            except Exception as worse:
                log.critical("rolling back failed: %s", describe(worse))
                fault = Fault.LOST if self._database.fault(worse) is Fault.LOST else Fault.BROKEN
        if fault is Fault.LOST:
            lane.drop()
        self.undone[fault.name.lower()] += 1
        if fault not in (Fault.FULL, Fault.BUSY):
            level = logging.CRITICAL if fault is Fault.BROKEN else logging.WARNING
            log.log(level, "a transaction was undone (%s): %s", fault.name, describe(error))
        return fault

    def _give_up(self, batch: list[Job], fault: Fault, unknown: bool) -> None:
        if fault is Fault.BROKEN:
            self._failed = True
            self._loop.call_soon_threadsafe(self._fail, batch)
            return
        outcome: Exception
        if unknown:
            log.error("the database was lost at a COMMIT: nobody is told whether it is stored")
            outcome = StorageFailed()
        elif fault is Fault.FULL:
            log.error("the disk is full: nothing is stored until there is space; reading goes on")
            outcome = Refusal("try-later", "the relay's disk is full", retry_after=RETRY_FULL_MS)
        else:
            log.warning("%d requests are to come again later (%s)", len(batch), fault.name)
            outcome = Refusal("try-later", retry_after=RETRY_BUSY_MS)
        self._loop.call_soon_threadsafe(self._deliver, batch, [outcome] * len(batch))


def _lock(
    tx: Transaction,
    statements: Statements,
    batch: list[Job],
    cursors: dict[tuple[int, int], int],
) -> None:
    """All locks that are known to be needed, in the order that `database` tells."""
    owners = {owner for job in batch for owner in job.owners or ()}
    statements.lock_owners(owners, alone=any(job.owners is None for job in batch))
    tx.lock(
        {group_id for job in batch for group_id in job.groups},
        {group_no for group_no, _ in cursors},
    )


def _refusal(job: Job, error: Exception, fault: Fault) -> Refusal:
    """What one request is told whose work was undone alone."""
    if isinstance(error, Refusal):
        return error
    if fault is Fault.CONSTRAINT:
        log.warning("a %s met a constraint of the database", job.what)
        return Refusal("conflict")
    log.error("a %s was undone by a fault of the program: %s", job.what, describe(error))
    return Refusal("try-later", retry_after=RETRY_BUSY_MS)


def _passage(kinds: list[str], when: str) -> None:
    for kind in kinds:
        failpoint(f"relay.{kind}.{when}")
