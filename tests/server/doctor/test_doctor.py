"""The doctor finds what is wrong, says how to mend it, and works while the relay runs."""

import datetime
import json
import os
import shutil
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from click.testing import CliRunner

from pli_server.command_line import cli
from pli_server.doctor import commands, keeping, machine, network
from pli_server.doctor.findings import Finding, Situation, examine
from pli_server.settings import Backup, Bus, Settings

from ..databases import POSTGRESQL, drop_folder, new_folder
from ..processes import RelayProcess

FIXTURES = Path(__file__).parents[1] / "fixtures"
AUTHORITY = trustme.CA()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "relay"
    new_folder(made)
    return made


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout


def diagnosed(folder: Path) -> dict[str, Finding]:
    """Findings by check, but those that are well; the exit code agrees."""
    code, out = call("doctor", folder, "--json")
    shown = json.loads(out)
    found = [Finding(**each) for each in shown["checks"]]
    assert code == (1 if any(finding.state == "fail" for finding in found) else 0)
    assert shown["healthy"] is (code == 0)
    assert all(finding.remedy for finding in found if finding.state != "ok")
    # A test's relay has no schedule of backups.
    schedule = "there is no schedule in the settings"
    return {
        finding.check: finding
        for finding in found
        if finding.state != "ok" and finding.text != schedule
    }


@pytest.mark.needs_postgresql
def test_a_relay_on_postgresql_is_well_until_its_server_is_away(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    new_folder(folder, POSTGRESQL)
    assert not {"schema", "integrity", "clock", "trace"} & set(diagnosed(folder))
    drop_folder(folder)
    found = diagnosed(folder)
    assert "PostgreSQL" in found["schema"].remedy
    assert "could not be checked" in found["integrity"].text


def configure(folder: Path, **values: object) -> None:
    path = folder / "relay.toml"
    lines = [
        line
        for line in path.read_text().splitlines()
        if not line.startswith(tuple(f"{name} =" for name in values))
    ]
    given = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    path.write_text("\n".join([*given, *lines]))


def execute(folder: Path, sql: str, *values: object) -> None:
    with sqlite3.connect(folder / "relay.db") as db:
        db.execute(sql, values)
    db.close()


def test_a_fresh_relay_is_well(folder: Path) -> None:
    configure(folder, name="localhost")
    assert diagnosed(folder) == {}
    code, out = call("doctor", folder, "--quick")
    assert code == 0
    assert "integrity" not in out
    warned = [line for line in out.splitlines() if not line.startswith("ok ")]
    assert len(warned) == 2
    assert "backup" in warned[0]


def test_the_remedy_stands_below_what_is_wrong(folder: Path) -> None:
    configure(folder, name="localhost")
    folder.chmod(0o755)
    code, out = call("doctor", folder)
    assert code == 1
    lines = out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("fail")]
    assert "permissions" in lines[at]
    assert f"chmod -R go= {folder}" in lines[at + 1]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_another_user_than_the_relays_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    (found,) = machine.permissions(situation(folder))
    assert (found.state, "runuser" in found.remedy) == ("warn", True)


def test_wrong_settings_are_the_only_finding(folder: Path) -> None:
    configure(folder, nmae="x")
    found = diagnosed(folder)
    assert list(found) == ["settings"]
    assert "nmae" in found["settings"].text


def test_what_is_no_relays_folder_is_said(tmp_path: Path) -> None:
    assert "pli-server init" in diagnosed(tmp_path)["settings"].text


@pytest.mark.parametrize("spoil", ["middle", "whole", "gone"])
def test_a_damaged_database_is_found(folder: Path, spoil: str) -> None:
    configure(folder, name="localhost")
    path = folder / "relay.db"
    data = path.read_bytes()
    match spoil:
        case "middle":
            path.write_bytes(data[:8192] + os.urandom(len(data) - 8192))
        case "whole":
            path.write_bytes(os.urandom(len(data)))
        case "gone":
            path.unlink()
    found = diagnosed(folder)
    assert found["integrity"].state == "fail"


