"""What a call costs, counted and not timed: lines of Python executed, and bytes of memory at the peak."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

LINEAR = 6
"""Four times the input may cost at most this many times as much: 4, and something for logarithms."""


@dataclass(frozen=True)
class Cost:
    """Lines executed; bytes allocated at the same time."""

    lines: int
    peak: int


def cost(run: Callable[[], object], *errors: type[Exception]) -> Cost:
    """What a call costs, in two runs of it; these errors may end it."""
    return Cost(_lines(run, errors), _peak(run, errors))


def _lines(run: Callable[[], object], errors: tuple[type[Exception], ...]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(*errors):
            run()
    finally:
        sys.settrace(before)
    return count


def _peak(run: Callable[[], object], errors: tuple[type[Exception], ...]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        with suppress(*errors):
            run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def assert_linear(
    prepare: Callable[[int], Callable[[], object]], size: int, *errors: type[Exception]
) -> None:
    """`prepare(n)` gives a call on an input of about n parts: 4 n may cost little more than 4 times.

    The first run pays for what is made once (caches, imports); it does not count.
    """
    small, large = prepare(size), prepare(4 * size)
    with suppress(*errors):
        prepare(size)()
    one, four = cost(small, *errors), cost(large, *errors)
    assert four.lines <= LINEAR * max(one.lines, 200), (one, four)
    # What a call needs anyway hides nothing: it is small beside this.
    assert four.peak <= LINEAR * max(one.peak, 8192), (one, four)
