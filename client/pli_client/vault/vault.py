"""The vault as the rest of the client sees it: create, open, write, read, close.

One thread runs everything that touches the database, so a function given to `write` or `read` is
never interleaved with another; the write-ahead log is kept short beside (log_keeper).
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from pli_protocol.failpoint import declare, failpoint
from pli_protocol.secret import Secret

from ..errors import (
    NO_SPACE,
    DiskFull,
    PliError,
    VaultError,
    VaultExists,
    VaultMissing,
    VaultUnusable,
    VaultWiped,
    system_reason,
)
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
from .database_thread import DatabaseThread
from .header import DEFAULT_KDF, HEADER_FILE, KEY_SIZE, DatabaseKey, Header, Kdf, Random, wrap
from .lock import VaultLock
from .log_keeper import LogKeeper
from .migrations import migrate
from .private_files import make_private_folder, sync_folder
from .wiping import destroy_key, finish, make_room, remove_files, wiped

T = TypeVar("T")


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
        thread: DatabaseThread,
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
        self._broken: PliError | None = None
        self._log_keeper = LogKeeper(self._shorten_log, pause, clock)

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

        def make() -> tuple[Header, DatabaseKey, Connection]:
            make_room(folder)
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
            DiskFull. VaultWiped: now, where a crash had cut the wipe short.
        """

        def unlock() -> tuple[Header, DatabaseKey, Connection]:
            reason = finish(folder)
            if reason is not None:
                raise VaultWiped(reason)
            header = Header.read(folder)
            key = header.unwrap(passphrase)
            return header, key, _prepared(folder, key)

        return await cls._start(folder, unlock, pause, clock, new=False)

    @classmethod
    async def _start(
        cls,
        folder: Path,
        prepare: Callable[[], tuple[Header, DatabaseKey, Connection]],
        pause: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
        *,
        new: bool,
    ) -> Self:
        forbid_core_dumps()

        opened: list[tuple[Header, DatabaseKey, VaultLock, Connection]] = []

        def start() -> Connection:
            with _system_errors(folder):
                if new:
                    make_private_folder(folder)
                elif not (folder / HEADER_FILE).exists() and wiped(folder) is None:
                    raise VaultMissing(folder=folder)
                lock = VaultLock.take(folder)
                try:
                    header, key, connection = prepare()
                except BaseException:
                    lock.release()
                    raise
                opened.append((header, key, lock, connection))
                return connection

        thread = DatabaseThread(start)
        try:
            await thread.start()
            header, key, lock, connection = opened[0]
            return cls(folder, header, key, lock, thread, connection, pause, clock)
        except BaseException:
            if opened:  # cancelled while it was being opened: nobody will close it
                await thread.stop()
                opened[0][2].release()
            raise

    async def close(self) -> None:
        """Empty the write-ahead log, close the database, give back the lock. Again: does nothing."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        await self._log_keeper.close()

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
            await self._thread.run(end)
        finally:
            await self._thread.stop()

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
            self._log_keeper.written(scrub=scrub)

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

    async def _shorten_log(self) -> bool:
        """For the log's keeper: False where there is no use in trying again."""
        try:
            await self.checkpoint()
        except (VaultError, RuntimeError):
            self._log_keeper.written()
        return self._broken is None and self._connection is not None

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

    async def wipe(self, reason: str) -> None:
        """Destroy the vault: its key first, durably, then its files. It stays to be closed.

        Whoever decides this has verified a statement that says so; see engine.refusal.

        Raises:
            VaultUnusable, DiskFull: of the disk; the next start goes on where this stopped.
        """

        def destroy(connection: Connection) -> None:
            with _system_errors(self.folder):
                destroy_key(self.folder, reason)
                self._broken = VaultWiped(reason)
                connection.close()
                remove_files(self.folder)

        await self._run(destroy)

    async def _run(self, work: Callable[[Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            raise RuntimeError("the vault is closed")

        def run() -> T:
            if self._broken is not None:
                raise self._broken.again()
            try:
                return work(connection)
            except SQLError as error:
                if not is_environment(error):
                    raise
                if is_io_error(error):
                    # What is on disk is unknown now (an fsync must not be tried again).
                    self._broken = translated(error, self.folder)
                raise translated(error, self.folder) from None

        return await self._thread.run(run)


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
            if error.errno in NO_SPACE:
                raise DiskFull() from None
            raise VaultUnusable(folder=self._folder, reason=system_reason(error)) from None
