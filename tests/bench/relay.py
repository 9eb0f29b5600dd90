"""Durable messages through a stock relay: `python -m tests.bench.relay --workload w1 --json`.

w1: 20 pairs online, 8 messages of 1 KiB in flight each. A message counts when its receiver has it and it
is found in the relay's database afterwards. Relay and load generator are pinned to different cores where
the machine has two. Beside it: a bare websockets relay without storage, and the disk's flushes per second.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from websockets.asyncio.client import ClientConnection, connect

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import decode_relay_frame, encode
from tests.server.people import TestDevice, TestEstablishment, commit, mls
from tests.server.processes import RelayProcess, make_folder
from tests.server.raw_client import RawClient

PAIRS = 20
IN_FLIGHT = 8
PAYLOAD = 1024


@dataclass
class Load:
    """What one run measured."""

    started: dict[bytes, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    measuring: bool = False
    running: bool = True

    def arrived(self, send_id: bytes) -> None:
        took = time.perf_counter() - self.started.pop(send_id)
        if self.measuring:
            self.latencies.append(took)
            self.received.append(send_id)


class Pair:
    """A sender and a receiver in one group."""

    def __init__(self, load: Load, sender: RawClient, receiver: RawClient, group: bytes) -> None:
        self.load = load
        self.sender = sender
        self.receiver = receiver
        self.message = mls(group, 1, body=bytes(PAYLOAD - len(group) - 60))
        self.group = group
        self.previous: bytes | None = None

    async def run(self) -> None:
        """Send for ever with IN_FLIGHT messages on their way."""
        await asyncio.gather(self._receive(), self._own())

    async def _send(self) -> None:
        send_id = os.urandom(16)
        self.load.started[send_id] = time.perf_counter()
        await self.sender.ws.send(encode(f.Send(1, send_id, self.previous, self.message)))
        self.previous = send_id

    async def _receive(self) -> None:
        for _ in range(IN_FLIGHT):
            await self._send()
        async for data in self.receiver.ws:
            frame = decode_relay_frame(data)  # type: ignore[arg-type]
            assert isinstance(frame, f.Row), frame
            self.load.arrived(frame.send_id)
            await _acknowledge(self.receiver.ws, frame)
            if not self.load.running:
                return
            await self._send()

    async def _own(self) -> None:
        """The sender's own answers and rows."""
        async for data in self.sender.ws:
            frame = decode_relay_frame(data)  # type: ignore[arg-type]
            if isinstance(frame, f.Row):
                await _acknowledge(self.sender.ws, frame)
            else:
                assert isinstance(frame, f.Accepted), frame
            if not self.load.running:
                return


async def _acknowledge(ws: ClientConnection, row: f.Row) -> None:
    # Like a client that writes what it received in groups.
    if row.position.seq % 8 == 0:
        await ws.send(encode(f.Acknowledge((f.Acknowledgement(row.group, row.position.seq),))))


async def prepare(url: str, code: str, load: Load) -> list[Pair]:
    """An establishment, its people, a group per pair."""
    establishment = TestEstablishment()
    issuer = await RawClient.open(url)
    await issuer.register(establishment, code)
    await issuer.close()
    return [await _pair(url, establishment, load) for _ in range(PAIRS)]


async def _pair(url: str, establishment: TestEstablishment, load: Load) -> Pair:
    one, two = establishment.person().device(), establishment.person().device()
    sender, receiver = await _raw(url, one), await _raw(url, two)
    group = os.urandom(16)
    first = commit(group, 0, (two.id,))
    await sender.ask(f.CreateGroup(sender.rid(), group, os.urandom(16), first, b"welcome"))
    await sender.push(f.Row)
    welcome = await receiver.push(f.WelcomeWaiting)
    await receiver.send(f.AcknowledgeWelcome(welcome.item))
    await receiver.settle()
    for client in (sender, receiver):
        await client.release()
    return Pair(load, sender, receiver, group)


async def _raw(url: str, device: TestDevice) -> RawClient:
    return await RawClient.signed(url, device)


