"""Backups on a schedule, each made by a process of its own beside the relay."""

import asyncio
import json
import logging
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..settings import Settings
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
        if not await back_up(relay):
            await asyncio.sleep(HOUR)


def seconds_until_due(settings: Settings, now: int) -> float:
    """How long to wait; 0 where it is overdue."""
    last = last_backup(settings)
    if last is None:
        return 0.0
    return max(0.0, last / 1000 + settings.backup.hours * HOUR - now / 1000)


async def back_up(relay: "Relay") -> bool:
    """Make one backup in a process of its own, which holds up nobody here; False: it failed."""
    command = (sys.executable, "-m", "pli_server", "backup", str(relay.folder), "--json")
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=_give_way if os.name == "posix" else None,
    )
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


def _give_way() -> None:
    os.nice(NICE)
