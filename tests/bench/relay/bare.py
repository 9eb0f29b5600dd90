"""The same traffic through a bare websockets relay: the limit beside our figures."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from .figures import Load, Processes, apart, measure, summary
from .scene import certificate
from .thin_client import ThinClient
from .workloads import AWAY_MESSAGES, IDLE, ROOM

Figures = dict[str, Any]
BODY: Final = bytes(1024)


async def run(name: str, warm_up: float, seconds: float, tls: bool) -> Figures:
    """One run of a workload's traffic."""
    load = Load()
    async with _process(tls) as (process, open_client):
        match name:
            case "w1" | "w1light":
                pairs, in_flight = (20, 8) if name == "w1" else (1, 1)
                starts = [await _room(load, open_client, 1, in_flight) for _ in range(pairs)]
            case "w2":
                starts = [await _room(load, open_client, ROOM - 1, 8)]
            case "w3":
                return await _idle(process, open_client)
            case _:
                return await _bursts(process, open_client, seconds, load)
        with apart(process):
            for start in starts:
                start()
            return await measure(load, process, warm_up, seconds)


Opener = Callable[..., Any]


@asynccontextmanager
async def _process(tls: bool) -> AsyncIterator[tuple[Processes, Opener]]:
    with tempfile.TemporaryDirectory(prefix="pli-bench-") as name:
        arguments, context = [], None
        if tls:
            chain, key, context = certificate(Path(name))
            arguments = [str(chain), str(key)]
        command = [sys.executable, "-m", "tests.bench.relay.bare_relay", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        url = process.stdout.readline().strip()

        async def opened(
            first: bytes, came: Callable[[bytes], None] = lambda _: None
        ) -> ThinClient:
            client, ready = await ThinClient.open(url, context), asyncio.Event()
            client.on_data = lambda data: came(data) if ready.is_set() else ready.set()
            client.write(first)
            await ready.wait()
            return client

        try:
            yield Processes((process.pid,)), opened
        finally:
            process.kill()
            process.communicate()


async def _room(load: Load, opened: Opener, receivers: int, in_flight: int) -> Callable[[], None]:
    """A sender and a room, in which the sender is too; returns what starts the traffic."""
    room = os.urandom(16)
    sender = await opened(room)
    sender.on_data = lambda _: None
    waiting: dict[bytes, int] = {}

    def send() -> None:
        send_id = os.urandom(16)
        waiting[send_id] = receivers
        load.begin(send_id)
        sender.write(room + send_id + BODY)

    def received(data: bytes) -> None:
        send_id = data[16:32]
        load.received(send_id, load.started[send_id])
        waiting[send_id] -= 1
        if not waiting[send_id]:
            del waiting[send_id], load.started[send_id]
            if load.running:
                send()

    for _ in range(receivers):
        (await opened(room)).on_data = received
    return lambda: [send() for _ in range(in_flight)] and None


async def _idle(process: Processes, opened: Opener) -> Figures:
    clients = [await opened(os.urandom(16)) for _ in range(100)]
    await asyncio.sleep(1)
    before = process.rss()
    clients += [await opened(os.urandom(16)) for _ in range(IDLE)]
    await asyncio.sleep(1)
    after = process.rss()
    for client in clients:
        client.close()
    return {"kib_per_connection": round((after - before) / IDLE / 1024, 2)}


async def _bursts(process: Processes, opened: Opener, seconds: float, load: Load) -> Figures:
    load.measuring = True
    with apart(process):
        begin, cpu = time.perf_counter(), process.cpu()
        while time.perf_counter() - begin < seconds:
            await _burst(opened, load)
        took, used = time.perf_counter() - begin, process.cpu() - cpu
    return summary(load, took, used, process.rss())


async def _burst(opened: Opener, load: Load) -> None:
    begin, got = time.perf_counter(), 0
    done = asyncio.get_running_loop().create_future()

    def came(_: bytes) -> None:
        nonlocal got
        got += 1
        load.received(b"", begin)
        if got == AWAY_MESSAGES:
            done.set_result(None)

    client = await opened(os.urandom(16) + AWAY_MESSAGES.to_bytes(4, "big"), came)
    await done
    client.close()
