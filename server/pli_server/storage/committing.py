"""One transaction for a batch of jobs: what it locks, how each job is undone alone, when it runs again.

Each job is isolated: a hot job (a message) checks everything before it gathers its row, any other
runs inside a savepoint. Where the database may be lost (PostgreSQL is restarted), or other nodes were
in the way, the batch runs again, unless COMMIT was said and not answered: then nobody knows, and nobody
is answered.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import sqlalchemy as sa

from ..audit.tally import Tally
from ..errors import Refusal, StorageFailed
from .changes import Changes
from .database import Database, Statements, Use
from .faults import OF_THE_BATCH, Fault, describe
from .groups import GroupCache
from .jobs import Job, passage
from .transaction import Transaction
from .usage import Usage

log = logging.getLogger(__name__)

RETRY_FULL_MS: Final = 10_000
RETRY_BUSY_MS: Final = 1_000
PAUSES: Final = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before a batch is run again."""

Cursors: TypeAlias = Mapping[tuple[int, int], int]
"""Acknowledged rows, by group and device."""


class Committed(NamedTuple):
    """What became of a batch: an outcome for each job."""

    outcomes: Sequence[Any]
    changes: Changes | None = None
    """None: nothing is known to be stored."""
    broken: bool = False
    """The database cannot be trusted any more."""


class Committer:
    """Owns the write connection. All of it belongs to the writer's thread."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], int],
        timeline: int,
        usage: Usage,
        stopping: threading.Event,
    ) -> None:
        """`stopping`, once set, ends the waiting for a database that is away."""
        self._database = database
        self._clock = clock
        self._timeline = timeline
        self._usage = usage
        self._stopping = stopping
        self._lane = database.lane(Use.WRITING)
        self._cache = GroupCache()
        self._tally = Tally()
        self._away = False
        self._committing = False
        self.undone: Counter[str] = Counter()
        """Transactions that were undone, by cause."""

    def close(self) -> None:
        self._lane.close()

    def commit(self, batch: Sequence[Job], cursors: Cursors) -> Committed:
        """Apply the jobs in one transaction; returns when it is on disk, or will not be."""
        kinds = sorted({job.what for job in batch} | ({"acknowledge"} if cursors else set()))
        passage(kinds, "before")
        for pause in PAUSES:
            if pause:
                self._stopping.wait(pause)
            self._committing = False
            try:
                done = self._lane.run(lambda db: self._transact(db, batch, cursors, kinds))
            except Exception as error:
                fault = self._undo(error)
                unknown = fault is Fault.LOST and self._committing
                if unknown or not self._again(fault):
                    return _given_up(batch, fault, unknown)
            else:
                self._away = False
                passage(kinds, "after")
                return done
        self._away = fault is Fault.LOST
        return _given_up(batch, fault, unknown=False)

    def _again(self, fault: Fault) -> bool:
        if fault is Fault.LOST:
            # Who has waited in vain once lets the next ones know at once.
            return not self._away and not self._stopping.is_set()
        return fault is Fault.CLASH

    def _transact(
        self,
        connection: sa.Connection,
        batch: Sequence[Job],
        cursors: Cursors,
        kinds: list[str],
    ) -> Committed:
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
        passage(kinds, "within")
        self._committing = True
        statements.commit()
        tx.trail.committed()
        return Committed(outcomes, tx.changes)

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

    def _undo(self, error: Exception) -> Fault:
        """Leave the transaction and forget what was believed in it; says what its error means."""
        self._cache.clear()
        self._usage.forget()
        fault = self._database.fault(error)
        if fault is Fault.CONSTRAINT and self._database.shared:
            # Another node stored the same send in another group; the next try finds it.
            fault = Fault.CLASH
        if fault is not Fault.LOST:
            fault = self._roll_back(fault)
        if fault is Fault.LOST:
            self._lane.drop()
        self.undone[fault.name.lower()] += 1
        log.log(
            _LEVELS.get(fault, logging.WARNING),
            "a transaction was undone (%s): %s",
            fault.name,
            describe(error),
        )
        return fault

    def _roll_back(self, fault: Fault) -> Fault:
        try:
            self._lane.run(lambda db: self._database.statements(db).roll_back())
        except Exception as error:
            log.critical("rolling back failed: %s", describe(error))
            return Fault.LOST if self._database.fault(error) is Fault.LOST else Fault.BROKEN
        return fault


_LEVELS: Final = {Fault.BROKEN: logging.CRITICAL, Fault.PROGRAM: logging.ERROR}


def _given_up(batch: Sequence[Job], fault: Fault, unknown: bool) -> Committed:
    outcome: Exception
    if fault is Fault.BROKEN:
        outcome = StorageFailed()
    elif unknown:
        log.error("the database was lost at a COMMIT: nobody is told whether it is stored")
        outcome = StorageFailed()
    elif fault is Fault.FULL:
        log.error("the disk is full: nothing is stored until there is space; reading goes on")
        outcome = Refusal("try-later", "the relay's disk is full", retry_after=RETRY_FULL_MS)
    else:
        log.warning("%d requests are to come again later (%s)", len(batch), fault.name)
        outcome = Refusal("try-later", retry_after=RETRY_BUSY_MS)
    return Committed([outcome] * len(batch), broken=fault is Fault.BROKEN)


def _lock(
    tx: Transaction,
    statements: Statements,
    batch: Sequence[Job],
    cursors: Cursors,
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
