"""A relay's folder: made by `init`, used by one process at a time."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from . import settings
from .accounts import key_file
from .audit import log_key, trail
from .audit.acts import Act
from .codes import make_code
from .errors import OperatorError
from .storage.database import at_once, open_database, writing
from .storage.url import DatabaseURL

LOCK_NAME = "relay.lock"
LOCK_TRIES, LOCK_SECONDS = 5, 0.05


def make(folder: Path, text: str, url: DatabaseURL | None = None) -> str:
    """Make the folder with its settings file and database; returns a first establishment code.

    Args:
        url: An empty PostgreSQL database; None: the embedded one.

    Raises:
        OperatorError: it exists with something in it, or cannot be made; the database cannot be used,
            or has a relay already. Nothing is left behind then.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise OperatorError(f"{folder} is not empty; choose a new folder for the relay")
        with private_files():
            return _fill(folder, text, url)
    except OSError as error:
        raise OperatorError(
            f"{folder} cannot be made ({error.strerror or error}); choose another folder"
        ) from None


def _fill(folder: Path, text: str, url: DatabaseURL | None) -> str:
    try:
        code = at_once(open_database(folder, url), lambda db: _first_values(folder, db))
        (folder / "blobs").mkdir(mode=0o700)
        (folder / settings.FILE_NAME).write_text(text, encoding="utf-8")
    except BaseException:
        # It was empty a moment ago, and shall be when it is tried again.
        for path in folder.iterdir():
            path.unlink() if path.is_file() else path.rmdir()
        raise
    return code


def further_code(folder: Path) -> str:
    """One more establishment code; works while the relay runs."""
    return at_once(open_database(folder, settings.load(folder).database_url), make_code)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Callable[..., None]]:
    """Hold the folder for this process; raises OperatorError when another one has it.

    What is given to the function that comes back can be read by `running`.
    """
    with private_files(), (folder / LOCK_NAME).open("a+b") as file:
        try:
            _lock_soon(file.fileno())
        except OSError:
            raise OperatorError(
                f"a relay runs on {folder} already; stop it first, or use another folder"
            ) from None
        facts: dict[str, Any] = {"pid": os.getpid()}

        def tell(**more: Any) -> None:
            facts.update(more)
            file.truncate(0)
            file.write(msgspec.json.encode(facts))
            file.flush()

        tell()
        yield tell


def running(folder: Path) -> dict[str, Any] | None:
    """What the process that holds the folder has told (pid, url, metrics); None: none holds it."""
    try:
        with (folder / LOCK_NAME).open("rb") as file:
            try:
                _lock(file.fileno())
            except OSError:
                return dict(msgspec.json.decode(file.read() or b"{}"))
    except FileNotFoundError:
        pass
    return None


def _lock_soon(descriptor: int) -> None:
    """`running` holds the lock for a moment: it must not keep a relay from starting."""
    for _ in range(LOCK_TRIES):
        with contextlib.suppress(OSError):
            return _lock(descriptor)
        time.sleep(LOCK_SECONDS)
    _lock(descriptor)


def _lock(descriptor: int) -> None:
    """Until the process ends, however it ends."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _first_values(folder: Path, connection: sa.Connection) -> str:
    """What a database and a folder begin with."""
    with writing(connection):
        first = connection.execute(
            sa.text("INSERT INTO meta (key, value) VALUES ('timeline', '1') ON CONFLICT DO NOTHING")
        )
        if not first.rowcount:
            raise OperatorError(
                "this database has a relay already; a further node gets a copy of the first one's "
                "folder (relay.toml, accounts.key, audit.key), and needs no init"
            )
        now = time.time_ns() // 1_000_000
        trail.record(connection, now, 1, Act.ADMINISTRATION, None, what="init")
    key_file.read(folder, connection)
    log_key.of_relay(folder, connection)
    return make_code(connection)


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """New files are for the relay's own user."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
