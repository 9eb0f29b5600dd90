"""How fast one connection is read, and how often one address may ask for something in a day."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

STRIDE: Final = 1_000
"""Frames after which the clock is looked at; as many may come at once."""

ADDRESSES: Final = 65_536
DAY_MS: Final = 86_400_000


class Pace:
    """Of one connection: who sends faster than the rate is read later, and never refused."""

    __slots__ = ("_began", "_left", "_seconds")

    def __init__(self, rate: int, now: float | None = None) -> None:
        """`rate`: frames per second, over a stride."""
        self._seconds = STRIDE / rate
        self._left = STRIDE
        self._began = time.monotonic() if now is None else now

    def frame(self, clock: Callable[[], float] = time.monotonic) -> float:
        """One frame was read; returns the seconds to wait before the next one, mostly 0."""
        self._left -= 1
        if self._left:
            return 0.0
        now = clock()
        wait = max(0.0, self._began + self._seconds - now)
        self._left, self._began = STRIDE, now + wait
        return wait


class Daily:
    """How often each address has asked today, in memory only: addresses are not stored."""

    def __init__(self) -> None:
        self._day = 0
        self._asked: OrderedDict[str, int] = OrderedDict()

    def ask(self, address: str, now: int) -> int:
        """Count one more; returns how many there were today with it. `now`: ms since 1970."""
        if now // DAY_MS != self._day:
            self._day = now // DAY_MS
            self._asked.clear()
        count = self._asked[address] = self._asked.pop(address, 0) + 1
        if len(self._asked) > ADDRESSES:
            # Those that have not asked for longest: whoever has so many addresses is not bounded by any.
            self._asked.popitem(last=False)
        return count
