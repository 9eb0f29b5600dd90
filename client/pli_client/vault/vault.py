"""The vault as the rest of the client sees it: create, open, write, read, close.

One thread runs everything that touches the database, so a function given to `write` or `read` is
never interleaved with another. That thread also keeps the write-ahead log short: SQLite leaves every
overwritten page in it, old ratchet keys among them, until a checkpoint that truncates it. Such a
checkpoint runs beside, never inside, a write: once nothing was written for QUIET seconds, at the
latest MOST seconds after the first write since the last one, at once after `write(…, scrub=True)`,
and when the vault is opened and closed. So a dead key can be in the file for MOST seconds and one
checkpoint; after a crash until the vault is opened again.
"""

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from pli_protocol.failpoint import declare, failpoint
from pli_protocol.secret import Secret

from ..errors import DiskFull, PliError, VaultError, VaultExists, VaultMissing, VaultUnusable
from .core_dumps import forbid_core_dumps
from .database import (
    DATABASE_FILE,
    Connection,
    Database,
    SQLError,
    connect,
    is_environment,
    is_io_error,
    translated,
)
from .header import DEFAULT_KDF, HEADER_FILE, KEY_SIZE, DatabaseKey, Header, Kdf, Random, wrap
from .lock import VaultLock
from .migrations import migrate
from .private_files import make_private_folder, sync_folder

T = TypeVar("T")

QUIET: Final = 1.0
"""Seconds without a write after which the write-ahead log is emptied."""

MOST: Final = 20.0
"""Seconds after which it is emptied even while writes go on."""

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


def transaction(name: str) -> str:
    """Name a transaction, once, when its module is imported: `RECEIVE = transaction("receive")`.

    Declares its three fail points: `vault.NAME.before`, `.within` (all statements ran, not committed)
    and `.after` (committed). Pass the name to `Vault.write`.
    """
    declare(*(f"vault.{name}.{moment}" for moment in ("before", "within", "after")))
    return name


_OTHER: Final = transaction("other")


