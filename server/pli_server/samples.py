"""Figures that cost something to find: taken every minute beside the loop, shown whenever asked for."""

import asyncio
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from .storage import tables as t
from .storage.faults import describe

if TYPE_CHECKING:
    from .relay import Relay

log = logging.getLogger(__name__)

SECONDS: Final = 60

FIGURES: Final = {
    "disk_free_bytes": "What the relay's disk has left.",
    "disk_total_bytes": "How large it is.",
    "folder_database_bytes": "relay.db with its write-ahead log; 0 with PostgreSQL.",
    "establishments": "Establishments.",
    "accounts": "Accounts that are not closed.",
    "devices": "Devices that may sign in.",
    "groups": "Groups, those that were re-founded too.",
    "blobs": "Blobs, uploads under way too.",
    "blobs_bytes": "Their sizes.",
    "audit_entries": "Entries of the trace, of all timelines.",
}


class Samples:
    """The newest sample of a relay."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._taken: dict[str, float] = {}
        for name, text in FIGURES.items():
            relay.metrics.gauge(name, text, lambda name=name: self._taken.get(name, 0.0))  # type: ignore[misc]

    async def run(self) -> None:
        """Take one every minute, for ever."""
        while True:
            try:
                await self.take()
            except Exception as error:
                log.warning("figures could not be taken: %s", describe(error))
            await asyncio.sleep(SECONDS)

    async def take(self) -> None:
        """Take one now."""
        taken = await asyncio.to_thread(_folder, self._relay.folder)
        self._taken = taken | await self._relay.readers.run(_database)


def _folder(folder: Path) -> dict[str, float]:
    usage = shutil.disk_usage(folder)
    files = (folder / "relay.db", folder / "relay.db-wal")
    return {
        "disk_free_bytes": usage.free,
        "disk_total_bytes": usage.total,
        "folder_database_bytes": sum(path.stat().st_size for path in files if path.exists()),
    }


def _database(db: sa.Connection) -> dict[str, float]:
    return {name: float(db.scalar(query) or 0) for name, query in _QUERIES.items()}


def _count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(*conditions)


_QUERIES: Final = {
    "establishments": _count(t.establishments),
    "accounts": _count(t.accounts, t.accounts.c.revoked.is_(None)),
    "devices": _count(t.devices, t.devices.c.revoked.is_(None), t.devices.c.locked.is_(None)),
    "groups": _count(t.groups),
    "blobs": _count(t.blobs),
    "blobs_bytes": sa.select(sa.func.sum(t.blobs.c.size)),
    "audit_entries": sa.select(sa.func.sum(t.trace_trees.c.size)),
}