def test_a_newer_schema_is_refused_and_an_older_one_told(folder: Path) -> None:
    configure(folder, name="localhost")
    execute(folder, "UPDATE alembic_version SET version_num = '9999'")
    assert diagnosed(folder)["schema"].state == "fail"
    (folder / "relay.db").unlink()
    old = sqlite3.connect(folder / "relay.db")
    old.executescript((FIXTURES / "relay-0001.sql").read_text())
    old.close()
    (folder / "relay.db").chmod(0o600)
    found = diagnosed(folder)["schema"]
    assert (found.state, "no way back" in found.remedy) == ("warn", True)


def test_a_clock_behind_the_newest_message_is_found(folder: Path) -> None:
    configure(folder, name="localhost")
    later = (int(time.time()) + 7200) * 1000
    execute(folder, "PRAGMA foreign_keys = OFF")
    execute(
        folder,
        "INSERT INTO rows (group_no, seq, epoch, kind, sender_no, send_id, time, chain, is_blob)"
        " VALUES (1, 1, 0, 1, 1, x'00', ?, x'00', 0)",
        later,
    )
    assert diagnosed(folder)["clock"].text.startswith("is 1")


def test_blobs_without_file_and_files_without_note_are_found(folder: Path) -> None:
    configure(folder, name="localhost")
    execute(folder, "PRAGMA foreign_keys = OFF")
    note = (
        "INSERT INTO blobs (blob, establishment, size, complete, created) VALUES (?, x'', 1, ?, 0)"
    )
    lost, begun = os.urandom(32), os.urandom(32)
    execute(folder, note, lost, 1)
    execute(folder, note, begun, 0)
    found = diagnosed(folder)["blobs"]
    assert (found.state, found.text) == ("fail", "1 of 1 have no file")
    for blob in (lost, begun):
        path = folder / "blobs" / blob.hex()[:2] / blob.hex()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert "blobs" not in diagnosed(folder)
    execute(folder, "DELETE FROM blobs")
    assert diagnosed(folder)["blobs"].state == "warn"


@pytest.mark.parametrize(
    ("hours", "state"), [(None, "fail"), (1, None), (30, "warn"), (70, "fail")]
)
def test_backups_that_are_late_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, hours: int | None, state: str | None
) -> None:
    made = None if hours is None else int((time.time() - hours * 3600) * 1000)
    monkeypatch.setattr("pli_server.doctor.keeping.last_backup", lambda _: made)
    settings = msgspec.structs.replace(Settings("x"), backup=Backup(directory="/b", key="k"))
    (found,) = keeping.backup(Situation(folder, settings, None))
    assert (found.state if found.state != "ok" else None) == state


def test_entries_taken_out_of_the_trace_are_found(folder: Path) -> None:
    configure(folder, name="localhost")
    execute(folder, "INSERT INTO trace_trees (timeline, size, frontier) VALUES (7, 3, x'')")
    assert "3 entries are missing" in diagnosed(folder)["trace"].text


