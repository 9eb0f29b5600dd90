"""The demonstration on real parts; its counting can fail: planted text, lost, doubled messages."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from pli_client.demo import runner
from pli_client.demo.counts import Counts
from pli_client.demo.plaintext import Search, needles, search
from pli_client.demo.relay_process import RelayProcess
from pli_client.demo.runner import Result, count, perform, play
from pli_client.demo.scenario import Scenario, load
from pli_client.demo.team import Folders
from pli_client.vault import Database, Vault, passphrase
from pli_protocol.secret import Secret
from tests.client.cli.processes import pli

pytestmark = pytest.mark.processes

SMALL = Path(__file__).parent / "small.toml"
SCENARIO = load(SMALL)


@dataclass(frozen=True)
class Played:
    """A performance by `pli demo --keep`, whose folders are still there; its relay was ended."""

    folders: Folders
    persons: dict[str, bytes]
    listing: str
    """What the command that it advises to go on with printed."""

    @property
    def secret(self) -> Secret:
        return passphrase(self.folders.passphrase_file.read_text(encoding="ascii").strip())

    def copied(self, to: Path) -> "Played":
        shutil.copytree(self.folders.root, to)
        return replace(self, folders=Folders(to))

    async def count(self) -> Counts:
        found = search(self.folders.relay, needles(SCENARIO, SMALL))
        return await count(SCENARIO, self.folders, self.secret, self.persons, found, 1)


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    done = pli("demo", "--scenario", str(SMALL), "--keep")
    assert done.returncode == 0, done.stderr
    commands = [line.split() for line in done.stderr.splitlines() if line.startswith("    ")]
    listing = next(command for command in commands if "conversations" in command)
    folders = Folders(Path(listing[listing.index("--passphrase-file") + 1]).parent)
    words = done.stderr.replace(",", " ").split()
    try:
        listed = subprocess.run(listing, capture_output=True, encoding="utf-8", timeout=60)
        stop(int(words[words.index("kill") + 1]))
        persons = {key: asyncio.run(person_id(folders, key)) for key in ("nadia", "paul")}
        yield Played(folders, persons, listed.stdout)
    finally:
        shutil.rmtree(folders.root)


def stop(process: int) -> None:
    running = psutil.Process(process)
    assert "pli_server" in running.cmdline()
    running.kill()
    running.wait(10)


async def person_id(folders: Folders, key: str) -> bytes:
    secret = passphrase(folders.passphrase_file.read_text(encoding="ascii").strip())
    name = SCENARIO.person(key).name

    def look(db: Database) -> bytes:
        row = db.execute("SELECT person_id FROM people WHERE name = ?", (name,)).fetchone()
        assert row is not None
        return bytes(row[0])

    async with await Vault.open(folders.vault(key), secret) as vault:
        return await vault.read(look)


async def tamper(played: Played, who: str, statement: str) -> None:
    async with await Vault.open(played.folders.vault(who), played.secret) as vault:
        changed = await vault.write(lambda db: db.execute(statement).rowcount)
        assert changed == 1


async def test_an_untouched_performance_is_good(played: Played) -> None:
    counts = await played.count()
    assert counts.good
    assert (counts.messages, counts.notes_filed) == (3, 1)


def test_keep_leaves_the_relay_up_and_says_how_to_go_on(played: Played) -> None:
    assert "Atelier cuisine du mardi" in played.listing


async def test_a_message_missing_in_a_vault_is_lost(played: Played, tmp_path: Path) -> None:
    copy = played.copied(tmp_path / "copy")
    await tamper(
        copy, "nadia", "DELETE FROM messages WHERE kind = 'post' AND text LIKE 'Très belle%'"
    )
    counts = await copy.count()
    assert (counts.lost, counts.doubled) == (1, 0)
    assert not counts.good


async def test_a_message_that_stands_twice_is_doubled(played: Played, tmp_path: Path) -> None:
    copy = played.copied(tmp_path / "copy")
    await tamper(
        copy,
        "paul",
        """INSERT INTO messages (message_id, conversation_id, sender, device_id, kind, content,
               text, sent_at, state, generation, timeline, seq)
           SELECT randomblob(32), conversation_id, sender, device_id, kind, content, text, sent_at,
               state, generation, timeline, seq + 1000
           FROM messages WHERE kind = 'post' AND text LIKE 'Léo a préparé%'""",
    )
    counts = await copy.count()
    assert (counts.lost, counts.doubled) == (0, 1)
    assert not counts.good


async def test_what_a_removed_member_still_reads_is_counted(played: Played, tmp_path: Path) -> None:
    copy = played.copied(tmp_path / "copy")
    async with await Vault.open(copy.folders.vault("nadia"), copy.secret) as vault:
        row = await vault.read(
            lambda db: db.execute(
                "SELECT message_id, conversation_id, sender, device_id, content, sent_at"
                " FROM messages WHERE text LIKE 'Ceci n%'"
            ).fetchone()
        )
    assert row is not None
    async with await Vault.open(copy.folders.vault("paul"), copy.secret) as vault:
        await vault.write(
            lambda db: db.execute(
                """INSERT INTO messages (message_id, conversation_id, sender, device_id, content,
                       sent_at, kind, state) VALUES (?, ?, ?, ?, ?, ?, 'post', 'received')""",
                tuple(row),
            )
        )
    counts = await copy.count()
    assert counts.overread == 1
    assert not counts.good


async def test_plaintext_in_the_relays_files_is_a_hit(played: Played, tmp_path: Path) -> None:
    copy = played.copied(tmp_path / "copy")
    with (copy.folders.relay / "relay.log").open("ab") as log:
        log.write(SCENARIO.messages[0].text.encode())
    counts = await copy.count()
    assert counts.plaintext_hits > 0
    assert not counts.good


class LeakyRelay(RelayProcess):
    """A relay that writes down what it should not know; in its log, before it is killed."""

    def kill(self) -> None:
        with (self.folder / "relay.log").open("ab") as log:
            log.write(b"delivering a note for IME-000731\n")
        super().kill()


async def test_a_relay_that_leaks_fails_the_demonstration(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    relay = LeakyRelay(folders.relay)
    try:
        result = await perform(SCENARIO, SMALL, folders, relay, lambda _: None)
    finally:
        await relay.stop()
    assert result.counts.plaintext_hits > 0
    assert {hit.of for hit in result.searched.hits} == {"IME-000731"}
    assert not result.counts.good


@pytest.mark.parametrize("field", ["lost", "doubled", "overread", "plaintext_hits"])
async def test_the_exit_code_is_not_zero_when_anything_went_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    counts = Counts(**(dict.fromkeys(Counts.__dataclass_fields__, 0) | {field: 1}))

    async def failed(_scenario: Scenario, _path: Path, folders: Folders, *_more: object) -> Result:
        await asyncio.to_thread(folders.relay.mkdir)
        await asyncio.to_thread(folders.outbox.mkdir)
        return Result(counts, Search((), 0, ()), 1.0)

    monkeypatch.setattr(runner, "perform", failed)
    for as_json in (False, True):
        code = await play(SMALL, keep=False, as_json=as_json, progress=lambda _: None)
        assert code != 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (shown[field], shown["ok"]) == (1, False)


# --- the command ------------------------------------------------------------------------------


def test_the_whole_hand_over_as_one_json_object() -> None:
    done = pli("demo", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    counts = json.loads(line)
    assert counts["messages"] >= 30
    assert counts["notes_filed"] >= 5
    assert counts["receipts"] >= 5
    faults = ("lost", "doubled", "overread", "plaintext_hits")
    assert [counts[fault] for fault in faults] == [0, 0, 0, 0]
    assert counts["seconds"] < 60
    assert done.stderr  # the progress


def test_a_scenario_that_cannot_be_played_is_one_sentence(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(SMALL.read_text(encoding="utf-8").replace('who = "paul"', 'who = "zoe"'))
    done = pli("demo", "--scenario", str(bad))
    assert done.returncode == 1
    assert "zoe" in done.stderr
    assert len(done.stderr.splitlines()) == 1
