"""Backups on a schedule, each made by a process of its own beside the relay."""

import asyncio
import contextlib
import json
import logging
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..settings import Settings
from ..storage.faults import describe
from . import making

if TYPE_CHECKING:
    from ..relay import Relay

log = logging.getLogger(__name__)

HOUR: Final = 3600
NICE: Final = 10
"""How much a backup gives way to the relay."""


def last_backup(settings: Settings) -> int | None:
    """When the newest backup of the schedule was begun (milliseconds since 1970); None: there is none."""
    if settings.backup.directory is None:
        return None
    return making.newest(Path(settings.backup.directory), settings.name)


async def run(relay: "Relay") -> None:
    """Back up whenever it is due, for ever; one that fails is told and tried again after an hour."""
    settings = relay.settings
    if settings.backup.directory is None:
        return
    relay.metrics.gauge(
        "backup_age_seconds",
        "Since the newest backup was begun; NaN: there is none.",
        lambda: _age(settings, relay.clock()),
    )
    while True:
        await asyncio.sleep(seconds_until_due(settings, relay.clock()))
        try:
            done = await back_up(relay)
        except Exception as error:
            # It must go on for years: no process to be had, an answer that cannot be read.
            log.error("a backup failed: %s", describe(error))
            done = False
        if not done:
            await asyncio.sleep(HOUR)


def seconds_until_due(settings: Settings, now: int) -> float:
    """How long to wait; 0 where it is overdue."""
    last, between = last_backup(settings), settings.backup.hours * HOUR
    if last is None:
        return 0.0
    # The newest may bear a time to come: it was made while the clock was wrong.
    return min(between, max(0.0, last / 1000 + between - now / 1000))


async def back_up(relay: "Relay") -> bool:
    """Make one backup in a process of its own, which holds up nobody here; False: it failed."""
    # -P: nothing is imported from whatever folder the relay was started in.
    command = (sys.executable, "-P", "-m", "pli_server", "backup", str(relay.folder), "--json")
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _give_way(process.pid)
    try:
        out, _ = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        raise
    if process.returncode != 0:
        log.error("a backup failed; run it by hand to see why: pli-server backup FOLDER")
        return False
    shown = json.loads(out.splitlines()[-1])
    log.info("a backup is complete: %d bytes", shown["size"])
    return True


def _age(settings: Settings, now: int) -> float:
    last = last_backup(settings)
    return math.nan if last is None else (now - last) / 1000


def _give_way(process: int) -> None:
    """From outside: Python that runs between fork and exec could hang, and this loop with it."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process, NICE)
