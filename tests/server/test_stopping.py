"""Stopping in order: what was asked is answered, clients are told, nobody holds the relay up for ever."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pli_protocol.relay import frames as f
from pli_server import process
from pli_server.errors import EXIT_STORAGE
from pli_server.relay import Relay

from .conftest import Server
from .people import TestEstablishment, mls
from .processes import RelayProcess, make_folder
from .raw_client import RawClient
from .team import joins, team


async def test_what_waits_for_the_disk_is_answered_before_clients_are_told(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    made, gate = await team(a), threading.Event()
    (session,) = server.relay.sessions.values()
    server.relay.writer.post("report", lambda _: gate.wait(10))
    previous, asked = None, []
    for _ in range(5):
        send_id = os.urandom(16)
        send = f.Send(a.client.rid(), send_id, previous, mls(made.group, 1))
        asked.append(await a.client.begin(send))
        previous = send_id
    async with asyncio.timeout(10):
        while session.in_flight < 5:  # noqa: ASYNC110  the relay reads in its own time
            await asyncio.sleep(0)
    stopping = asyncio.create_task(server._listener.stop())
    await asyncio.sleep(0)
    gate.set()
    assert [(await each).position.seq for each in asked] == [2, 3, 4, 5, 6]
    await stopping
    told = [frame.code for frame in a.client.pushes if isinstance(frame, f.Refused)]
    assert told == ["shutting-down"]


async def test_a_second_signal_does_not_wait_for_clients_that_do_not_go(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pli_server.listener.STOP_SECONDS", 3600)
    client = await server.open()
    # It never answers the relay's close.
    client.ws.transport.pause_reading()
    hurry = asyncio.Event()
    stopping = asyncio.create_task(server._listener.stop(hurry))
    hurry.set()
    await asyncio.wait_for(stopping, 30)
    assert "did not close in time" in caplog.text
    client.ws.transport.abort()


@pytest.mark.processes
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
async def test_the_process_ends_with_0_and_tells_its_clients(tmp_path: Path) -> None:
    make_folder(tmp_path / "relay")
    relay = RelayProcess.start(tmp_path / "relay")
    client = await RawClient.open(relay.url)
    stopping = asyncio.create_task(asyncio.to_thread(relay.stop))
    assert (await client.push(f.Refused)).code == "shutting-down"
    await client.wait_closed()
    code, log = await stopping
    assert (code, "Traceback" in log) == (0, False)


HANGS = """
import asyncio, sys
from pathlib import Path
from pli_server import process
from pli_server.relay import Relay

async def hangs(self):
    await asyncio.Event().wait()

async def main():
    Relay.stop = hangs
    process.WRITE_SECONDS = 0.1
    stop = asyncio.Event()
    stop.set()
    from pli_server.settings import load
    folder = Path(sys.argv[1])
    return await process.serve(folder, load(folder), lambda url: None, stop)

raise SystemExit(asyncio.run(main()))
"""


@pytest.mark.processes
def test_a_disk_that_does_not_come_back_does_not_hold_the_process(tmp_path: Path) -> None:
    make_folder(tmp_path / "relay")
    assert callable(Relay.stop)
    assert process.WRITE_SECONDS > 0
    ended = subprocess.run(
        [sys.executable, "-c", HANGS, str(tmp_path / "relay")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, "Traceback" in ended.stderr) == (EXIT_STORAGE, False)


async def test_what_is_done_beside_serving_does_not_end_unseen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stumbles() -> None:
        raise KeyError("Anne Durand")

    task = asyncio.create_task(stumbles(), name="pli sweep")
    task.add_done_callback(process._ended)
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "pli sweep ended: KeyError" in caplog.text
    assert "Durand" not in caplog.text
