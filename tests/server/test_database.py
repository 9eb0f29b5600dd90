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
from pli_server.storage.tables import metadata

FIXTURES = Path(__file__).parent / "fixtures"


def differences(engine: sa.Engine) -> list[object]:
    with engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), metadata)


def test_the_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    engine = database.engine(tmp_path / "relay.db")
    database.migrate(engine)
    assert differences(engine) == []
    with engine.connect() as connection:
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        assert version == database.HEAD
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()


@pytest.mark.parametrize("script", sorted(FIXTURES.glob("*.sql")), ids=lambda p: p.stem)
def test_every_schema_that_was_released_migrates(tmp_path: Path, script: Path) -> None:
    path = tmp_path / "relay.db"
    old = sqlite3.connect(path)
    old.executescript(script.read_text())
    rows = old.execute("SELECT count(*) FROM rows").fetchone()
    old.close()
    engine = database.engine(path)
    database.migrate(engine)
    assert differences(engine) == []
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM rows").one() == rows
        assert connection.exec_driver_sql("SELECT name FROM sqlite_master").all()
    engine.dispose()


def test_there_is_a_file_of_every_schema() -> None:
    assert [path.stem for path in sorted(FIXTURES.glob("*.sql"))] == ["relay-0001"]


def test_a_newer_file_and_one_that_is_none_are_refused(tmp_path: Path) -> None:
    engine = database.engine(tmp_path / "relay.db")
    database.migrate(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(OperatorError, match="newer"):
        database.migrate(engine)
    engine.dispose()
    (tmp_path / "garbage.db").write_bytes(b"no database at all, but long enough" * 100)
    engine = database.engine(tmp_path / "garbage.db")
    with pytest.raises(OperatorError, match="cannot be opened"):
        database.migrate(engine)
    engine.dispose()


def test_the_relays_files_are_its_users_only(tmp_path: Path) -> None:
    from pli_server import folder as folders
    from pli_server.settings_file import template

    folder = tmp_path / "relay"
    folders.make(folder, template("relay.test", "127.0.0.1:0"))
    for path in (folder, *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
