"""Telling systemd how it goes (sd_notify): ready, stopping, alive. Nothing happens without systemd."""

import asyncio
import contextlib
import os
import socket
from typing import Final

ADDRESS: Final = "NOTIFY_SOCKET"
WATCHDOG: Final = "WATCHDOG_USEC"

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


def tell(state: str) -> bool:
    """Send a state to the service manager; False: there is none that listens."""
    address = os.environ.get(ADDRESS, "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        try:
            # "@": a name in Linux' own space of socket names, written with a NUL.
            sending.sendto(state.encode(), address.replace("@", "\0", 1))
        except OSError:
            return False
    return True


async def keep_alive() -> None:
    """Tell at half the time after which the service manager would take the process for stuck.

    It runs on the loop, so a loop that hangs is silent and is restarted.
    """
    with contextlib.suppress(ValueError):
        seconds = int(os.environ.get(WATCHDOG, "0")) / 2_000_000
        while True:
            if seconds <= 0 or not tell(ALIVE):
                return
            await asyncio.sleep(seconds)
