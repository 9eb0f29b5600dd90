"""`accounts.key`: the key under which TOTP secrets lie in the database. Not in the database itself."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from pli_protocol.secret import Secret

from ..errors import OperatorError
from ..storage import tables as t

FILE_NAME: Final = "accounts.key"
KEY_SIZE: Final = 32
_META: Final = "accounts-key"


def read(folder: Path, connection: sa.Connection) -> Secret:
    """The folder's key; made where neither it nor a note of it in the database is there.

    Raises:
        OperatorError: it is missing, or another one than the database's secrets are sealed under.
    """
    noted = connection.scalar(sa.select(t.meta.c.value).where(t.meta.c.key == _META))
    path = folder / FILE_NAME
    if noted is None and not path.exists():
        _make(path)
    try:
        key = Secret(path.read_bytes())
    except FileNotFoundError:
        raise OperatorError(
            f"{path} is missing: copy it from the backup, or from another node of this relay"
        ) from None
    if len(key) != KEY_SIZE or noted not in (None, _digest(key)):
        raise OperatorError(
            f"{path} is not the key of this database: copy it from the backup, "
            "or from another node of this relay"
        )
    if noted is None:
        connection.execute(
            sa.text("INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT DO NOTHING"),
            {"key": _META, "value": _digest(key)},
        )
    return key


def _make(path: Path) -> None:
    """Complete, flushed and for the relay's own user, or not there."""
    part = path.with_suffix(".part")
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(os.urandom(KEY_SIZE))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """A rename is durable once its folder is. Windows flushes folders by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(key: bytes) -> str:
    return hashlib.sha256(b"pli accounts key v1" + key).hexdigest()
