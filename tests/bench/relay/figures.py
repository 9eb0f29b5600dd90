"""What one run measured: arrivals, latencies, the relay's processor and memory."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil


@dataclass
class Load:
    """Messages under way and arrived. An arrival counts while `measuring`."""

    started: dict[bytes, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    arrived: list[bytes] = field(default_factory=list)
    """Send ids of what arrived while measuring."""
    deliveries: int = 0
    measuring: bool = False
    running: bool = True

    def begin(self, send_id: bytes) -> None:
        """A message leaves its sender."""
        self.started[send_id] = time.perf_counter()

    def received(self, send_id: bytes, since: float) -> None:
        """One receiver has it."""
        if self.measuring:
            self.deliveries += 1
            self.latencies.append(time.perf_counter() - since)
            self.arrived.append(send_id)


@dataclass(frozen=True)
class Processes:
    """The processes that are measured together (one for each node)."""

    pids: tuple[int, ...]

    def cpu(self) -> float:
        """Seconds of processor used so far."""
        times = [psutil.Process(pid).cpu_times() for pid in self.pids]
        return float(sum(used.user + used.system for used in times))

    def rss(self) -> int:
        """Bytes of memory held."""
        return int(sum(psutil.Process(pid).memory_info().rss for pid in self.pids))


async def measure(
    load: Load, processes: Processes, warm_up: float, seconds: float
) -> dict[str, Any]:
    """Let the load run; figures of the measured part."""
    await asyncio.sleep(warm_up)
    load.measuring = True
    begin, cpu = time.perf_counter(), processes.cpu()
    await asyncio.sleep(seconds)
    load.measuring = False
    took, used = time.perf_counter() - begin, processes.cpu() - cpu
    rss = processes.rss()
    load.running = False
    return summary(load, took, used, rss)


def summary(load: Load, took: float, used: float, rss: int) -> dict[str, Any]:
    """The figures of one run."""
    if load.deliveries < 2:
        raise RuntimeError("nothing arrived")
    cuts = statistics.quantiles(load.latencies, n=100)
    return {
        "delivered_per_s": round(load.deliveries / took, 1),
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
        "server_cpu_s_per_1000": round(used / load.deliveries * 1000, 4),
        "server_rss_mib": round(rss / 2**20, 1),
        "kib_per_connection": None,
    }


@contextmanager
def apart(processes: Processes) -> Iterator[None]:
    """Relay and load generator on different cores, where there are two."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    for pid in processes.pids:
        for thread in psutil.Process(pid).threads():
            os.sched_setaffinity(thread.id, {0})
    os.sched_setaffinity(0, {1})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def flushes_per_second(seconds: float = 1.0) -> float:
    """How often this disk appends and flushes 4 KiB in a second."""
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="pli-bench-") as file:
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            os.pwrite(file.fileno(), bytes(4096), count * 4096)
            os.fdatasync(file.fileno())
            count += 1
        return round(count / (time.perf_counter() - begin), 1)
