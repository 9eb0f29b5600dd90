"""The key that signs the log's heads: `audit.key` in the folder, made once, the same on every node."""

import os
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from pli_protocol.identity import SigningKey

from ..accounts.key_file import flush_folder
from ..errors import OperatorError
from ..storage import tables as t

FILE_NAME: Final = "audit.key"
_META: Final = "audit-key"
"""The public key in the table `meta`: a node with another file is refused."""


def make(folder: Path) -> SigningKey:
    """A new key; its file is complete, flushed and for the relay's own user, or not there."""
    key = SigningKey.generate()
    part = (folder / FILE_NAME).with_suffix(".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(bytes(key.seed).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / FILE_NAME)
    flush_folder(folder)
    return key


def load(folder: Path) -> SigningKey | None:
    """The key; None: there is no file.

    Raises:
        OperatorError: the file is no key.
    """
    path = folder / FILE_NAME
    try:
        return SigningKey.from_seed(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except FileNotFoundError:
        return None
    except ValueError:
        raise OperatorError(
            f"{path} is no key of an audit log; restore it from a backup or from another node"
        ) from None


def of_relay(folder: Path, db: sa.Connection) -> SigningKey:
    """The key of this relay; made where the database has never had one (of an older pli-server).

    Raises:
        OperatorError: the file is missing or is another key than the one that clients have pinned.
    """
    known = db.scalar(sa.select(t.meta.c.value).where(t.meta.c.key == _META))
    key = load(folder)
    if key is None:
        if known is not None:
            raise OperatorError(
                f"{folder / FILE_NAME} is missing, and clients know this relay's log by it;"
                " copy it from a backup or from another node"
            )
        key = make(folder)
    if known is None:
        known = _enter(db, key.public.hex())
    if known != key.public.hex():
        raise OperatorError(
            f"{folder / FILE_NAME} is another key than the one with which this relay's log was begun;"
            " copy the right one from a backup or from another node"
        )
    return key


def _enter(db: sa.Connection, public: str) -> str:
    # Two nodes may start at once on a database without a key: the first one's counts.
    db.execute(sa.text(_FIRST), {"key": _META, "value": public})
    db.commit()
    return str(db.scalar(sa.select(t.meta.c.value).where(t.meta.c.key == _META)))


_FIRST: Final = "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT DO NOTHING"