async def measure(
    load: Load, work: list[Callable[[], Awaitable[None]]], warm_up: float, seconds: float, pid: int
) -> dict[str, float]:
    """Run the load; figures of the measured part."""
    relay = psutil.Process(pid)
    tasks = [asyncio.ensure_future(function()) for function in work]
    await asyncio.sleep(warm_up)
    load.measuring = True
    begin, cpu = time.perf_counter(), _cpu(relay)
    await asyncio.sleep(seconds)
    load.measuring = False
    took, used = time.perf_counter() - begin, _cpu(relay) - cpu
    memory = relay.memory_info().rss
    load.running = False
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    count = len(load.latencies)
    cuts = statistics.quantiles(load.latencies, n=100)
    return {
        "delivered_per_s": round(count / took, 1),
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
        "server_cpu_s_per_1000": round(used / count * 1000, 4),
        "server_rss_mib": round(memory / 2**20, 1),
    }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def w1(warm_up: float, seconds: float) -> dict[str, Any]:
    """One run of w1 on a fresh relay."""
    with tempfile.TemporaryDirectory(prefix="pli-bench-") as name:
        folder = Path(name) / "relay"
        code = make_folder(folder)
        relay = RelayProcess.start(folder)
        try:
            with apart(relay.process.pid):
                load = Load()
                pairs = await prepare(relay.url, code, load)
                figures = await measure(
                    load, [pair.run for pair in pairs], warm_up, seconds, relay.process.pid
                )
        finally:
            relay.stop()
        missing = _missing(folder, load.received)
        return {"workload": "w1", **figures, "missing": missing}


def _missing(folder: Path, received: list[bytes]) -> int:
    """Messages that were received but are not in the database."""
    database = sqlite3.connect(folder / "relay.db")
    held = {row[0] for row in database.execute("SELECT send_id FROM rows")}
    database.close()
    return sum(send_id not in held for send_id in received)


async def bare(warm_up: float, seconds: float) -> dict[str, Any]:
    """The same load through a bare websockets relay."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare_relay"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    try:
        with apart(process.pid):
            load = Load()
            work = [await _bare_pair(url, load) for _ in range(PAIRS)]
            return await measure(load, work, warm_up, seconds, process.pid)
    finally:
        process.kill()
        process.communicate()


async def _bare_pair(url: str, load: Load) -> Callable[[], Awaitable[None]]:
    names = os.urandom(16), os.urandom(16)
    sender, receiver = [await connect(url, compression=None, proxy=None) for _ in names]
    for ws, own in zip((sender, receiver), names, strict=True):
        await ws.send(own)
        await ws.recv()
    body = bytes(PAYLOAD)

    async def send() -> None:
        send_id = os.urandom(16)
        load.started[send_id] = time.perf_counter()
        await sender.send(names[1] + send_id + body)

    async def receive() -> None:
        for _ in range(IN_FLIGHT):
            await send()
        async for data in receiver:
            load.arrived(data[16:32])  # type: ignore[arg-type]
            await send()

    async def own() -> None:
        async for _ in sender:
            pass

    async def both() -> None:
        await asyncio.gather(receive(), own())

    return both


def flushes_per_second(seconds: float = 1.0) -> float:
    """How often this disk writes and flushes 4 KiB in a second."""
    with tempfile.NamedTemporaryFile(prefix="pli-bench-") as file:
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            os.pwrite(file.fileno(), bytes(4096), count * 4096)
            os.fdatasync(file.fileno())
            count += 1
        return round(count / (time.perf_counter() - begin), 1)


@contextmanager
def apart(pid: int) -> Iterator[None]:
    """Relay and load generator on different cores, where there are two."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, {0})
    os.sched_setaffinity(0, {1})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.relay", description=__doc__)
    parser.add_argument("--workload", choices=("w1",), default="w1")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--warm-up", type=float, default=4.0, metavar="SECONDS")
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--runs", type=int, default=3, help="the median of them is shown")
    options = parser.parse_args()
    runs = [asyncio.run(w1(options.warm_up, options.seconds)) for _ in range(options.runs)]
    runs.sort(key=lambda run: float(run["delivered_per_s"]))
    result = runs[len(runs) // 2]
    result["missing"] = max(run["missing"] for run in runs)
    result["kib_per_connection"] = None
    result["bare_websockets"] = asyncio.run(bare(options.warm_up / 2, options.seconds / 2))
    result["disk_flushes_per_s"] = flushes_per_second()
    if options.json:
        print(json.dumps(result))
    else:
        _table(result)
    return 1 if result["missing"] else 0


def _table(result: dict[str, Any]) -> None:
    bare_figures = result["bare_websockets"]
    print(f"{'':24} {'relay':>10} {'bare websockets':>16}")
    for key, name in (
        ("delivered_per_s", "delivered per second"),
        ("p50_ms", "p50, ms"),
        ("p99_ms", "p99, ms"),
        ("server_cpu_s_per_1000", "CPU s per 1,000"),
        ("server_rss_mib", "memory, MiB"),
    ):
        print(f"{name:24} {result[key]:>10} {bare_figures[key]:>16}")
    print(f"received but not in the database: {result['missing']}")
    print(f"flushes per second of this disk: {result['disk_flushes_per_s']}")


if __name__ == "__main__":
    sys.exit(main())
