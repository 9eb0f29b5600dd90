"""An honest pair beside hostile clients: `python -m tests.bench.stress [--json] [--frames 100000] …`.

In turn: nobody else; 2,000 connections that send a byte every 10 s; a reader of a byte a second during
10,000 messages; damaged frames before and after sign-in; 200 parallel sign-ins. The pair sends 20 messages a
second, each counted from sending until the receiver has it. Exit code 1: its p99 reached 2 s, a message was
lost, the relay logged an error or a traceback, or took more than 512 MiB.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil

from pli_protocol.relay import frames as f
from tests.server.people import TestDevice, TestEstablishment, TestPerson
from tests.server.processes import RelayProcess, make_folder
from tests.server.raw_client import RawClient
from tests.server.team import Member, team

from . import attacks

EVERY = 0.05
P99_MS = 2_000.0
RSS_MIB = 512.0

Attack = Callable[[], Coroutine[Any, Any, None]]
Figures = dict[str, Any]


class Pair:
    """Two honest people; their places are kept between the phases."""

    def __init__(self, url: str, pid: int, people: list[TestPerson]) -> None:
        self._url = url
        self._relay = psutil.Process(pid)
        self._devices = [person.device() for person in people]
        self._people = people
        self._tokens: list[bytes | None] = [None, None]

    async def beside(self, process: "multiprocessing.process.BaseProcess | None") -> Figures:
        """Talk for five seconds, or until the attack is over if that takes longer; how it went."""
        members = await self._members()
        made = await team(*members)
        took, most, until = [], 0, time.monotonic() + 5
        while time.monotonic() < until or (process is not None and process.is_alive()):
            begun = time.perf_counter()
            accepted = await made.says(members[0])
            seqs = [await self._received(member, made.group) for member in members]
            assert seqs == [accepted.position.seq] * 2
            took.append(time.perf_counter() - begun)
            most = max(most, self._relay.memory_info().rss)
            await asyncio.sleep(max(0.0, EVERY - took[-1]))
        for member in members:
            await member.client.close()
        cuts = statistics.quantiles(took, n=100, method="inclusive")
        return {
            "messages": len(took),
            "p50_ms": round(cuts[49] * 1000, 1),
            "p99_ms": round(cuts[98] * 1000, 1),
            "max_ms": round(max(took) * 1000, 1),
            "server_rss_mib": round(most / 2**20, 1),
        }

    async def _members(self) -> list[Member]:
        members = []
        for number, device in enumerate(self._devices):
            client = await RawClient.signed(self._url, device, self._tokens[number])
            self._tokens[number] = client.signed_in.token
            members.append(Member(self._people[number], device, client))
        return members

    async def _received(self, member: Member, group: bytes) -> int:
        while True:
            row = await member.client.next()
            if isinstance(row, f.Row):
                seq = row.position.seq
                await member.client.send(f.Acknowledge((f.Acknowledgement(row.group, seq),)))
                if row.group == group and row.kind == "application":
                    return seq


def run(options: argparse.Namespace, folder: Path) -> Figures:
    """All phases against one stock relay."""
    code = make_folder(folder)
    relay = RelayProcess.start(folder, log=folder.with_suffix(".log"))
    home = TestEstablishment()
    asyncio.run(_found(relay.url, home, code))
    pair = Pair(relay.url, relay.process.pid, [home.person("Anne"), home.person("Bruno")])
    result: Figures = {"workload": "stress"}
    for name, attack in phases(options, relay.url, home).items():
        process = None if attack is None else _apart(attack)
        begun = time.monotonic()
        result[name] = asyncio.run(pair.beside(process))
        result[name]["seconds"] = round(time.monotonic() - begun, 1)
        if process is not None:
            process.join()
            result[name]["attack_ended_well"] = process.exitcode == 0
        print(f"{name} done", file=sys.stderr, flush=True)
    result["exit_code"], log = relay.stop()
    result["tracebacks"] = log.count("Traceback")
    result["errors_logged"] = log.count(" ERROR ") + log.count(" CRITICAL ")
    return result


def phases(
    options: argparse.Namespace, url: str, home: TestEstablishment
) -> dict[str, Attack | None]:
    """What happens beside the pair, in order."""

    def device() -> TestDevice:
        return home.person().device()

    many = [device() for _ in range(options.sign_ins)]
    sender, reader, attacker = device(), device(), device()
    half = options.frames // 2
    return {
        "alone": None,
        "slow_connections": lambda: attacks.slow_connections(
            url, options.connections, options.seconds
        ),
        "slow_reader": lambda: attacks.slow_reader(url, sender, reader, options.messages),
        "frames_before_sign_in": lambda: attacks.mutated_frames(url, half, 1, None),
        "frames_after_sign_in": lambda: attacks.mutated_frames(url, half, 2, attacker),
        "parallel_sign_ins": lambda: attacks.parallel_sign_ins(url, many, options.rounds),
    }


def well(result: Figures) -> bool:
    """Whether what must hold, held."""
    measured = [value for value in result.values() if isinstance(value, dict)]
    return (
        result["exit_code"] == result["tracebacks"] == result["errors_logged"] == 0
        and all(each["p99_ms"] < P99_MS for each in measured)
        and all(each["server_rss_mib"] < RSS_MIB for each in measured)
        and all(each.get("attack_ended_well", True) for each in measured)
    )


async def _found(url: str, home: TestEstablishment, code: str) -> None:
    client = await RawClient.open(url)
    await client.register(home, code)
    await client.close()


def _apart(attack: Attack) -> "multiprocessing.process.BaseProcess":
    """In a process of its own: an attack must not slow the honest pair's side."""
    process = multiprocessing.get_context("fork").Process(target=_attack, args=(attack,))
    process.start()
    return process


def _attack(attack: Attack) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(attack())


def parser() -> argparse.ArgumentParser:
    """The options, with the sizes that the issue names."""
    made = argparse.ArgumentParser(prog="python -m tests.bench.stress", description=__doc__)
    made.add_argument("--json", action="store_true", help="one JSON object")
    made.add_argument("--connections", type=int, default=2_000)
    made.add_argument("--seconds", type=float, default=40.0, help="of the slow connections")
    made.add_argument("--messages", type=int, default=10_000, help="for the slow reader's room")
    made.add_argument("--frames", type=int, default=100_000)
    made.add_argument("--sign-ins", type=int, default=200)
    made.add_argument("--rounds", type=int, default=5, help="of parallel sign-ins")
    return made


def main() -> int:
    options = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="pli-stress-") as name:
        result = run(options, Path(name) / "relay")
    if options.json:
        print(json.dumps(result))
    else:
        table(result)
    return 0 if well(result) else 1


def table(result: Figures) -> None:
    print(f"{'beside':24} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'RSS MiB':>8} {'s':>7}")
    for name, figures in result.items():
        if isinstance(figures, dict):
            keys = ("p50_ms", "p99_ms", "max_ms", "server_rss_mib")
            shown = " ".join(f"{figures[key]:>8}" for key in keys)
            print(f"{name.replace('_', ' '):24} {shown} {figures['seconds']:>7}")
    print(f"tracebacks {result['tracebacks']}, errors logged {result['errors_logged']}")


if __name__ == "__main__":
    sys.exit(main())
