"""One-time codes with which an establishment opens its place on the relay."""

import base64
import hashlib
import os
import time

import sqlalchemy as sa

from .audit.acts import Act
from .audit.trail import record
from .storage import tables as t
from .storage import timelines
from .storage.database import writing


def make_code(connection: sa.Connection) -> str:
    """A new code; the database keeps its hash."""
    letters = base64.b32encode(os.urandom(15)).decode().lower()
    code = "-".join(letters[start : start + 6] for start in range(0, 24, 6))
    now = time.time_ns() // 1_000_000
    with writing(connection):
        connection.execute(
            sa.insert(t.establishment_codes).values(hash=code_hash(code), created=now)
        )
        timeline = timelines.current(connection)
        record(connection, now, timeline, Act.ADMINISTRATION, None, what="establishment-code")
    return code


def code_hash(code: str) -> bytes:
    """How a code is known here: by its hash, without spaces, dashes or case."""
    plain = code.replace("-", "").replace(" ", "").lower()
    return hashlib.sha256(b"pli establishment code v1" + plain.encode()).digest()