class Vault:
    """An open vault. Use it as an async context manager, or `close` it."""

    def __init__(
        self,
        folder: Path,
        header: Header,
        key: DatabaseKey,
        lock: VaultLock,
        thread: ThreadPoolExecutor,
        connection: Connection,
        pause: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self.folder = folder
        self._header = header
        self._key = key
        self._lock = lock
        self._thread = thread
        self._connection: Connection | None = connection
        self._broken: VaultError | None = None
        self._pause, self._clock = pause, clock
        self._writes = 0
        self._written = asyncio.Event()
        self._scrub = asyncio.Event()
        self._shortening = asyncio.create_task(self._keep_log_short())

    @property
    def kind(self) -> str:
        """person, or issuer."""
        return self._header.kind

    # --- opening and closing ----------------------------------------------------------------

    @classmethod
    async def create(
        cls,
        folder: Path,
        passphrase: Secret,
        *,
        kind: str = "person",
        kdf: Kdf = DEFAULT_KDF,
        random: Random = os.urandom,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Make a vault and open it. It exists once vault.json does, which is written last.

        Raises:
            VaultExists, VaultBusy, VaultUnusable, DiskFull.
        """

        def make(lock: VaultLock) -> tuple[Header, DatabaseKey, Connection]:
            if (folder / HEADER_FILE).exists():
                raise VaultExists(folder=folder)
            for leftover in folder.glob(DATABASE_FILE + "*"):
                leftover.unlink()  # of a creation that was cut short: its key is nowhere
            key = DatabaseKey(random(KEY_SIZE))
            header = wrap(key, passphrase, kind=kind, kdf=kdf, random=random)
            connection = _prepared(folder, key)
            try:
                sync_folder(folder)
                header.write(folder)
            except BaseException:
                connection.close()
                raise
            return header, key, connection

        return await cls._start(folder, make, pause, clock, new=True)

    @classmethod
    async def open(
        cls,
        folder: Path,
        passphrase: Secret,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Open a vault and bring its tables up to date.

        Raises:
            VaultMissing, VaultBusy, WrongPassphrase, VaultDamaged, VaultTooNew, VaultUnusable,
            DiskFull.
        """

        def unlock(lock: VaultLock) -> tuple[Header, DatabaseKey, Connection]:
            header = Header.read(folder)
            key = header.unwrap(passphrase)
            return header, key, _prepared(folder, key)

        return await cls._start(folder, unlock, pause, clock, new=False)

    @classmethod
    async def _start(
        cls,
        folder: Path,
        prepare: Callable[[VaultLock], tuple[Header, DatabaseKey, Connection]],
        pause: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
        *,
        new: bool,
    ) -> Self:
        forbid_core_dumps()
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pli-vault")

        def start() -> tuple[Header, DatabaseKey, VaultLock, Connection]:
            with _system_errors(folder):
                if new:
                    make_private_folder(folder)
                elif not (folder / HEADER_FILE).exists():
                    raise VaultMissing(folder=folder)
                lock = VaultLock.take(folder)
                try:
                    header, key, connection = prepare(lock)
                except BaseException:
                    lock.release()
                    raise
                return header, key, lock, connection

        started = None
        try:
            started = await _on(thread, start)
            header, key, lock, connection = started
            return cls(folder, header, key, lock, thread, connection, pause, clock)
        finally:
            if started is None:
                thread.shutdown(wait=False)

    async def close(self) -> None:
        """Empty the write-ahead log, close the database, give back the lock. Again: does nothing."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        self._shortening.cancel()

        def end() -> None:
            try:
                if self._broken is None:
                    _truncate_log(connection)
                connection.close()
            except SQLError:
                pass  # full disk: what was committed stays committed, in the log
            finally:
                self._lock.release()

        try:
            await _on(self._thread, end)
        finally:
            self._thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # --- work -------------------------------------------------------------------------------

    async def write(
        self, work: Callable[[Database], T], *, name: str = _OTHER, scrub: bool = False
    ) -> T:
        """Run `work` on the database thread in one transaction; its result after the commit is on disk.

        Whatever `work` raises rolls everything back and is raised again: constraint errors as they
        are (`IntegrityError`), the machine's as VaultError. A caller that is cancelled while the
        transaction runs gets its CancelledError after the end of it, without knowing whether it was
        committed: whoever holds what the transaction wrote in memory throws that away and reads anew.

        Args:
            work: must be plain functions of the database; no awaiting, no other thread's data.
            name: made by `transaction`; names the fail points.
            scrub: secrets were deleted that should leave the write-ahead log without delay.

        Raises:
            DiskFull: nothing was changed, later writes may succeed.
            VaultDamaged, VaultUnusable: after an I/O error nothing more is tried in this vault.
        """

        def commit(connection: Connection) -> T:
            failpoint(f"vault.{name}.before")
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                failpoint(f"vault.{name}.within")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            failpoint(f"vault.{name}.after")
            return result

        try:
            return await self._run(commit)
        finally:
            self._writes += 1
            self._written.set()
            if scrub:
                self._scrub.set()

    async def read(self, work: Callable[[Database], T]) -> T:
        """Run `work` on the database thread; what it writes is rolled back."""

        def look(connection: Connection) -> T:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

        return await self._run(look)

    async def checkpoint(self) -> None:
        """Empty the write-ahead log now. Raises DiskFull and the like; nothing is lost by that."""
        await self._run(_truncate_log)

    async def change_passphrase(
        self, passphrase: Secret, *, kdf: Kdf = DEFAULT_KDF, random: Random = os.urandom
    ) -> None:
        """From now on the vault opens with another passphrase, or with another cost. The key stays."""

        def rewrap(connection: Connection) -> Header:
            with _system_errors(self.folder):
                header = wrap(self._key, passphrase, kind=self.kind, kdf=kdf, random=random)
                header.write(self.folder)
                return header

        self._header = await self._run(rewrap)

    async def _run(self, work: Callable[[Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            raise RuntimeError("the vault is closed")

        def run() -> T:
            if self._broken is not None:
                raise self._broken
            try:
                return work(connection)
            except SQLError as error:
                if not is_environment(error):
                    raise
                if is_io_error(error):
                    # What is on disk is unknown now (an fsync must not be tried again).
                    self._broken = VaultUnusable(folder=self.folder, reason=error)
                raise translated(error, self.folder) from None

        return await _on(self._thread, run)

    # --- the write-ahead log ----------------------------------------------------------------

    async def _keep_log_short(self) -> None:
        while True:
            await self._written.wait()
            await self._until_quiet()
            self._written.clear()
            self._scrub.clear()
            try:
                await self.checkpoint()
            except (PliError, SQLError, RuntimeError):
                continue  # tried again after the next write

    async def _until_quiet(self) -> None:
        """Until nothing was written for QUIET seconds, for MOST in all, or a scrub is asked for."""
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


def _prepared(folder: Path, key: DatabaseKey) -> Connection:
    connection = connect(folder, key)
    try:
        migrate(connection)
        _truncate_log(connection)  # what a crash left
    except SQLError as error:
        connection.close()
        raise translated(error, folder) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _truncate_log(connection: Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class _system_errors:
    """The vault's errors for the system's, within a `with` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            if error.errno in _NO_SPACE:
                raise DiskFull() from None
            raise VaultUnusable(folder=self._folder, reason=error.strerror or error) from None


async def _on(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Run on the thread. When cancelled: work that has not begun never does, begun work is awaited."""
    job = thread.submit(work)
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
