"""Durable messages through a stock relay: `python -m tests.bench.relay --workload w1 --json`.

The relay has its default settings. It and the load generator are pinned to different cores where the
machine has two. A message counts when it was received and is found in the relay's database afterwards. Beside
it, in the same run: a bare websockets relay without storage, and the disk's flushes per second.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import Any

from . import bare, workloads
from .figures import flushes_per_second
from .workloads import WORKLOADS, Figures


def on_loop(work: Coroutine[Any, Any, Figures]) -> Figures:
    """Run on uvloop where there is one, as the relay does."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def median(runs: list[Figures]) -> Figures:
    """The run in the middle; `missing` is the worst of all."""
    key = "kib_per_connection" if runs[0]["delivered_per_s"] is None else "delivered_per_s"
    ordered = sorted(runs, key=lambda run: float(run[key]))
    return {**ordered[len(ordered) // 2], "missing": max(run["missing"] for run in runs)}


def measured(name: str, options: argparse.Namespace) -> Figures:
    """All runs of one workload, and its limits."""
    runs = [
        on_loop(workloads.run(name, options.warm_up, options.seconds, options.tls, options.nodes))
        for _ in range(options.runs)
    ]
    result = median(runs)
    result["tls"] = options.tls
    result["nodes"] = options.nodes
    if options.bare:
        short = options.warm_up / 2, options.seconds / 2
        result["bare_websockets"] = on_loop(bare.run(name, *short, options.tls))
        result["disk_flushes_per_s"] = flushes_per_second()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.relay", description=__doc__)
    parser.add_argument("--workload", choices=(*WORKLOADS, "all"), default="all")
    parser.add_argument("--json", action="store_true", help="one JSON object a workload")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument(
        "--nodes",
        type=int,
        default=0,
        help="so many nodes on a PostgreSQL and a NATS server of the benchmark's own (0: one on SQLite)",
    )
    parser.add_argument("--warm-up", type=float, default=4.0, metavar="SECONDS")
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--runs", type=int, default=3, help="the median of them is shown")
    parser.add_argument("--no-bare", dest="bare", action="store_false", help="the relay alone")
    options = parser.parse_args()
    names = list(WORKLOADS) if options.workload == "all" else [options.workload]
    results = []
    for name in names:
        results.append(measured(name, options))
        if options.json:
            print(json.dumps(results[-1]), flush=True)
        else:
            print(f"{name} done", file=sys.stderr, flush=True)
    if not options.json:
        table(results)
    return 1 if any(result["missing"] for result in results) else 0


COLUMNS = (
    ("delivered_per_s", "delivered/s"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("server_cpu_s_per_1000", "CPU s/1000"),
    ("server_rss_mib", "RSS MiB"),
    ("kib_per_connection", "KiB/conn"),
)


def table(results: list[Figures]) -> None:
    """Each workload, and below it the bare relay."""
    print(f"{'':18}" + "".join(f"{name:>13}" for _, name in COLUMNS) + f"{'missing':>9}")
    for result in results:
        _row(result["workload"], result, str(result["missing"]))
        if "bare_websockets" in result:
            _row("  bare websockets", result["bare_websockets"], "")
    if results and "disk_flushes_per_s" in results[-1]:
        print(f"flushes per second of this disk: {results[-1]['disk_flushes_per_s']}")


def _row(name: str, figures: Figures, missing: str) -> None:
    shown = ("" if figures.get(key) is None else str(figures[key]) for key, _ in COLUMNS)
    print(f"{name:18}" + "".join(f"{text:>13}" for text in shown) + f"{missing:>9}")


if __name__ == "__main__":
    sys.exit(main())
