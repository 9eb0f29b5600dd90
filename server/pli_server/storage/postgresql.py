"""A PostgreSQL database that several nodes share; asyncpg on each thread's own event loop."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ..errors import OperatorError
from .database import Use
from .faults import Fault, describe
from .postgresql_statements import PostgreSQLStatements
from .url import VARIABLE, DatabaseURL

T = TypeVar("T")

OLDEST: Final = 150000
"""PostgreSQL 15, as `server_version_num` has it."""

CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 20
"""A server that is silent for so long is given up, and another connection is tried."""

_SCHEMA_LOCK: Final = 0x506C6900
_SHARED_SETTINGS: Final = {"application_name": "pli", "jit": "off", "timezone": "UTC"}
_SETTINGS: Final = {
    Use.WRITING: {
        **_SHARED_SETTINGS,
        # A node that is stopped in the middle of a transaction must not hold its locks for long.
        "idle_in_transaction_session_timeout": "5s",
        "lock_timeout": "10s",
        # The writer finds few rows by their keys. A plan that was made while a table was empty would
        # scan all of it when it is large.
        "enable_seqscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
    },
    Use.READING: {**_SHARED_SETTINGS, "default_transaction_read_only": "on"},
    Use.CHANGING: _SHARED_SETTINGS,
}

# By the beginning of SQLSTATE, the longest that fits (PostgreSQL, appendix A).
_FAULTS: Final = {
    "08": Fault.LOST,
    "23": Fault.CONSTRAINT,
    "25006": Fault.LOST,  # read only: it has become a standby, the primary is elsewhere
    "25P02": Fault.PROGRAM,
    "25P03": Fault.LOST,  # it took too long in a transaction
    "28": Fault.LOST,  # another password by now
    "3D": Fault.LOST,  # no such database
    "40": Fault.CLASH,
    "42501": Fault.BUSY,  # a right is missing
    "53": Fault.BUSY,
    "53100": Fault.FULL,
    "53300": Fault.LOST,  # too many connections
    "55P03": Fault.CLASH,  # lock_timeout
    "57": Fault.LOST,  # stopped, starting, crashed
    "57014": Fault.BUSY,  # statement_timeout
    "58": Fault.FULL,  # an error of its disk
    "XX001": Fault.FULL,
    "XX002": Fault.FULL,
}


class PostgreSQL:
    """The database of a URL."""

    shared = True
    remedy = f"see that PostgreSQL runs and that {VARIABLE} is right; else restore the last backup"

    def __init__(self, url: DatabaseURL) -> None:
        self._url = url

    def lane(self, use: Use) -> "_Lane":
        # An engine for each: SQLAlchemy's asyncio locks do not wake a waiter on another thread's loop.
        return _Lane(self._engine(use))

    def statements(self, connection: sa.Connection) -> PostgreSQLStatements:
        return PostgreSQLStatements(connection)

    def lock_schema(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")

    def check(self, connection: sa.Connection) -> None:
        version = int(_setting(connection, "server_version_num"))
        if version < OLDEST:
            raise OperatorError("the database is older than PostgreSQL 15; upgrade it")
        if _setting(connection, "server_encoding") != "UTF8":
            raise OperatorError("the database is not in UTF8; make one with ENCODING 'UTF8'")
        if _setting(connection, "fsync") != "on":
            raise OperatorError(
                "PostgreSQL runs with fsync = off: a power cut would lose what was answered; "
                "turn it on"
            )
        if _setting(connection, "synchronous_commit") not in ("on", "remote_apply"):
            raise OperatorError(
                "PostgreSQL answers before its disk has it; set synchronous_commit = on for the "
                "relay's role or database"
            )

    def sound(self, connection: sa.Connection) -> bool:
        failures = connection.exec_driver_sql(
            "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
        ).scalar()
        return not failures

    def fault(self, error: BaseException) -> Fault:
        for one in _chain(error):
            state = getattr(one, "sqlstate", None)
            if isinstance(state, str) and state:
                return _by_state(state)
        ended = (OSError, EOFError, asyncpg.InterfaceError)
        for one in _chain(error):
            # A value that the driver refuses is both an InterfaceError and a ValueError.
            if isinstance(one, ended) and not isinstance(one, ValueError):
                return Fault.LOST
        return Fault.PROGRAM

    def complaint(self, error: Exception) -> str:
        why = describe(error)
        for one in _chain(error):
            if isinstance(one, asyncpg.PostgresError | OSError) and str(one):
                why = str(one)
        return f"PostgreSQL cannot be used ({why}); check it and {VARIABLE}, then try again"

    def _engine(self, use: Use) -> AsyncEngine:
        async def connect() -> "asyncpg.Connection[Any]":
            return await asyncpg.connect(
                self._url.reveal(),
                timeout=CONNECT_SECONDS,
                command_timeout=None if use is Use.CHANGING else ANSWER_SECONDS,
                server_settings=_SETTINGS[use],
            )

        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
        )


class _Lane:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._runner = asyncio.Runner(loop_factory=_loop_factory())
        self._connection: AsyncConnection | None = None

    def run(self, function: Callable[[sa.Connection], T], /) -> T:
        return self._runner.run(self._run(function))

    async def _run(self, function: Callable[[sa.Connection], T]) -> T:
        if self._connection is None:
            self._connection = await self._engine.connect()
        return await self._connection.run_sync(function)

    def drop(self) -> None:
        if self._connection is not None:
            self._runner.run(_abandon(self._connection))
            self._connection = None

    def close(self) -> None:
        if self._connection is not None:
            self._runner.run(_end(self._connection))
            self._connection = None
        self._runner.close()


async def _abandon(connection: AsyncConnection) -> None:
    """Without a word to the server, which may not listen any more."""
    with contextlib.suppress(Exception):
        await connection.invalidate()
    await _end(connection)


async def _end(connection: AsyncConnection) -> None:
    with contextlib.suppress(Exception):
        await connection.close()


def _setting(connection: sa.Connection, name: str) -> str:
    return str(connection.exec_driver_sql(f"SHOW {name}").scalar())


def _by_state(state: str) -> Fault:
    for length in (5, 2):
        fault = _FAULTS.get(state[:length])
        if fault is not None:
            return fault
    return Fault.PROGRAM


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, the driver's in it, and what they came from."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [getattr(one, "orig", None), one.__cause__]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
