"""Checks of what the relay keeps: schema, integrity, times, blobs."""

import os
import time
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa

from ..storage import database
from ..storage import tables as t
from .findings import Finding, Situation, fail, ok, warn

AHEAD_MS: Final = 120_000
RESTORE = "stop the relay, keep a copy of the folder, restore the last backup"


def schema(situation: Situation) -> Iterable[Finding]:
    """The database is of this program's version."""
    try:
        with _connected(situation) as db:
            version = database.version(db)
    except sa.exc.DatabaseError:
        yield fail("schema", "the database cannot be opened", RESTORE)
        return
    if version == database.HEAD:
        yield ok("schema", f"version {version}")
    elif version is None:
        yield fail("schema", "there is no relay's database", RESTORE)
    elif version > database.HEAD:
        yield fail("schema", f"version {version} is of a newer pli-server", "update this one")
    else:
        yield warn(
            "schema",
            f"version {version}; this pli-server makes {database.HEAD} of it at its next start",
            "make a backup before: there is no way back",
        )


def integrity(situation: Situation) -> Iterable[Finding]:
    """SQLite reads every page of the file. Takes about a minute for 10 GB."""
    try:
        with _connected(situation) as db:
            found = [str(row[0]) for row in db.exec_driver_sql("PRAGMA quick_check(3)")]
    except sa.exc.DatabaseError:
        found = []
    if found == ["ok"]:
        yield ok("integrity", "every page of the database reads well")
    else:
        yield fail("integrity", "the database is damaged", RESTORE)


def clock(situation: Situation) -> Iterable[Finding]:
    """The clock is not behind what the relay has stored: retention and certificates go by it."""
    with _connected(situation) as db:
        newest = db.scalar(sa.select(sa.func.max(t.rows.c.time))) or 0
    behind = newest - time.time_ns() // 1_000_000
    if behind > AHEAD_MS:
        yield fail(
            "clock",
            f"is {behind // 60_000} minutes behind the newest message",
            "set it, and let NTP keep it (timedatectl set-ntp true)",
        )
    else:
        yield ok("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def blobs(situation: Situation) -> Iterable[Finding]:
    """Every blob that the database knows has its file, and the other way round."""
    if situation.settings.blobs.url is not None:
        yield ok("blobs", "in a bucket: not looked through")
        return
    files = {path.name for path in (situation.folder / "blobs").glob("??/*")}
    with _connected(situation) as db:
        known = {
            bytes(blob).hex()
            for blob in db.scalars(sa.select(t.blobs.c.blob).where(t.blobs.c.complete == 1))
        }
        # A blob is put in place just before it is noted as complete.
        begun = {bytes(blob).hex() for blob in db.scalars(sa.select(t.blobs.c.blob))} - known
    missing, stray = known - files, files - known - begun
    if missing:
        yield fail("blobs", f"{len(missing)} of {len(known)} have no file", RESTORE)
    if stray:
        yield warn(
            "blobs",
            f"{len(stray)} files that the database does not know, as {sorted(stray)[0][:8]}…",
            "they take room only; remove them when the relay is stopped",
        )
    if not missing and not stray:
        yield ok("blobs", f"{len(known)}, each with its file")


def _connected(situation: Situation) -> sa.Connection:
    path = situation.folder / database.FILE_NAME
    if not path.exists():
        raise FileNotFoundError(os.fspath(path))
    return database.engine(path).connect()
