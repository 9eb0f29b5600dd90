"""Restoring a backup into an empty folder, and proving that a backup can be restored."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import sqlalchemy as sa
from nacl.public import PrivateKey

from pli_protocol.relay.frames import BLOB_PART

from .. import settings as setting
from ..accounts.key_file import flush_folder
from ..audit import log_key, verifying
from ..errors import OperatorError
from ..folder import private_files
from ..settings import FILE_NAME as SETTINGS_NAME
from ..storage import database
from ..storage import tables as t
from ..storage.bucket import BlobBucket
from ..storage.sqlite import FILE_NAME as DATABASE_NAME
from ..storage.url import DatabaseURL
from . import dump, timeline
from .archive import ArchiveReader, DamagedArchive, Manifest
from .making import BLOBS, FILES, Progress

_UNFINISHED: Final = ".restoring"
_BLOB_NAME: Final = re.compile("[0-9a-f]{64}", re.ASCII)


def restore(
    archive: Path,
    key: PrivateKey,
    folder: Path,
    now: int,
    progress: Progress,
    url: DatabaseURL | None = None,
) -> tuple[Manifest, int]:
    """Make `folder`, new or empty, the relay of the archive, in a new timeline.

    Args:
        url: An empty PostgreSQL database to restore into, whichever the archive is of; None: a file.

    Returns:
        The archive's manifest, and the number of the new timeline.

    Raises:
        OperatorError: the folder is not empty; the archive is damaged, cut, or for another key. Nothing
            is left behind then.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OperatorError(f"{folder} is not empty; restore into a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(folder.name + _UNFINISHED)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with private_files():
            scratch.mkdir(mode=0o700)
            manifest, number = unpack(archive, key, scratch, progress, url, now)
        _flush(scratch)
        if folder.exists():
            folder.rmdir()
        os.replace(scratch, folder)
        flush_folder(folder.parent)
    except OSError as error:
        raise OperatorError(
            f"it could not be restored ({error.strerror or error}); nothing was left behind"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest, number


def begin_timeline(folder: Path, now: int, url: DatabaseURL | None = None) -> int:
    """Begin a new timeline in a stopped relay's database; returns its number."""

    def begin(connection: sa.Connection) -> int:
        with database.writing(connection):
            return timeline.begin(connection, now)

    return database.at_once(database.open_database(folder, url), begin)


@dataclass(frozen=True, slots=True)
class Verified:
    """What a restored backup turned out to be; good when `problems` is empty."""

    manifest: Manifest
    problems: list[str] = field(default_factory=list)


def verify(archive: Path, key: PrivateKey, scratch: Path | None, progress: Progress) -> Verified:
    """Restore into a scratch folder, which is removed, and check what is there.

    Raises:
        OperatorError: the archive cannot be read to its end.
    """
    with tempfile.TemporaryDirectory(prefix="pli-verify-", dir=scratch) as made:
        folder = Path(made)
        manifest, _ = unpack(archive, key, folder, progress)
        store = database.open_database(folder, None)
        problems = database.at_once(store, lambda db: list(_problems(db, folder, manifest)))
        return Verified(manifest, problems)


def _log_problems(connection: sa.Connection, folder: Path, manifest: Manifest) -> list[str]:
    """The audit log, and every row's hash chain with its payload, as `audit verify` checks them."""
    key = log_key.of_relay(folder, connection).public
    report = verifying.verify(connection, manifest.relay, key, manifest.made)
    return [f"the log: {text}" for text in report.faults]


def _problems(connection: sa.Connection, folder: Path, manifest: Manifest) -> Iterator[str]:
    yield from _database_problems(connection)
    yield from _log_problems(connection, folder, manifest)
    for table, count in manifest.rows.items():
        query = sa.select(sa.func.count()).select_from(t.metadata.tables[table])
        if (found := connection.scalar(query)) != count:
            yield f"table {table} has {found} rows instead of {count}"
    gone = set(manifest.gone)
    for blob, size in connection.execute(
        sa.select(t.blobs.c.blob, t.blobs.c.size).where(t.blobs.c.complete == 1)
    ):
        path = _blob_path(folder, blob.hex())
        if blob not in gone and (not path.exists() or path.stat().st_size != size):
            yield f"blob {blob.hex()[:8]}… is missing, or has another size"


def _database_problems(connection: sa.Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for (text,) in connection.exec_driver_sql("PRAGMA integrity_check(10)"):
            if text != "ok":
                yield f"the database: {text}"
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            yield f"the database: a row of {row[0]} refers to nothing"
    last = sa.select(sa.func.max(t.rows.c.seq)).where(t.rows.c.group_no == t.groups.c.no)
    wrong = (
        sa.select(sa.func.count())
        .select_from(t.groups)
        .where(sa.func.coalesce(last.scalar_subquery(), 0) != t.groups.c.last)
    )
    if count := connection.scalar(wrong):
        yield f"{count} groups' logs do not end where the group says"


def unpack(
    archive: Path,
    key: PrivateKey,
    folder: Path,
    progress: Progress,
    url: DatabaseURL | None = None,
    now: int | None = None,
) -> tuple[Manifest, int]:
    """Write the archive's parts into an empty folder (and database); its bytes are trusted part by part,
    and as a whole only when this returns.

    Args:
        now: It is to serve: in the same transaction its new timeline begins, and the blobs go where the
            relay's settings say, perhaps into a bucket. None: only to be looked at, all in the folder.

    Returns:
        The manifest, and the timeline that the database is in.

    Raises:
        OperatorError: the database is not empty; the archive is damaged, cut, or for another key.
    """
    size = archive.stat().st_size if archive.exists() else 0
    (folder / "blobs" / "uploads").mkdir(parents=True, mode=0o700)

    def load(connection: sa.Connection) -> tuple[Manifest, int]:
        # Durable as a whole, by the checkpoint and the flushes at the end.
        with archive.open("rb") as file, database.writing(connection):
            if connection.execute(sa.select(t.trace_entries.c.no).limit(1)).first() is not None:
                raise OperatorError("the database has a relay in it; restore into an empty one")
            connection.execute(sa.delete(t.meta))
            reader = ArchiveReader(file, key)
            manifest = _unpack(reader, file, size, folder, connection, progress, now is not None)
            dump.after_loading(connection)
            number = manifest.timeline if now is None else timeline.begin(connection, now)
            return manifest, number

    try:
        return database.at_once(database.open_database(folder, url), load)
    except FileNotFoundError:
        raise OperatorError(f"{archive} does not exist; give a file that backup made") from None
    except sa.exc.IntegrityError:
        raise DamagedArchive("its tables contradict each other") from None


def _unpack(
    reader: ArchiveReader,
    file: BinaryIO,
    size: int,
    folder: Path,
    connection: sa.Connection,
    progress: Progress,
    keep: bool,
) -> Manifest:
    for name, data in reader.parts():
        progress("restoring", file.tell(), size)
        if name.startswith(dump.PREFIX):
            dump.load_table(connection, name.removeprefix(dump.PREFIX), data)
        elif name.startswith(BLOBS):
            _store_blob(folder, _blob_name(name.removeprefix(BLOBS)), data, keep)
        elif name.startswith(FILES):
            _store(folder / _safe(name.removeprefix(FILES)), data)
        else:
            raise DamagedArchive("an unknown part")
    if reader.manifest.schema != database.HEAD:
        raise OperatorError(
            f"the archive is of schema {reader.manifest.schema}; restore it with that pli-server"
        )
    if FILES + SETTINGS_NAME not in reader.manifest.parts:
        raise DamagedArchive("it has no settings")
    progress("restoring", size, size)
    return reader.manifest


def _store_blob(folder: Path, name: str, data: Iterator[bytes], keep: bool) -> None:
    """The settings stand in the archive before the blobs."""
    bucket = setting.load(folder).blobs.url if keep else None
    path = _blob_path(folder, name)
    _store(path, data)
    if bucket is None:
        return
    store, blob, size = BlobBucket(bucket), bytes.fromhex(name), path.stat().st_size
    try:
        with path.open("rb") as file:
            for offset in range(0, size, BLOB_PART):
                store.put(blob, offset, size, file.read(BLOB_PART))
        store.place(blob, size)
    finally:
        store.close()
    path.unlink()


def _store(path: Path, data: Iterator[bytes]) -> None:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in data:
            file.write(piece)


def _safe(name: str) -> str:
    """A name that stays in the folder, and is not the database's."""
    odd = Path(name).name != name or name in (".", "..") or "\0" in name
    if odd or name.startswith(DATABASE_NAME):
        raise DamagedArchive("a part with an impossible name")
    return name


def _blob_name(name: str) -> str:
    """A blob's id, as the folder names its file."""
    if _BLOB_NAME.fullmatch(name) is None:
        raise DamagedArchive("a part with an impossible name")
    return name


def _blob_path(folder: Path, name: str) -> Path:
    return folder / "blobs" / name[:2] / name


def _flush(folder: Path) -> None:
    """Everything at once: a flush for each blob would take longer than all the rest."""
    if hasattr(os, "sync"):
        os.sync()  # Linux returns when all is written
        return
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
