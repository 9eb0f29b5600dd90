"""How long to wait before the next attempt: exponential, with full jitter."""

from collections.abc import Callable
from typing import Final

FIRST: Final = 1.0
"""Seconds, at most, before the second attempt."""

LONGEST: Final = 60.0
"""Seconds, at most, before any attempt."""


def delay(attempt: int, random: Callable[[], float]) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 0): between 0 and the bound.

    Full jitter: a thousand clients whose relay restarts come back spread over the whole interval.
    """
    return random() * min(LONGEST, FIRST * 2.0 ** min(attempt, 10))
