"""The schema: its history leads to the tables of today, from the first file on; newer files are refused."""

import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from pli_server.errors import OperatorError
from pli_server.storage import database
from pli_server.storage.database import Database, Use, at_once, open_database
from pli_server.storage.tables import metadata
from pli_server.storage.url import DatabaseURL

from .databases import POSTGRESQL, drop_database, new_database

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


def first_schema(connection: sa.Connection) -> None:
    """The database as it was before it was for hosts, with somebody in it."""
    with database.writing(connection):
        database.upgrade(connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO establishments (id, authority, created) VALUES ('e', 'a', 1)"
        )
        connection.exec_driver_sql(
            "INSERT INTO accounts (establishment, account, person_id, issuer_id, person, issuer,"
            " created) VALUES ('e', 'x', 'p', 'i', 'c', 'd', 1)"
        )


@pytest.mark.needs_postgresql
@pytest.mark.parametrize("engine", [POSTGRESQL])
def test_the_first_schema_grows_to_64_bits(store: Database) -> None:
    lane = store.lane(Use.CHANGING)
    lane.run(first_schema)
    lane.close()
    narrow = sa.text(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'integer'"
    )
    sequences = sa.text("SELECT DISTINCT data_type FROM pg_sequences WHERE schemaname = 'public'")
    assert at_once(store, differences) == []
    assert at_once(store, lambda db: db.execute(narrow).all()) == []
    assert at_once(store, lambda db: list(db.scalars(sequences))) == ["bigint"]
    late = sa.text("UPDATE accounts SET created = 1795000000000 WHERE no = 1")
    assert at_once(store, lambda db: db.execute(late).rowcount) == 1


def test_nodes_that_start_at_once_change_the_schema_once(store: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: at_once(store, differences), range(4)))
    assert found == [[]] * 4


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


@pytest.mark.needs_postgresql
@pytest.mark.parametrize(
    ("setting", "said"),
    [("synchronous_commit = off", "synchronous_commit"), ("synchronous_commit = local", "disk")],
)
def test_a_database_that_answers_too_early_is_refused(setting: str, said: str) -> None:
    url = new_database()
    name = url.rpartition("/")[2]
    store = open_database(Path(), DatabaseURL(url))
    at_once(store, lambda db: db.exec_driver_sql(f'ALTER DATABASE "{name}" SET {setting}'))
    with pytest.raises(OperatorError, match=said):
        at_once(store, nothing)
    drop_database(url)


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    store = open_database(Path(), DatabaseURL("postgresql://pli:geheim@127.0.0.1:1/pli"))
    with pytest.raises(OperatorError, match="cannot be used") as caught:
        at_once(store, nothing)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.needs_postgresql
def test_a_database_that_is_not_there_is_told_with_its_name() -> None:
    url = new_database()
    drop_database(url)
    with pytest.raises(OperatorError, match=f'{url.rpartition("/")[2]}" does not exist'):
        at_once(open_database(Path(), DatabaseURL(url)), nothing)


def test_the_relays_files_are_its_users_only(tmp_path: Path) -> None:
    from pli_server import folder as folders
    from pli_server.settings_file import template

    folder = tmp_path / "relay"
    folders.make(folder, template("relay.test", "127.0.0.1:0"))
    for path in (folder, *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
