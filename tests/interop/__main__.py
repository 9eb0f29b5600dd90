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
from dataclasses import dataclass

from pli_protocol.mls import SUITES

from .member import Count
from .play import SIZE
from .process import two_drivers
from .scenario import STEPS, Scenario

LARGE = 24
"""Members of the larger scenarios: deeper trees, more blanks, more unmerged leaves."""
BATCH = 10
"""Scenarios that share two processes."""


@dataclass(frozen=True)
class Series:
    """Scenarios of one kind: how many, of which suite, beside mls-rs or not."""

    number: int
    suite: int = 1
    live: bool = False
    size: int = SIZE

    def __str__(self) -> str:
        beside = "mls-rs" if self.live else "ours"
        return f"ours with {beside}, suite 0x{self.suite:04x}, up to {self.size} members"


def play_batch(series: Series, seeds: Iterable[int], failures: list[str]) -> Count:
    """Play seeds one after the other; after a failure with fresh processes."""
    count: Count = Counter()
    remaining = iter(seeds)
    while (failure := _play_until_failure(series, remaining, count)) is not None:
        failures.append(failure)
        print(f"\n{failure}\n", flush=True)
    return count


def _play_until_failure(series: Series, seeds: Iterator[int], count: Count) -> str | None:
    with ExitStack() as stack:
        drivers = stack.enter_context(two_drivers(live=series.live))
        for seed in seeds:
            try:
                scenario = Scenario(drivers, series.suite, seed, series.size)
                scenario.run()
            except Exception as error:
                notes = "\n".join(getattr(error, "__notes__", ()))
                # Processes that are in disorder end as they may.
                stack.pop_all()
                for driver in drivers:
                    driver.end()
                return f"{series}, seed {seed}: {type(error).__name__}: {error}\n{notes}"
            count.update(scenario.count)
    return None


def show(title: str, count: Count) -> None:
    """A table: a line for what happened, a column for who did it."""
    sides = sorted({side for _, side in count}, key=lambda side: (side == "all", side))
    print(f"\n{title}\n{'':44}" + "".join(f"{side:>10}" for side in sides))
    for what in sorted({what for what, _ in count}):
        print(f"{what:44}" + "".join(f"{count[what, side] or '-':>10}" for side in sides))


def play(series: Series, first: int, failures: list[str]) -> None:
    """Play a series, and tell how far it is and what it did."""
    count: Count = Counter()
    begun = time.monotonic()
    for done in range(0, series.number, BATCH):
        some = min(BATCH, series.number - done)
        count.update(play_batch(series, range(first + done, first + done + some), failures))
        seconds = time.monotonic() - begun
        print(f"{series}: {done + some} of {series.number} ({seconds:.0f} s)", flush=True)
    if series.number:
        show(f"{series}: {series.number} scenarios of {STEPS} steps", count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interop", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="scenarios beside mls-rs (200)")
    parser.add_argument("--own", type=int, default=40, help="scenarios of ours in each suite (40)")
    parser.add_argument("--large", type=int, default=20, help="larger ones beside mls-rs (20)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    asked = parser.parse_args()
    if asked.seeds + asked.large and importlib.util.find_spec("mls_rs_uniffi") is None:
        print("mls-rs is not installed here (agentvault-mls-rs-uniffi; Linux on x86_64 only).")
        return 2
    failures: list[str] = []
    play(Series(asked.seeds, live=True), asked.first, failures)
    play(Series(asked.large, live=True, size=LARGE), asked.first, failures)
    for suite in sorted(SUITES):
        play(Series(asked.own, suite), asked.first, failures)
    print(f"\n{len(failures)} scenarios failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
