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
from .storage import database
from .storage import tables as t

LOCK_NAME = "relay.lock"
LOCK_TRIES, LOCK_SECONDS = 5, 0.05


def make(folder: Path, text: str) -> str:
    """Make the folder with its settings file and database; returns a first establishment code.

    Raises:
        OperatorError: it exists with something in it, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise OperatorError(f"{folder} is not empty; choose a new folder for the relay")
        (folder / "blobs").mkdir(mode=0o700)
        with _private_files():
            engine = database.engine(folder / database.FILE_NAME)
            database.migrate(engine)
            with engine.connect() as connection:
                _first_values(connection)
                key_file.read(folder, connection)
                log_key.make(folder)
                log_key.of_relay(folder, connection)
                code = make_code(connection)
            engine.dispose()
            (folder / settings.FILE_NAME).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OperatorError(
            f"{folder} cannot be made ({error.strerror or error}); choose another folder"
        ) from None
    return code


def further_code(folder: Path) -> str:
    """One more establishment code; works while the relay runs."""
    settings.load(folder)
    engine = database.engine(folder / database.FILE_NAME)
    try:
        database.migrate(engine)
        with engine.connect() as connection:
            return make_code(connection)
    except sa.exc.OperationalError as error:
        raise OperatorError(
            f"the code could not be stored ({error.orig}); free some space and try again"
        ) from None
    finally:
        engine.dispose()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Callable[..., None]]:
    """Hold the folder for this process; raises OperatorError when another one has it.

    What is given to the function that comes back can be read by `running`.
    """
    with _private_files(), (folder / LOCK_NAME).open("a+b") as file:
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


def _first_values(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    connection.execute(sa.insert(t.meta).values(key="timeline", value="1"))
    now = time.time_ns() // 1_000_000
    trail.record(connection, now, 1, Act.ADMINISTRATION, None, what="init")
    connection.exec_driver_sql("COMMIT")


@contextlib.contextmanager
def _private_files() -> Iterator[None]:
    """New files are for the relay's own user."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
