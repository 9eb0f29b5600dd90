"""Opening the relay's SQLite file: durable settings, migrations, one process at a time."""

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from ..errors import OperatorError

FILE_NAME = "relay.db"
HEAD = "0002"
"""The newest step of the schema."""

BUSY_SECONDS = 20


def engine(path: Path) -> sa.Engine:
    """An engine whose connections are durable and leave transactions to their owner."""
    made = sa.create_engine(
        f"sqlite+pysqlite:///{path}",
        poolclass=NullPool,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        isolation_level="AUTOCOMMIT",
    )

    @sa.event.listens_for(made, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        configure(connection)

    return made


def configure(connection: sqlite3.Connection) -> None:
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


def migrate(made: sa.Engine) -> None:
    """Bring the schema to HEAD.

    Raises:
        OperatorError: the file was written by a newer relay, or is no database of ours.
    """
    try:
        with made.connect() as connection:
            found = version(connection)
            if found == HEAD:
                return
            if found is not None and found > HEAD:
                raise OperatorError(
                    "this folder was written by a newer pli-server; update this one and try again"
                )
            _upgrade(connection)
    except sa.exc.DatabaseError as error:
        raise OperatorError(
            f"the relay's database cannot be opened ({error.orig}); restore it from a backup"
        ) from None


def version(connection: sa.Connection) -> str | None:
    """The step of the schema that the database is at; None: it is none of ours."""
    names = sa.inspect(connection).get_table_names()
    if "alembic_version" not in names:
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _upgrade(connection: sa.Connection) -> None:
    # Alembic is needed at a change of schema only: it costs a third of a second and some memory.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        command.upgrade(config, "head")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")
