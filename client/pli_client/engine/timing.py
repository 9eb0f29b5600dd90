"""When things happen: clock, chance and delays, all of which a test can replace."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, unless said otherwise."""

    clock: Callable[[], float] = time.time
    """Unix seconds; shown, and compared with dates, never used for order."""
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    """Uniform in [0, 1), for decisions only, never for keys."""
    refound_after: float = 60.0
    """How long a device that cannot go on waits to be added again before it re-founds."""
    others_wait: tuple[float, float] = (3.0, 15.0)
    """Between these, whoever is not the lowest active leaf waits before doing the same."""
    retry: tuple[float, float] = (0.05, 0.5)
    """Between these, the loser of two commits waits before it tries again."""
    welcome_grace: float = 5.0
    """How long a Welcome may be on its way before a device asks to be added to its group."""
    trouble: float = 5.0
    """After a failure of the vault, or an answer that makes no sense."""
    ask_again: float = 3600.0
    """A request to return is repeated after so long."""

    prove_again: float = 300.0
    """A proof of the relay's audit log that was put off is asked for again after so long."""

    look_for_bot: float = 60.0
    """How often a bot that has no device yet is looked for, while something is meant for it."""

    def between(self, bounds: tuple[float, float]) -> float:
        low, high = bounds
        return low + (high - low) * self.chance()
