"""Power cut and SIGKILL in the middle of traffic: no acknowledged message is missing, the log is whole."""

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pli_protocol.relay.codec import decode_relay_frame
from pli_protocol.relay.frames import Accepted
from pli_server import folder as folders
from pli_server.settings_file import template

from . import power_cut as cut
from .traffic import Traffic

pytestmark = pytest.mark.processes

CUTS = 24


def test_the_simulator_finds_a_commit_that_was_not_flushed(tmp_path: Path) -> None:
    """Without this, a green test below would say nothing."""
    database = str(tmp_path / "relay.db-wal")
    disk = cut.Disk()
    for event in (
        cut.Write(database, b"first", 0),
        cut.SyncBegun(database),
        cut.Write(database, b"second", 5),
        cut.SyncDone(database),
        cut.Write(database, b"third", 11),
    ):
        disk.apply(event)
    assert disk.after_cut(None) == {database: b"first"}
    disk.apply(cut.SyncBegun(database))
    disk.apply(cut.SyncDone(database))
    assert disk.after_cut(None) == {database: b"firstsecondthird"}


async def start(folder: Path, *before: str) -> tuple[asyncio.subprocess.Process, str]:
    """A relay process, perhaps under strace; its URL."""
    process = await asyncio.create_subprocess_exec(
        *before,
        *(sys.executable, "-m", "pli_server", "run", str(folder), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    return process, json.loads(await process.stdout.readline())["url"]


async def traffic_until_killed(folder: Path, code: str, *before: str) -> Traffic:
    """Several pairs write until enough was acknowledged; then SIGKILL."""
    process, url = await start(folder, *before)
    traffic = Traffic()
    writing = asyncio.create_task(traffic.run(url, code, 6))
    await asyncio.wait(
        [writing, asyncio.create_task(traffic.enough.wait())],
        return_when=asyncio.FIRST_COMPLETED,
    )
    os.kill(relay_of(process.pid) if before else process.pid, signal.SIGKILL)
    await process.wait()
    await writing
    assert traffic.sent >= traffic.wanted
    return traffic


def relay_of(tracer: int) -> int:
    """The process that strace started."""
    children = Path(f"/proc/{tracer}/task/{tracer}/children").read_text().split()
    return int(children[0])


def held(folder: Path) -> dict[bytes, list[bytes]]:
    """Send ids by group as the database has them, in the log's order; the file and the logs are whole."""
    with closing(sqlite3.connect(folder / "relay.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found: dict[bytes, list[bytes]] = defaultdict(list)
        for group, send_id, seq in db.execute(
            "SELECT g.group_id, r.send_id, r.seq FROM rows r JOIN groups g ON g.no = r.group_no"
            " ORDER BY g.no, r.seq"
        ):
            found[group].append(send_id)
            assert seq == len(found[group])
        last = db.execute("SELECT group_id, last FROM groups").fetchall()
    assert {group: len(rows) for group, rows in found.items()} == dict(last)
    return found


def check_held(acknowledged: dict[bytes, list[bytes]], folder: Path) -> None:
    """Everything acknowledged is there, in the order of sending."""
    stored = held(folder)
    for group, send_ids in acknowledged.items():
        wanted = set(send_ids)
        assert [one for one in stored.get(group, []) if one in wanted] == send_ids


def make(tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "relay"
    return folder, folders.make(folder, template("relay.test", "127.0.0.1:0"))


async def test_after_a_kill_in_the_middle_of_traffic_nothing_acknowledged_is_missing(
    tmp_path: Path,
) -> None:
    folder, code = make(tmp_path)
    traffic = await traffic_until_killed(folder, code)
    check_held(traffic.acknowledged, folder)
    process, _ = await start(folder)
    process.terminate()
    assert await process.wait() == 0


@pytest.mark.needs_strace
async def test_after_a_power_cut_in_the_middle_of_traffic_nothing_acknowledged_is_missing(
    tmp_path: Path,
) -> None:
    """Seen failing with `synchronous = NORMAL` in storage/database.py."""
    folder, code = make(tmp_path)
    disk, log = cut.Disk.of(folder), tmp_path / "strace.log"
    await traffic_until_killed(folder, code, *cut.COMMAND, "-o", str(log))
    happened = cut.events(log)
    points = sorted(random.Random(1).sample(range(len(happened) // 4, len(happened)), CUTS))
    unflushed, most = 0, 0
    for number, sent in enumerate(replayed(disk, happened, points)):
        unflushed += sum(map(len, disk.waiting.values()))
        most = len(accepted(sent))
        for chance in (None, random.Random(number)):
            place = tmp_path / "found"
            cut.rebuilt(disk.after_cut(chance), folder, place)
            assert accepted(sent) <= chains(place), f"cut {number}, {chance}"
            shutil.rmtree(place)
    assert most > 100
    assert unflushed > 0, "no cut fell where something was not flushed yet"


def replayed(
    disk: cut.Disk, happened: list[cut.Event], points: list[int]
) -> Iterator[dict[str, list[bytes]]]:
    """Bring the disk to each point in turn; what had begun to leave by each socket until there."""
    sent: dict[str, list[bytes]] = defaultdict(list)
    begin = 0
    for point in points:
        for event in happened[begin:point]:
            disk.apply(event)
            if isinstance(event, cut.Sent):
                sent[event.socket].append(event.data)
        begin = point
        yield sent


def accepted(sent: dict[str, list[bytes]]) -> set[bytes]:
    """The chain values of all messages that were acknowledged."""
    found = set()
    for pieces in sent.values():
        for message in cut.messages(pieces):
            frame = decode_relay_frame(message)
            if isinstance(frame, Accepted):
                found.add(frame.chain)
    return found


def chains(folder: Path) -> set[bytes]:
    """The chain values of all rows; the logs are whole."""
    held(folder)
    with closing(sqlite3.connect(folder / "relay.db")) as db:
        return {chain for (chain,) in db.execute("SELECT chain FROM rows")}
