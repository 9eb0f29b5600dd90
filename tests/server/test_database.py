"""The schema: its history leads to the tables of today, from the first file on; newer files are refused."""

import sqlite3
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from pli_server.errors import OperatorError
from pli_server.storage import database
from pli_server.storage.database import Database, at_once, open_database
from pli_server.storage.tables import metadata

FIXTURES = Path(__file__).parent / "fixtures"


def differences(connection: sa.Connection) -> list[object]:
    return compare_metadata(MigrationContext.configure(connection), metadata)


def nothing(connection: sa.Connection) -> None:
    """Only what opening does."""


def test_the_migrations_lead_to_the_tables(store: Database) -> None:
    assert at_once(store, differences) == []
    version = sa.text("SELECT version_num FROM alembic_version")
    assert at_once(store, lambda db: db.execute(version).scalar()) == database.HEAD


def test_every_connection_to_the_file_is_durable(tmp_path: Path) -> None:
    def pragmas(connection: sa.Connection) -> list[object]:
        names = ("journal_mode", "synchronous")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert at_once(open_database(tmp_path, None), pragmas) == ["wal", 2]


@pytest.mark.parametrize("script", sorted(FIXTURES.glob("*.sql")), ids=lambda p: p.stem)
def test_every_schema_that_was_released_migrates(tmp_path: Path, script: Path) -> None:
    old = sqlite3.connect(tmp_path / "relay.db")
    old.executescript(script.read_text())
    rows = old.execute("SELECT count(*) FROM rows").fetchone()
    old.close()
    store = open_database(tmp_path, None)
    assert at_once(store, differences) == []
    assert at_once(store, lambda db: db.exec_driver_sql("SELECT count(*) FROM rows").one()) == rows


def test_there_is_a_file_of_every_schema() -> None:
    assert [path.stem for path in sorted(FIXTURES.glob("*.sql"))] == ["relay-0001"]


def test_a_newer_database_is_refused(store: Database) -> None:
    at_once(store, lambda db: db.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(OperatorError, match="newer"):
        at_once(store, nothing)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "relay.db").write_bytes(b"no database at all, but long enough" * 100)
    with pytest.raises(OperatorError, match="cannot be opened"):
        at_once(open_database(tmp_path, None), nothing)


def test_the_relays_files_are_its_users_only(tmp_path: Path) -> None:
    from pli_server import folder as folders
    from pli_server.settings_file import template

    folder = tmp_path / "relay"
    folders.make(folder, template("relay.test", "127.0.0.1:0"))
    for path in (folder, *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
