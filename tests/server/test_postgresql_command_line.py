"""`pli-server` on PostgreSQL: init, a second node, codes, run; the password is nowhere to be read."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pli_server.command_line import cli
from pli_server.errors import OperatorError
from pli_server.settings import load
from pli_server.storage.url import DatabaseURL

from .databases import drop_database, new_database
from .people import TestEstablishment
from .processes import RelayProcess
from .raw_client import RawClient

SECRET = "geheim-7Q"


def call(*arguments: object, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def url() -> Iterator[str]:
    made = new_database()
    yield made
    drop_database(made)


@pytest.mark.needs_postgresql
def test_a_relay_is_made_and_run_on_postgresql_and_its_copy_is_a_further_node(
    tmp_path: Path, url: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    made = call("init", one, "--listen", "127.0.0.1:0", "--database", url, "--json")
    assert made[0] == 0, made
    assert not list(one.glob("relay.db*"))
    code, out, _ = call("establishment-code", one, "--json")
    assert code == 0
    shutil.copytree(one, two)
    codes = [json.loads(text)["code"] for text in (made[1], out)]
    for folder, given in zip((one, two), codes, strict=True):
        relay = RelayProcess.start(folder)
        asyncio.run(registers(relay.url, given))
        stopped, said = relay.stop()
        assert stopped == 0, said


async def registers(url: str, code: str) -> None:
    async with await RawClient.open(url) as client:
        await client.register(TestEstablishment(), code)


@pytest.mark.needs_postgresql
def test_a_database_with_a_relay_gets_no_second_one(tmp_path: Path, url: str) -> None:
    environment = {"PLI_DATABASE_URL": url}
    assert call("init", tmp_path / "one", environment=environment)[0] == 0
    assert url not in (tmp_path / "one/relay.toml").read_text()
    code, _, error = call("init", tmp_path / "two", environment=environment)
    assert code == 1
    assert "a copy of the first one's folder" in error
    assert list((tmp_path / "two").iterdir()) == []


@pytest.mark.parametrize("command", ["init", "establishment-code", "run"])
def test_a_password_is_in_no_message(tmp_path: Path, command: str) -> None:
    folder = tmp_path / "relay"
    if command != "init":
        assert call("init", folder, "--listen", "127.0.0.1:0")[0] == 0
    away = {"PLI_DATABASE_URL": f"postgresql://pli:{SECRET}@127.0.0.1:1/pli"}
    code, out, error = call(command, folder, environment=away)
    assert code == 1
    assert "PostgreSQL cannot be used" in error
    assert error.count("\n") == 1
    assert SECRET not in out + error


def test_a_password_on_the_command_line_or_in_the_file_is_refused(tmp_path: Path) -> None:
    given = f"postgresql://pli:{SECRET}@127.0.0.1/pli"
    code, _, error = call("init", tmp_path / "relay", "--database", given)
    assert (code, "PLI_DATABASE_URL" in error, SECRET in error) == (1, True, False)
    assert call("init", tmp_path / "other")[0] == 0
    file = tmp_path / "other/relay.toml"
    file.write_text(f'name = "x"\ndatabase_url = "{given}"\n')
    code, _, error = call("run", tmp_path / "other")
    assert (code, "PLI_DATABASE_URL" in error, SECRET in error) == (1, True, False)


def test_the_url_shows_itself_to_the_driver_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLI_DATABASE_URL", f"postgresql+asyncpg://pli:{SECRET}@host/pli?x=y")
    (tmp_path / "relay.toml").write_text('name = "x"\n')
    settings = load(tmp_path)
    assert SECRET not in f"{settings} {settings!r} {settings.database_url}"
    assert settings.database_url is not None
    assert settings.database_url.reveal() == f"postgresql://pli:{SECRET}@host/pli?x=y"


@pytest.mark.parametrize(
    "text", ["", "pli", f"mysql://pli:{SECRET}@host/pli", "postgresql://host", "postgresql:///"]
)
def test_what_is_no_url_of_postgresql_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(OperatorError, match="postgresql://USER@HOST") as caught:
        DatabaseURL(text)
    assert SECRET not in str(caught.value)
