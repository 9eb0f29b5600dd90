"""Making a backup while the relay runs: a snapshot of the database, then the blobs that it names."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import sqlalchemy as sa
from nacl.public import PublicKey

from ..accounts.key_file import flush_folder
from ..audit.acts import Act
from ..audit.trail import record
from ..errors import OperatorError, Refusal
from ..folder import LOCK_NAME
from ..settings import Settings
from ..storage import database, timelines
from ..storage import tables as t
from ..storage.blobs import BlobFolder, BlobStore
from ..storage.sqlite import FILE_NAME as DATABASE_NAME
from . import dump
from .archive import ArchiveWriter, Manifest

SUFFIX: Final = ".plibackup"
UNFINISHED: Final = ".unfinished"
FILES: Final = "file/"
BLOBS: Final = "blob/"
_MOMENT: Final = "%Y%m%dT%H%M%SZ"
DAY_MS: Final = 86_400_000
LARGEST_FILE: Final = 1024 * 1024
"""Bytes of a file of the folder besides database and blobs (settings, keys)."""

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, and how much there is (0: not known)."""


class Blob(NamedTuple):
    """A blob as the snapshot knows it."""

    blob: bytes
    size: int
    created: int


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that is complete and on the disk."""

    path: Path
    size: int
    manifest: Manifest


def make(
    folder: Path, settings: Settings, to: Path, key: PublicKey, now: int, progress: Progress
) -> Made:
    """Back up the relay of `folder` as a new file in the folder `to`.

    Raises:
        OperatorError: the target is no folder, or full; a file of the relay cannot be read.
    """
    if not to.is_dir():
        raise OperatorError(f"{to} is no folder; make it, or name another")
    moment = datetime.fromtimestamp(now / 1000, UTC).strftime(_MOMENT)
    path = to / f"{_file_name(settings.name)}-{moment}{SUFFIX}"
    unfinished = path.with_name(path.name + UNFINISHED)
    file = _new_file(unfinished)
    try:
        with file:
            manifest = _write(ArchiveWriter(file, key), folder, settings, now, progress)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        flush_folder(to)
    except OSError as error:
        raise OperatorError(
            f"the backup could not be written ({error.strerror or error}); nothing was kept of it"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    size = path.stat().st_size
    store = database.open_database(folder, settings.database_url)
    database.at_once(store, lambda db: _trace(db, now, size))
    return Made(path, size, manifest)


def _new_file(path: Path) -> BinaryIO:
    """For the relay's own user; never what another process writes, or a link that somebody put there."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be made ({error.strerror}); see that no other backup runs"
        ) from None


def keep_newest(to: Path, relay: str, keep: int, now: int) -> list[Path]:
    """Remove this relay's older backups but the newest `keep`, and what killed ones left a day ago.

    Returns those removed.
    """
    left = to.glob(f"{glob.escape(_file_name(relay))}-*{SUFFIX}{UNFINISHED}")
    old = [path for path in left if path.stat().st_mtime * 1000 < now - DAY_MS]
    old += _mine(to, relay)[:-keep]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def newest(to: Path, relay: str) -> int | None:
    """When this relay's newest backup in a folder was begun (milliseconds since 1970)."""
    mine = _mine(to, relay)
    return _begun(mine[-1]) if mine else None


