"""The relay's database behind one seam: an SQLite file of its own, or a PostgreSQL that nodes share.

A `Database` gives each thread a `Lane`, its own connection, on which ordinary functions run; in them
`sa.Connection` is used as ever. What must be quick, and what only several nodes need, are `Statements`.
Everything else is SQLAlchemy Core that both databases understand.

Order of locks, where nodes share the database, so that two transactions never wait for each other:
1. the owners of all jobs of the batch (`locks`), in the order of their numbers;
2. the rows of `groups` that the batch needs, in the order of `no`; `members` rows change under these only;
3. whatever a job finds by itself: rows that another node may hold are skipped (key packages) or are
   under an owner of 1;
4. what all transactions write at their end (the log's head).
A job that needs a group it has not named takes it late; if that ends in a deadlock, PostgreSQL undoes
one transaction and the writer runs it again.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import sqlalchemy as sa

from ..errors import OperatorError
from .faults import Fault
from .url import DatabaseURL

T = TypeVar("T")

HEAD: Final = "0002"
"""The newest step of the schema."""


class Use(Enum):
    """What a lane is for."""

    WRITING = auto()
    READING = auto()
    CHANGING = auto()
    """Migrations and commands: may take as long as it takes."""


class LockedGroup(NamedTuple):
    """A group's row as it is now and stays until this transaction ends."""

    no: int
    group_id: bytes
    epoch: int
    last: int
    chain: bytes
    successor: bytes | None
    roster: int


class Statements(Protocol):
    """What the writer says on one connection, in the database's own words."""

    def begin(self) -> None: ...

    def commit(self) -> None:
        """Returns once everything is on disk."""

    def roll_back(self) -> None: ...

    def lock_owners(self, owners: Collection[int], alone: bool) -> None:
        """Take these until the end; `alone`: nobody else has any meanwhile."""

    def lock_groups(
        self, group_ids: Collection[bytes], numbers: Collection[int]
    ) -> list[LockedGroup]:
        """Lock the rows of these groups, those that there are, in the order of `no`."""

    def senders_after(
        self, groups: Sequence[tuple[int, int]]
    ) -> Iterable[tuple[int, int, bytes | None]]:
        """Who sent in a group after a row: group, device, its last send."""

    def held(self, keys: Sequence[tuple[int, bytes]]) -> Iterable[Sequence[Any]]:
        """Of these sends (device, send id) those stored: the same, then group, seq, chain, time."""

    def insert_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Rows of a log: group, seq, epoch, kind, sender, send id, time, chain, is_blob, payload, batch."""

    def move_groups(self, groups: Sequence[tuple[int, int, int, bytes, int]]) -> None:
        """Number, epoch, last, chain, roster."""

    def move_senders(self, senders: Sequence[tuple[int, int, bytes | None]]) -> None:
        """Group, device, last send."""

    def move_cursors(self, cursors: Sequence[tuple[int, int, int]]) -> None:
        """Group, device, acknowledged; forwards only."""

    def add_usage(self, amounts: Sequence[tuple[int, int, bytes, int, int, int]]) -> None:
        """Account, day, establishment, messages, bytes, files; added to what is there."""

    def lock_tree(self, timeline: int) -> tuple[int, bytes]:
        """Size and frontier of a timeline's log, which nobody else changes until the end."""

    def insert_entries(self, entries: Sequence[tuple[Any, ...]]) -> None:
        """Of the trace: timeline, no, time, kind, establishment, batch, digest, salt, body."""

    def insert_nodes(self, nodes: Sequence[tuple[int, int, int, bytes]]) -> None:
        """Timeline, level, no, hash."""

    def move_tree(self, timeline: int, size: int, frontier: bytes) -> None: ...


class Lane(Protocol):
    """One thread's way to the database: a connection that is opened when it is needed."""

    def run(self, function: Callable[[sa.Connection], T], /) -> T:
        """Call the function with the connection; each statement commits unless it began otherwise."""

    def drop(self) -> None:
        """The connection is of no use any more: the next run opens another."""

    def close(self) -> None: ...


