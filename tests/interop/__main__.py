"""`make interop`: many random scenarios, ours with mls-rs and ours with ours in every suite.

Prints progress, then what was exercised how often by whom. The exit code is 1 when a scenario fails,
2 when mls-rs is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from pli_protocol.mls import SUITES

from .member import Count
from .process import two_drivers
from .scenario import STEPS, Scenario

BATCH = 10
"""Scenarios that share two processes."""


def play_batch(live: bool, suite: int, seeds: Iterable[int], failures: list[str]) -> Count:
    """Play seeds one after the other; after a failure with fresh processes."""
    count: Count = Counter()
    remaining = iter(seeds)
    while (failure := _play_until_failure(live, suite, remaining, count)) is not None:
        failures.append(failure)
        print(f"\n{failure}\n", flush=True)
    return count


def _play_until_failure(live: bool, suite: int, seeds: Iterator[int], count: Count) -> str | None:
    with ExitStack() as stack:
        drivers = stack.enter_context(two_drivers(live=live))
        for seed in seeds:
            try:
                scenario = Scenario(drivers, suite, seed)
                scenario.run()
            except Exception as error:
                notes = "\n".join(getattr(error, "__notes__", ()))
                # Processes that are in disorder end as they may.
                stack.pop_all()
                for driver in drivers:
                    driver.end()
                return f"seed {seed}: {type(error).__name__}: {error}\n{notes}"
            count.update(scenario.count)
    return None


def show(title: str, count: Count) -> None:
    """A table: a line for what happened, a column for who did it."""
    sides = sorted({side for _, side in count}, key=lambda side: (side == "all", side))
    print(f"\n{title}\n{'':44}" + "".join(f"{side:>10}" for side in sides))
    for what in sorted({what for what, _ in count}):
        print(f"{what:44}" + "".join(f"{count[what, side] or '-':>10}" for side in sides))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interop", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="scenarios beside mls-rs (200)")
    parser.add_argument("--own", type=int, default=40, help="scenarios of ours in each suite (40)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    asked = parser.parse_args()
    if asked.seeds and importlib.util.find_spec("mls_rs_uniffi") is None:
        print("mls-rs is not installed here (agentvault-mls-rs-uniffi; Linux on x86_64 only).")
        return 2
    failures: list[str] = []
    runs = [("ours with mls-rs, suite 0x0001", True, 1, asked.seeds)]
    runs += [(f"ours with ours, suite 0x{n:04x}", False, n, asked.own) for n in sorted(SUITES)]
    for title, live, suite, number in runs:
        count: Count = Counter()
        begun = time.monotonic()
        for first in range(asked.first, asked.first + number, BATCH):
            seeds = range(first, min(first + BATCH, asked.first + number))
            count.update(play_batch(live, suite, seeds, failures))
            seconds = time.monotonic() - begun
            print(f"{title}: {seeds.stop - asked.first} of {number} ({seconds:.0f} s)", flush=True)
        show(f"{title}: {number} scenarios of {STEPS} steps", count)
    print(f"\n{len(failures)} scenarios failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
