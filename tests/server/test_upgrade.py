"""An upgrade is a stop and a start: the first schema becomes today's, a newer one is refused unharmed."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pli_protocol.relay import frames as f
from pli_server.command_line import cli
from pli_server.storage import database

from .conftest import new_folder
from .people import TestEstablishment
from .processes import RelayProcess
from .raw_client import RawClient
from .team import Member, team
from .test_statements import own_word

FIXTURE = Path(__file__).parent / "fixtures" / "relay-0001.sql"

pytestmark = pytest.mark.processes


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    """As a host has it whose relay ran the first version."""
    folder = tmp_path / "relay"
    new_folder(folder)
    for path in folder.glob("relay.db*"):
        path.unlink()
    with sqlite3.connect(folder / "relay.db") as old:
        old.executescript(FIXTURE.read_text())
    old.close()
    (folder / "relay.db").chmod(0o600)
    (folder / "accounts.key").unlink(missing_ok=True)
    return folder


def version(folder: Path) -> str:
    with sqlite3.connect(folder / "relay.db") as db:
        found = db.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    db.close()
    return str(found)


async def test_a_start_migrates_and_the_relay_serves_old_and_new(old_folder: Path) -> None:
    relay = RelayProcess.start(old_folder)
    assert version(old_folder) == database.HEAD
    home = TestEstablishment()
    made = CliRunner().invoke(cli, ["establishment-code", str(old_folder), "--json"])
    client = await RawClient.open(relay.url)
    await client.register(home, json.loads(made.stdout)["code"])
    await client.close()
    members = []
    for person in (home.person("Anne"), home.person("Bruno")):
        device = person.device()
        members.append(Member(person, device, await RawClient.signed(relay.url, device)))
    both = await team(*members)
    await both.says(members[0])
    assert (await members[1].client.push(f.Row)).position.seq == 2
    for member in members:
        await member.client.close()
    code, log = relay.stop()
    assert (code, "Traceback" in log, " ERROR " in log) == (0, False, False)
    with sqlite3.connect(old_folder / "relay.db") as db:
        assert db.execute("SELECT count(*) FROM establishments").fetchone()[0] >= 2
        assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    db.close()


def test_a_persons_word_of_before_is_filed_under_person_and_device(old_folder: Path) -> None:
    person = TestEstablishment().person()
    device = person.device()
    word = own_word(person, device)
    with sqlite3.connect(old_folder / "relay.db") as db:
        db.execute(
            "INSERT INTO device_revocations VALUES (7, ?, ?, ?)",
            (person.establishment.id, device.id, word),
        )
    db.close()
    RelayProcess.start(old_folder).stop()
    with sqlite3.connect(old_folder / "relay.db") as db:
        kept = db.execute("SELECT number, subject, statement FROM statements").fetchall()
    db.close()
    assert (7, person.person_id + device.id, word) in kept


def test_a_newer_database_is_refused_and_left_alone(old_folder: Path) -> None:
    with sqlite3.connect(old_folder / "relay.db") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    before = (old_folder / "relay.db").read_bytes()
    result = subprocess.run(
        [sys.executable, "-m", "pli_server", "run", str(old_folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "newer pli-server" in result.stderr
    assert result.stderr.count("\n") == 1
    # The header's change counters aside, nothing was written.
    assert (old_folder / "relay.db").read_bytes()[100:] == before[100:]
