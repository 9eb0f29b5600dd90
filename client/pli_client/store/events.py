"""Durable events: written with what they tell of, read behind a cursor of the reader's own."""

import msgspec

from ..vault import Database
from . import device

Body = dict[str, object]

KEEP = 20_000
"""Events kept; a reader that stays away longer finds the rest in the history."""


def add(db: Database, conversation_id: bytes | None, kind: str, body: Body, now: int) -> int:
    cursor = db.execute(
        "INSERT INTO events (conversation_id, kind, body, at) VALUES (?, ?, ?, ?)",
        (conversation_id, kind, msgspec.msgpack.encode(body), now),
    )
    number = cursor.lastrowid or 0
    if number % 1000 == 0:
        db.execute("DELETE FROM events WHERE id <= ?", (number - KEEP,))
    return number


def after(db: Database, cursor: int, limit: int) -> list[tuple[int, bytes | None, str, Body, int]]:
    """(number, conversation, kind, body, milliseconds) of the events behind the cursor."""
    rows = db.execute(
        "SELECT id, conversation_id, kind, body, at FROM events WHERE id > ? ORDER BY id LIMIT ?",
        (cursor, limit),
    ).fetchall()
    return [(row[0], row[1], row[2], msgspec.msgpack.decode(row[3]), row[4]) for row in rows]


def newest(db: Database) -> int:
    row = db.execute("SELECT max(id) FROM events").fetchone()
    return int(row[0] or 0) if row else 0


def read_cursor(db: Database, reader: str) -> int | None:
    value = device.read_meta(db, f"events/{reader}")
    return None if value is None else int.from_bytes(value, "big")


def write_cursor(db: Database, reader: str, cursor: int) -> None:
    device.write_meta(db, f"events/{reader}", cursor.to_bytes(8, "big"))
