"""Accounts and device certificates that end while their device is online: cut off when they do."""

import asyncio
from contextlib import suppress
from typing import Final

from .checker import end_of
from .handlers.establishments import cut_revoked
from .relay import Relay

LONGEST: Final = 3600.0
"""Seconds after which it looks again whatever it knows: clocks are set."""


async def run(relay: Relay) -> None:
    """Wait for the next end among those who are online, for ever."""
    while True:
        relay.next_end = min(_ends(relay), default=None)
        relay.earlier_end.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_seconds_to(relay)):
                await relay.earlier_end.wait()
        if relay.next_end is not None and relay.clock() // 1000 > relay.next_end:
            await cut_revoked(relay)


def _ends(relay: Relay) -> list[int]:
    devices = (session.device for session in relay.sessions.values())
    return [end_of(device) for device in devices if device is not None]


def _seconds_to(relay: Relay) -> float:
    if relay.next_end is None:
        return LONGEST
    # A second later: an end is the last second that counts.
    return min(LONGEST, max(0.0, relay.next_end + 1 - relay.clock() / 1000))
