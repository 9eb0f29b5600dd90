"""`backup-key`, `backup`, `backup verify`, `restore`, `new-timeline`, and the schedule's settings."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pli_server.backup import schedule
from pli_server.command_line import cli
from pli_server.relay import Relay
from pli_server.settings import load

from ..databases import new_folder
from ..test_command_line import one_sentence

HOUR = 3_600_000


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def configured(tmp_path: Path, *more: str) -> Path:
    """A relay with a schedule, its private key beside it."""
    folder = tmp_path / "relay"
    new_folder(folder)
    code, out, _ = call("backup-key", tmp_path / "private", "--json")
    assert code == 0
    (tmp_path / "backups").mkdir()
    lines = [f'directory = "{tmp_path}/backups"', f'key = "{json.loads(out)["key"]}"', *more]
    text = (folder / "relay.toml").read_text()
    (folder / "relay.toml").write_text(
        text.replace("\n[backup]\n", "\n[backup]\n" + "\n".join(lines) + "\n")
    )
    return folder


def test_from_the_key_to_the_restored_relay(tmp_path: Path) -> None:
    folder = configured(tmp_path)
    code, out, _ = call("backup", folder, "--json")
    assert code == 0
    made = json.loads(out)
    assert (made["event"], made["timeline"], made["gone"]) == ("backup", 1, 0)
    archive, key = made["archive"], ("--key", tmp_path / "private")
    assert Path(archive).parent == tmp_path / "backups"
    code, out, _ = call("backup", "verify", archive, *key, "--scratch", tmp_path, "--json")
    assert (code, json.loads(out)["good"]) == (0, True)
    code, out, _ = call("restore", archive, *key, "--to", tmp_path / "new", "--json")
    assert code == 0
    number = json.loads(out)["new_timeline"]
    assert number > 1
    assert load(tmp_path / "new").name == "relay.test"
    others = [p for p in (tmp_path / "new").rglob("*") if p.stat().st_mode & 0o077]
    assert sys.platform == "win32" or others == []
    code, out, _ = call("new-timeline", tmp_path / "new", "--json")
    assert (code, json.loads(out)["new_timeline"] > number) == (0, True)


def test_a_sealed_key_asks_for_its_passphrase(tmp_path: Path) -> None:
    folder = configured(tmp_path)
    (tmp_path / "words").write_text("quatre mots au hasard\n")
    words = ("--passphrase-file", tmp_path / "words")
    code, out, _ = call("backup-key", tmp_path / "sealed", *words, "--json")
    public = json.loads(out)["key"]
    code, out, _ = call("backup", folder, "--public-key", public, "--json")
    archive = json.loads(out)["archive"]
    assert call("backup", "verify", archive, "--key", tmp_path / "sealed", *words)[0] == 0
    (tmp_path / "words").write_text("other words\n")
    code, _, err = call("backup", "verify", archive, "--key", tmp_path / "sealed", *words)
    assert (code, one_sentence(err)) == (1, True)


def test_mistakes_are_told_in_one_sentence(tmp_path: Path) -> None:
    new_folder(tmp_path / "bare")
    call("backup-key", tmp_path / "private")
    key = ("--key", tmp_path / "private")
    (tmp_path / "text").write_text("no archive")
    for arguments in (
        ("backup", tmp_path / "bare"),
        ("backup", tmp_path / "bare", "--public-key", "AAAA", "--to", tmp_path),
        ("backup", tmp_path / "nowhere"),
        ("backup", "verify", tmp_path / "text", *key),
        ("backup", "verify", tmp_path / "missing", *key),
        ("backup", "verify", tmp_path / "text", "--key", tmp_path / "missing"),
        ("restore", tmp_path / "text", *key, "--to", tmp_path / "bare"),
        ("backup-key", tmp_path / "private"),
        ("new-timeline", tmp_path),
    ):
        code, _, err = call(*arguments)
        assert (code, one_sentence(err)) == (1, True), (arguments, err)


def test_what_is_wrong_inside_has_an_exit_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = configured(tmp_path)
    _, out, _ = call("backup", folder, "--json")
    archive = json.loads(out)["archive"]
    monkeypatch.setattr("pli_server.backup.restoring._problems", lambda *_: ["a blob is missing"])
    key = ("--key", tmp_path / "private")
    code, out, _ = call("backup", "verify", archive, *key, "--json")
    assert (code, json.loads(out)["problems"]) == (4, ["a blob is missing"])


def test_a_schedule_rarer_than_the_repair_window_is_refused(tmp_path: Path) -> None:
    configured(tmp_path, "hours = 193")
    code, _, err = call("backup", tmp_path / "relay")
    assert code == 1
    assert "too rare" in err
    assert "192" in err


def test_a_directory_without_a_key_is_refused(tmp_path: Path) -> None:
    folder = configured(tmp_path)
    text = (folder / "relay.toml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith("key = ")]
    (folder / "relay.toml").write_text("\n".join(kept))
    code, _, err = call("run", folder)
    assert (code, one_sentence(err), "[backup]" in err) == (1, True, True)


def test_a_key_alone_is_for_backups_by_hand(tmp_path: Path) -> None:
    folder = configured(tmp_path)
    text = (folder / "relay.toml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith("directory = ")]
    (folder / "relay.toml").write_text("\n".join(kept))
    assert call("backup", folder, "--to", tmp_path / "backups")[0] == 0
    assert schedule.last_backup(load(folder)) is None


def test_a_backup_is_due_at_once_and_then_after_its_hours(tmp_path: Path) -> None:
    folder = configured(tmp_path, "hours = 6")
    settings = load(folder)
    assert schedule.last_backup(settings) is None
    assert schedule.seconds_until_due(settings, 1) == 0
    call("backup", folder)
    last = schedule.last_backup(settings)
    assert last is not None
    assert schedule.seconds_until_due(settings, last + HOUR) == 5 * 3600
    assert schedule.seconds_until_due(settings, last + 7 * HOUR) == 0
    assert schedule.seconds_until_due(settings, last - 10**12) == 6 * 3600, "its clock was wrong"


def test_older_backups_than_those_to_keep_are_removed(tmp_path: Path) -> None:
    folder = configured(tmp_path, "keep = 1")
    old = tmp_path / "backups" / "pli-relay.test-20200101T000000Z.plibackup"
    old.write_bytes(b"")
    call("backup", folder)
    (left,) = (tmp_path / "backups").iterdir()
    assert left != old


async def test_the_running_relay_backs_up_by_itself_and_says_how_old_it_is(tmp_path: Path) -> None:
    relay = Relay(configured(tmp_path), load(tmp_path / "relay"))
    await relay.start()
    running = asyncio.create_task(schedule.run(relay))
    try:
        while schedule.last_backup(relay.settings) is None:
            await asyncio.wait([running], timeout=0.1)
            assert not running.done()
        (archive,) = (tmp_path / "backups").glob("*.plibackup")
        assert b"pli_backup_age_seconds" in relay.metrics.text()
    finally:
        running.cancel()
        await asyncio.wait([running])
        await relay.stop()
    assert call("backup", "verify", archive, "--key", tmp_path / "private")[0] == 0


async def test_backups_go_on_after_one_that_could_not_even_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun = asyncio.Queue[bool]()
    begin = asyncio.create_subprocess_exec

    async def second_time(*command: str, **options: Any) -> Any:
        begun.put_nowait(True)
        if "a backup failed" not in caplog.text:
            raise BlockingIOError
        return await begin(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", second_time)
    monkeypatch.setattr(schedule, "HOUR", 0)
    relay = Relay(configured(tmp_path), load(tmp_path / "relay"))
    await relay.start()
    running = asyncio.create_task(schedule.run(relay))
    try:
        for _ in range(2):
            await asyncio.wait_for(begun.get(), 20)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await relay.stop()


async def test_a_backup_that_fails_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    relay = Relay(configured(tmp_path), load(tmp_path / "relay"))
    await relay.start()
    try:
        (tmp_path / "backups").rmdir()
        assert not await schedule.back_up(relay)
    finally:
        await relay.stop()
    assert "a backup failed" in caplog.text
