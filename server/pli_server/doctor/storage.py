"""Checks of what the relay keeps: schema, integrity, times, blobs."""

import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import sqlalchemy as sa

from ..errors import OperatorError
from ..storage import database
from ..storage import tables as t
from ..storage.faults import Fault
from .findings import Finding, Situation, fail, ok, warn

T = TypeVar("T")

AHEAD_MS: Final = 120_000
RESTORE = "stop the relay, keep a copy of the folder, restore the last backup"


def schema(situation: Situation) -> Iterable[Finding]:
    """The database can be used, and is of this program's version."""
    store = _store(situation)

    def checked(db: sa.Connection) -> str | None:
        store.check(db)
        return database.version(db)

    try:
        version = read(situation, checked)
    except OperatorError as error:
        yield fail("schema", str(error), "see docs/operations.md, PostgreSQL")
        return
    except Exception as error:
        if store.fault(error) is Fault.PROGRAM:
            raise
        yield fail("schema", "the database cannot be opened", store.remedy)
        return
    if version == database.HEAD:
        yield ok("schema", f"version {version}")
    elif version is None:
        yield fail("schema", "there is no relay's database", store.remedy)
    elif version > database.HEAD:
        yield fail("schema", f"version {version} is of a newer pli-server", "update this one")
    else:
        yield warn(
            "schema",
            f"version {version}; this pli-server makes {database.HEAD} of it at its next start",
            "make a backup before: there is no way back",
        )


def integrity(situation: Situation) -> Iterable[Finding]:
    """SQLite reads every page of the file, which takes about a minute for 10 GB; PostgreSQL is asked
    whether it met a page that is not what it wrote."""
    store = _store(situation)
    try:
        sound = read(situation, store.sound)
    except Exception as error:
        if store.fault(error) in (Fault.PROGRAM, Fault.LOST):
            raise
        sound = False
    if sound:
        yield ok("integrity", "every page of the database reads well")
    else:
        yield fail("integrity", "the database is damaged", RESTORE)


def clock(situation: Situation) -> Iterable[Finding]:
    """The clock is not behind what the relay has stored: retention and certificates go by it."""
    newest = read(situation, lambda db: db.scalar(sa.select(sa.func.max(t.rows.c.time)))) or 0
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
    noted = read(
        situation, lambda db: db.execute(sa.select(t.blobs.c.blob, t.blobs.c.complete)).all()
    )
    known = {bytes(row.blob).hex() for row in noted if row.complete}
    # A blob is put in place just before it is noted as complete.
    begun = {bytes(row.blob).hex() for row in noted} - known
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


def _store(situation: Situation) -> database.Database:
    return database.open_database(situation.folder, situation.settings.database_url)


def read(situation: Situation, function: Callable[[sa.Connection], T]) -> T:
    """What a function finds in the relay's database."""
    lane = _store(situation).lane(database.Use.READING)
    try:
        return lane.run(function)
    finally:
        lane.close()