class Database(Protocol):
    """An opened database."""

    shared: bool
    """Other nodes write too: locks are needed, and what is cached may be old."""
    remedy: str
    """What to do when it cannot be opened."""

    def lane(self, use: Use) -> Lane:
        """For one thread, which runs everything on it."""

    def statements(self, connection: sa.Connection) -> Statements: ...

    def lock_schema(self, connection: sa.Connection) -> None:
        """Begin a transaction in which nobody else changes the schema."""

    def check(self, connection: sa.Connection) -> None:
        """Raises OperatorError where the database would not keep what it was told to."""

    def sound(self, connection: sa.Connection) -> bool:
        """Whether every page is as it was written, as far as the database can tell."""

    def fault(self, error: BaseException) -> Fault: ...

    def complaint(self, error: Exception) -> str:
        """Why it cannot be opened, for the operator, with a remedy; no secret is in it."""


def open_database(folder: Path, url: DatabaseURL | None) -> Database:
    """The database of a relay's folder, or the one that its settings name. Connects to nothing yet."""
    if url is None:
        from .sqlite import SQLiteFile

        return SQLiteFile(folder)
    from .postgresql import PostgreSQL

    return PostgreSQL(url)


def statements_on(connection: sa.Connection) -> Statements:
    """The writer's words for a command's own transaction."""
    if connection.dialect.name == "sqlite":
        from .sqlite import on_connection

        return on_connection(connection)
    from .postgresql_statements import PostgreSQLStatements

    return PostgreSQLStatements(connection)


def at_once(database: Database, function: Callable[[sa.Connection], T]) -> T:
    """Check the database, bring its schema to HEAD and call one function, for commands and the start.

    Raises:
        OperatorError: it cannot be reached, was written by a newer relay, or is none of ours.
    """
    lane = database.lane(Use.CHANGING)
    try:
        with _complaining(database, Exception):
            lane.run(lambda connection: _prepare(database, connection))
        with _complaining(database, sa.exc.DBAPIError):
            return lane.run(function)
    finally:
        lane.close()


def read_once(database: Database, function: Callable[[sa.Connection], T]) -> T:
    """Call one function, which must only read, for a command; the schema stays as it is.

    Raises:
        OperatorError: it cannot be reached or read.
    """
    lane = database.lane(Use.READING)
    try:
        with _complaining(database, Exception):
            return lane.run(function)
    finally:
        lane.close()


def _prepare(database: Database, connection: sa.Connection) -> None:
    database.check(connection)
    migrate(database, connection)


@contextlib.contextmanager
def _complaining(database: Database, kind: type[Exception]) -> Iterator[None]:
    """The database's own faults become a sentence for the operator."""
    try:
        yield
    except OperatorError:
        raise
    except kind as error:
        if database.fault(error) in (Fault.PROGRAM, Fault.CONSTRAINT):
            raise
        raise OperatorError(database.complaint(error)) from None


@contextlib.contextmanager
def writing(connection: sa.Connection) -> Iterator[None]:
    """A transaction of a command's own, around statements that belong together."""
    begin = "BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else "BEGIN"
    connection.exec_driver_sql(begin)
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def migrate(database: Database, connection: sa.Connection) -> None:
    """Bring the schema to HEAD; nodes that start at once wait for the first of them.

    Raises:
        OperatorError: the database was written by a newer relay.
    """
    if version(connection) == HEAD:
        return
    database.lock_schema(connection)
    try:
        found = version(connection)
        if found is not None and found > HEAD:
            raise OperatorError(
                "this database was written by a newer pli-server; update this one and try again"
            )
        if found != HEAD:
            upgrade(connection)
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def version(connection: sa.Connection) -> str | None:
    """The step of the schema that the database is at; None: it is none of ours."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def upgrade(connection: sa.Connection, step: str = "head") -> None:
    """Take the schema to a step, inside a transaction."""
    # Alembic is needed at a change of schema only: it costs a third of a second and some memory.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, step)