def _begun(path: Path) -> int | None:
    moment = path.name.removesuffix(SUFFIX).rpartition("-")[2]
    try:
        return int(datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


def _mine(to: Path, relay: str) -> list[Path]:
    """The oldest first; a file that only looks like one is none."""
    found = to.glob(f"{glob.escape(_file_name(relay))}-????????T??????Z{SUFFIX}")
    return sorted(path for path in found if _begun(path) is not None)


def _write(
    archive: ArchiveWriter, folder: Path, settings: Settings, now: int, progress: Progress
) -> Manifest:
    store = database.open_database(folder, settings.database_url)
    timeline, rows, wanted = database.at_once(
        store, lambda db: _write_snapshot(archive, db, progress)
    )
    for path in own_files(folder):
        archive.add(FILES + path.name, [path.read_bytes()])
    missing = list(_write_blobs(archive, open_blobs(folder, settings), wanted, progress))
    old = now - settings.retention.days * 86_400_000
    manifest = Manifest(
        relay=settings.name,
        made=now,
        schema=database.HEAD,
        timeline=timeline,
        rows=rows,
        # Retention may take them while the backup runs; any other one that is missing is a fault.
        gone=tuple(blob.blob for blob in missing if blob.created < old),
        parts=archive.parts,
    )
    archive.finish(manifest)
    progress("blobs", len(wanted), len(wanted))
    return manifest


def _trace(connection: sa.Connection, now: int, size: int) -> None:
    with database.writing(connection):
        record(connection, now, timelines.current(connection), Act.BACKUP, None, size=size)


def _write_snapshot(
    archive: ArchiveWriter, connection: sa.Connection, progress: Progress
) -> tuple[int, dict[str, int], list[Blob]]:
    """Write all tables as of one moment; returns timeline, rows of each table, the blobs to write."""
    dump.begin_snapshot(connection)
    try:
        timeline = timelines.current(connection)
        rows = _write_tables(archive, connection, progress)
        named = sa.select(t.blobs.c.blob, t.blobs.c.size, t.blobs.c.created)
        found = connection.execute(named.where(t.blobs.c.complete == 1))
        return timeline, rows, [Blob(*row) for row in found]
    finally:
        dump.end_snapshot(connection)


def _write_tables(
    archive: ArchiveWriter, connection: sa.Connection, progress: Progress
) -> dict[str, int]:
    rows = {}
    names = dump.table_names()
    for done, table in enumerate(names):
        progress("database", done, len(names))
        counted = sa.select(sa.func.count()).select_from(t.metadata.tables[table])
        rows[table] = int(connection.scalar(counted) or 0)
        archive.add(dump.PREFIX + table, dump.dump_table(connection, table))
    return rows


def own_files(folder: Path) -> list[Path]:
    """The folder's settings and keys: everything but database, lock and blobs.

    Raises:
        OperatorError: one that is too large to be either.
    """
    found = []
    for path in sorted(folder.iterdir()):
        other = path.name == LOCK_NAME or path.name.startswith(DATABASE_NAME)
        if other or path.is_symlink() or not path.is_file():
            continue
        if path.stat().st_size > LARGEST_FILE:
            raise OperatorError(f"{path} is no file of a relay; move it elsewhere and try again")
        found.append(path)
    return found


def open_blobs(folder: Path, settings: Settings) -> BlobStore:
    """Where the relay has its blobs."""
    if settings.blobs.url is None:
        return BlobFolder(folder)
    from ..storage.bucket import BlobBucket

    return BlobBucket(settings.blobs.url)


def _write_blobs(
    archive: ArchiveWriter, store: BlobStore, wanted: Sequence[Blob], progress: Progress
) -> Iterator[Blob]:
    """Add every blob; gives those that are not there."""
    try:
        for done, blob in enumerate(wanted):
            progress("blobs", done, len(wanted))
            try:
                first = store.get(blob.blob, 0, blob.size)
            except Refusal as refusal:
                if refusal.code != "not-found":
                    raise _unread(blob, refusal) from None
                yield blob
            else:
                archive.add(BLOBS + blob.blob.hex(), _pieces(store, blob, first))
    finally:
        store.close()


def _pieces(store: BlobStore, blob: Blob, piece: bytes) -> Iterator[bytes]:
    done = 0
    while piece:
        yield piece
        done += len(piece)
        try:
            piece = store.get(blob.blob, done, blob.size) if done < blob.size else b""
        except Refusal as refusal:
            raise _unread(blob, refusal) from None


def _unread(blob: Blob, refusal: Refusal) -> OperatorError:
    """A backup without it would not be one."""
    return OperatorError(
        f"the blob {blob.blob.hex()[:8]}… cannot be read to its end ({refusal.code}); try again"
    )


def _file_name(relay: str) -> str:
    return "pli-" + "".join(c if c.isalnum() or c in ".-" else "_" for c in relay)
