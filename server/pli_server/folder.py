"""A relay's folder: made by `init`, used by one process at a time."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from . import settings
from .codes import make_code
from .errors import OperatorError
from .storage import database
from .storage import tables as t

LOCK_NAME = "relay.lock"


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
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; raises OperatorError when another one has it."""
    with _private_files(), (folder / LOCK_NAME).open("a+b") as file:
        try:
            _lock(file.fileno())
        except OSError:
            raise OperatorError(
                f"a relay runs on {folder} already; stop it first, or use another folder"
            ) from None
        yield


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
    connection.exec_driver_sql("COMMIT")


@contextlib.contextmanager
def _private_files() -> Iterator[None]:
    """New files are for the relay's own user."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
