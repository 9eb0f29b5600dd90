"""One SQLCipher connection: opened with a raw key, its errors turned into the vault's.

Everything here is synchronous and runs on the vault's database thread.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

from sqlcipher3 import dbapi2

from ..errors import DiskFull, PliError, Text, VaultBusy, VaultDamaged, VaultUnusable
from ..i18n import N_
from .header import DatabaseKey
from .private_files import open_private

DATABASE_FILE: Final = "vault.db"
CACHE_KIB: Final = 8 * 1024
LARGE_LOG_PAGES: Final = 4000
"""SQLite copies the log into the database by itself beyond this size (16 MiB)."""

LOG_INDEX: Final = 32 * 1024
"""Bytes of the smallest index of the write-ahead log (vault.db-shm)."""

# Typed Any: sqlcipher3 has no stubs.
SQLError: Final[Any] = dbapi2.Error
IntegrityError: Final[Any] = dbapi2.IntegrityError
"""A constraint does not hold; passed on as it is, since only the caller knows what it means."""

Row = tuple[Any, ...]
Parameters = Sequence[object] | dict[str, object]


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int | None: ...
    def fetchone(self) -> Row | None: ...
    def fetchall(self) -> list[Row]: ...
    def __iter__(self) -> Iterator[Row]: ...


class Database(Protocol):
    """What a function given to `Vault.write` or `Vault.read` may do. Rows are tuples."""

    def execute(self, sql: str, parameters: Parameters = (), /) -> Cursor: ...
    def executemany(self, sql: str, parameters: Iterable[Parameters], /) -> Cursor: ...


class Connection(Database, Protocol):
    """The whole connection, for the vault's own modules."""

    @property
    def in_transaction(self) -> bool: ...
    def close(self) -> None: ...


def connect(folder: Path, key: DatabaseKey) -> Connection:
    """Open (or make) the database.

    WAL with synchronous=FULL: a commit that returned survives a power cut. secure_delete overwrites
    what was deleted in the pages; the write-ahead log keeps old pages until a checkpoint.

    Raises:
        VaultDamaged, VaultUnusable, DiskFull: see `translated`.
    """
    path = folder / DATABASE_FILE
    connection: Any = None
    os.close(open_private(path, os.O_RDWR))  # SQLite gives its log the mode of the database
    try:
        connection = dbapi2.connect(str(path), isolation_level=None, cached_statements=256)
        # SQLCipher would write its complaints to stderr; what matters comes as errors.
        connection.execute("PRAGMA cipher_log_level = NONE")
        connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except SQLError as error:
        if connection is not None:
            connection.close()
        raise translated(error, folder) from None
    return cast(Connection, connection)


_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",
    "foreign_keys = ON",
    "trusted_schema = OFF",
    "temp_store = MEMORY",  # temporary files would not be encrypted
    f"cache_size = -{CACHE_KIB}",
    f"wal_autocheckpoint = {LARGE_LOG_PAGES}",
)


def translated(error: Exception, folder: Path) -> PliError:
    """The vault's error for one of SQLite's (primary result codes, sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case dbapi2.SQLITE_FULL:
            return DiskFull()
        case dbapi2.SQLITE_IOERR if _no_space(folder):
            return DiskFull()  # e.g. the index of the write-ahead log could not be made
        case dbapi2.SQLITE_CORRUPT | dbapi2.SQLITE_NOTADB:
            return VaultDamaged(DATABASE_FILE)
        case dbapi2.SQLITE_BUSY | dbapi2.SQLITE_LOCKED:
            return VaultBusy()
        case dbapi2.SQLITE_IOERR:
            return VaultUnusable(folder=folder, reason=Text(N_("the disk does not work properly")))
        case dbapi2.SQLITE_READONLY | dbapi2.SQLITE_CANTOPEN | dbapi2.SQLITE_PERM:
            return VaultUnusable(folder=folder, reason=Text(N_("you have no right to it")))
        case _:
            # SQLite's texts name no values of ours.
            return VaultUnusable(folder=folder, reason=error)


def _no_space(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < LOG_INDEX
    except OSError:
        return False


ENVIRONMENT_CODES: Final = frozenset(
    (
        dbapi2.SQLITE_FULL,
        dbapi2.SQLITE_CORRUPT,
        dbapi2.SQLITE_NOTADB,
        dbapi2.SQLITE_BUSY,
        dbapi2.SQLITE_LOCKED,
        dbapi2.SQLITE_IOERR,
        dbapi2.SQLITE_READONLY,
        dbapi2.SQLITE_CANTOPEN,
        dbapi2.SQLITE_NOMEM,
        dbapi2.SQLITE_PERM,
        dbapi2.SQLITE_AUTH,
        dbapi2.SQLITE_PROTOCOL,
    )
)
"""Codes that speak of the machine, not of a statement of ours."""


def is_environment(error: Exception) -> bool:
    """The machine's fault, not a statement's (which is a bug of ours, or a constraint)."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in ENVIRONMENT_CODES


def is_io_error(error: Exception) -> bool:
    """Reading, writing or fsync failed: what is on disk is unknown, nothing may be tried again."""
    return bool(getattr(error, "sqlite_errorcode", 0) & 0xFF == dbapi2.SQLITE_IOERR)