def test_a_taken_port_is_found(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        configure(folder, name="localhost", listen=f"127.0.0.1:{taken.getsockname()[1]}")
        assert "cannot be used" in diagnosed(folder)["port"].text


def certified(folder: Path, *names: str, **options: Any) -> None:
    made = AUTHORITY.issue_cert(*names, **options)
    (folder / "chain.pem").write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(folder / "key.pem")
    for name in ("chain.pem", "key.pem"):
        (folder / name).chmod(0o600)
    configure(folder, name="pli.example", certificate="chain.pem", key="key.pem")


@pytest.mark.parametrize(
    ("names", "days", "said"),
    [
        (("pli.example",), 300, None),
        (("*.example", "other.example"), 300, None),
        (("other.example",), 300, "is not for pli.example"),
        (("pli.example",), -2, "ended"),
        (("pli.example",), 5, "ends in"),
    ],
)
def test_a_certificate_is_looked_at(
    folder: Path, names: tuple[str, ...], days: int, said: str | None
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    certified(
        folder,
        *names,
        not_before=now - datetime.timedelta(days=30),
        not_after=now + datetime.timedelta(days=days),
    )
    found = diagnosed(folder).get("certificate")
    assert (found and found.text.partition(said)[1]) == said if said else found is None


def test_a_key_of_another_certificate_is_found(folder: Path) -> None:
    certified(folder, "pli.example")
    AUTHORITY.issue_cert("pli.example").private_key_pem.write_to_path(folder / "key.pem")
    assert diagnosed(folder)["certificate"].state == "fail"


def test_a_bus_that_does_not_answer_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "BUS_SECONDS", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{free.getsockname()[1]}"
        (found,) = network.bus(situation(folder, bus=Bus(url=url)))
    assert (found.state, "nothing answered" in found.text) == ("fail", True)
    assert list(network.bus(situation(folder))) == []


@pytest.mark.needs_nats
def test_a_bus_that_answers_is_well(folder: Path) -> None:
    (found,) = network.bus(situation(folder, bus=Bus(url=os.environ["PLI_TEST_NATS"])))
    assert found.state == "ok"


def test_a_proxy_that_nobody_named_is_told(folder: Path) -> None:
    configure(folder, name="pli.example")
    assert "trusted_proxies" in diagnosed(folder)["proxy"].remedy
    configure(folder, trusted_proxies=["127.0.0.1"])
    assert "proxy" not in diagnosed(folder)


def situation(folder: Path, **settings: Any) -> Situation:
    return Situation(folder, Settings("localhost", **settings), None)


@pytest.mark.parametrize(
    ("free", "state"), [(2**40, "ok"), (2**32, "warn"), (2**26, "fail")], ids=str
)
def test_little_room_is_told_before_there_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    usage = shutil.disk_usage(folder)._replace(free=free, total=2**41)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert next(iter(machine.disk_space(situation(folder)))).state == state


@pytest.mark.parametrize(("seconds", "state"), [(0.0, "ok"), (0.05, "warn"), (0.5, "fail")])
def test_a_slow_disk_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, state: str
) -> None:
    now = 0.0

    def slow(_: int) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(os, "fsync", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    assert next(iter(machine.flushes(situation(folder)))).state == state


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_too_few_open_files_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    (found,) = machine.open_files(situation(folder))
    assert found.state == "warn"


def test_a_check_that_stumbles_is_a_finding() -> None:
    def stumbles(_: Situation) -> Any:
        raise KeyError("Anne Durand")

    found = list(examine([stumbles], situation(Path())))
    assert [finding.state for finding in found] == ["fail"]
    assert "Durand" not in found[0].text


def test_nothing_is_left_behind(folder: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    diagnosed(folder)
    assert {path.name for path in folder.iterdir()} <= before | {"relay.lock"}
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in folder.iterdir())


@pytest.mark.processes
def test_a_running_relay_is_asked_and_shows_how_it_does(folder: Path) -> None:
    configure(folder, name="localhost")
    assert call("status", folder)[0] == 1
    relay = RelayProcess.start(folder)
    try:
        assert diagnosed(folder) == {}
        code, out = call("status", folder, "--json")
        shown = json.loads(out)
        assert (code, shown["event"], shown["rows"]) == (0, "status", 0)
        assert shown["memory"] > 2**20
        assert shown["backup_age"] is None
        code, out = call("status", folder)
        assert (code, relay.url in out, "0 signed in" in out) == (0, True, True)
        assert "GiB free" in out
        configure(folder, name="localhost.localdomain")
        assert "restart" in diagnosed(folder)["relay"].remedy
    finally:
        assert relay.stop()[0] == 0
    assert call("status", folder)[0] == 1


def test_every_check_is_called() -> None:
    from pli_server.doctor import storage

    defined: set[Callable[..., Any]] = {
        value
        for module in (keeping, machine, network, storage)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and getattr(value, "__annotations__", {}).get("return") == Iterable[Finding]
    }
    assert defined == {*commands.QUICK, *commands.LONG}
