"""The embedded database: one SQLite file in the relay's folder, one process at a time."""

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from .database import LockedGroup, Use
from .faults import Fault, describe

T = TypeVar("T")

FILE_NAME: Final = "relay.db"

BUSY_SECONDS: Final = 20

# Values of one statement. A statement of many rows lets go of Python's lock once, not once per row.
_CHUNKS: Final = (64, 8, 1)

_FAULTS: Final = {
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_CONSTRAINT: Fault.CONSTRAINT,
    **dict.fromkeys(
        (
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_PROTOCOL,
        ),
        Fault.BROKEN,
    ),
}
"""By SQLite's primary result codes."""


class SQLiteFile:
    """The file `relay.db` of a folder."""

    shared = False
    remedy = "stop the relay, keep a copy of the folder, restore the last backup"

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._engine = sa.create_engine(
            f"sqlite+pysqlite:///{self._path}",
            poolclass=NullPool,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            isolation_level="AUTOCOMMIT",
        )
        sa.event.listen(self._engine, "connect", lambda made, _: _configure(made))

    def lane(self, use: Use) -> "_Lane":
        return _Lane(self._path, self._engine, use)

    def statements(self, connection: sa.Connection) -> "SQLiteStatements":
        return on_connection(connection)

    def lock_schema(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def check(self, connection: sa.Connection) -> None:
        """Each connection is made durable as it is opened."""

    def sound(self, connection: sa.Connection) -> bool:
        found = connection.exec_driver_sql("PRAGMA quick_check(3)")
        return [str(row[0]) for row in found] == ["ok"]

    def fault(self, error: BaseException) -> Fault:
        original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        code: int | None = getattr(original, "sqlite_errorcode", None)
        return Fault.PROGRAM if code is None else _FAULTS.get(code & 0xFF, Fault.PROGRAM)

    def complaint(self, error: Exception) -> str:
        if self.fault(error) is Fault.FULL:
            return "the disk is full; free some space and try again"
        why = error.orig if isinstance(error, sa.exc.DBAPIError) else describe(error)
        return f"the relay's database cannot be opened ({why}); restore it from a backup"


class _Lane:
    def __init__(self, path: Path, engine: sa.Engine, use: Use) -> None:
        self._path = path
        self._engine = engine
        self._use = use
        self._connection: sa.Connection | None = None

    def run(self, function: Callable[[sa.Connection], T], /) -> T:
        if self._connection is None:
            if self._use is Use.READING and not self._path.exists():
                # SQLite would make an empty one.
                raise FileNotFoundError(os.fspath(self._path))
            self._connection = self._engine.connect()
            if self._use is Use.READING:
                self._connection.exec_driver_sql("PRAGMA query_only = ON")
        return function(self._connection)

    def drop(self) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _configure(connection: Any) -> None:
    """WAL with a flush at every commit: what was answered survives a power cut."""
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "cache_size = -16384",
        "mmap_size = 0",
        "wal_autocheckpoint = 4000",
        "journal_size_limit = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def on_connection(connection: sa.Connection) -> "SQLiteStatements":
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return SQLiteStatements(driver)


class SQLiteStatements:
    """On the one connection that writes: nobody has to be locked out."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def begin(self) -> None:
        self._raw.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._raw.execute("COMMIT")

    def roll_back(self) -> None:
        # A full disk may have rolled it back already.
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")

    def lock_owners(self, owners: Collection[int], alone: bool) -> None:
        """Nobody else writes."""

    def lock_groups(
        self, group_ids: Collection[bytes], numbers: Collection[int]
    ) -> list[LockedGroup]:
        return []

    def senders_after(
        self, groups: Sequence[tuple[int, int]]
    ) -> Iterable[tuple[int, int, bytes | None]]:
        return ()

    def held(self, keys: Sequence[tuple[int, bytes]]) -> Iterable[Sequence[Any]]:
        for chunk in _chunks(keys):
            values = ",".join(["(?,?)"] * len(chunk))
            # CROSS JOIN keeps SQLite from scanning the rows instead of the few values.
            yield from self._raw.execute(
                "SELECT r.sender_no, r.send_id, r.group_no, r.seq, r.chain, r.time"
                f" FROM (VALUES {values}) AS v CROSS JOIN rows AS r"
                " WHERE r.sender_no = v.column1 AND r.send_id = v.column2",
                [value for key in chunk for value in key],
            )

    def insert_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for chunk in _chunks(rows):
            values = ",".join(["(?,?,?,?,?,?,?,?,?,?,?)"] * len(chunk))
            self._raw.execute(
                "INSERT INTO rows (group_no, seq, epoch, kind, sender_no, send_id, time, chain,"
                f" is_blob, payload, batch) VALUES {values}",
                [value for row in chunk for value in row],
            )

    def move_groups(self, groups: Sequence[tuple[int, int, int, bytes, int]]) -> None:
        self._update(
            "groups",
            "epoch = v.column2, last = v.column3, chain = v.column4, roster = v.column5",
            "groups.no = v.column1",
            groups,
        )

    def move_senders(self, senders: Sequence[tuple[int, int, bytes | None]]) -> None:
        self._update(
            "members",
            "last_send = v.column3",
            "members.group_no = v.column1 AND members.device_no = v.column2",
            senders,
        )

    def move_cursors(self, cursors: Sequence[tuple[int, int, int]]) -> None:
        self._update(
            "members",
            "acked = v.column3",
            "members.group_no = v.column1 AND members.device_no = v.column2"
            " AND members.acked < v.column3",
            cursors,
        )

    def add_usage(self, amounts: Sequence[tuple[int, int, bytes, int, int, int]]) -> None:
        self._raw.executemany(
            "INSERT INTO usage (account_no, day, establishment, messages, bytes, files)"
            " VALUES (?,?,?,?,?,?) ON CONFLICT (account_no, day) DO UPDATE SET"
            " messages = usage.messages + excluded.messages,"
            " bytes = usage.bytes + excluded.bytes, files = usage.files + excluded.files",
            amounts,
        )

    def lock_tree(self, timeline: int) -> tuple[int, bytes]:
        chosen = "SELECT size, frontier FROM trace_trees WHERE timeline = ?"
        found: tuple[int, bytes] | None = self._raw.execute(chosen, (timeline,)).fetchone()
        if found is None:
            self._raw.execute("INSERT INTO trace_trees VALUES (?, 0, x'')", (timeline,))
        return found or (0, b"")

    def insert_entries(self, entries: Sequence[tuple[Any, ...]]) -> None:
        self._raw.executemany(
            "INSERT INTO trace_entries (timeline, no, time, kind, establishment, batch, digest, salt,"
            " body) VALUES (?,?,?,?,?,?,?,?,?)",
            entries,
        )

    def insert_nodes(self, nodes: Sequence[tuple[int, int, int, bytes]]) -> None:
        self._raw.executemany(
            "INSERT INTO trace_nodes (timeline, level, no, hash) VALUES (?,?,?,?)", nodes
        )

    def move_tree(self, timeline: int, size: int, frontier: bytes) -> None:
        self._raw.execute(
            "UPDATE trace_trees SET size = ?, frontier = ? WHERE timeline = ?",
            (size, frontier, timeline),
        )

    def _update(self, table: str, change: str, match: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for chunk in _chunks(rows):
            values = ",".join(["(" + ",".join("?" * len(chunk[0])) + ")"] * len(chunk))
            self._raw.execute(
                f"UPDATE {table} SET {change} FROM (VALUES {values}) AS v WHERE {match}",
                [value for row in chunk for value in row],
            )


def _chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    """Few sizes only, so that the driver's cache of prepared statements holds them all."""
    start = 0
    for size in _CHUNKS:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size
