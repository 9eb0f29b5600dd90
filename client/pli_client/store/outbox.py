"""Everything that this device has to send, in order; a row goes when it came back in the log."""

from dataclasses import dataclass, field

from pli_protocol.relay.frames import Position

from ..vault import Database, Row


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A row of table outbox."""

    id: int
    conversation_id: bytes
    message_id: bytes
    content: bytes = field(repr=False)
    kind: str
    shown: bool
    state: str
    group_id: bytes | None
    epoch: int | None
    send_id: bytes | None
    previous: bytes | None
    ciphertext: bytes | None = field(repr=False)
    signed: bytes | None = field(repr=False)
    reason: str


_COLUMNS = """id, conversation_id, message_id, content, kind, shown, state, group_id, epoch,
    send_id, previous, ciphertext, signed, reason"""


def _outgoing(row: Row) -> Outgoing:
    return Outgoing(*(*row[:5], bool(row[5]), *row[6:]))


def add(
    db: Database,
    conversation_id: bytes,
    message_id: bytes,
    content: bytes,
    now: int,
    *,
    kind: str = "message",
    shown: bool = True,
) -> None:
    db.execute(
        """INSERT INTO outbox (conversation_id, message_id, content, kind, shown, state, queued_at)
           VALUES (?, ?, ?, ?, ?, 'waiting', ?)""",
        (conversation_id, message_id, content, kind, int(shown), now),
    )


def in_state(db: Database, conversation_id: bytes, state: str, limit: int = -1) -> list[Outgoing]:
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM outbox WHERE conversation_id = ? AND state = ?
            ORDER BY id LIMIT ?""",
        (conversation_id, state, limit),
    ).fetchall()
    return [_outgoing(row) for row in rows]


def leaves(db: Database, conversation_id: bytes) -> bool:
    """Whether leaving the conversation waits to be sent."""
    row = db.execute(
        "SELECT 1 FROM outbox WHERE conversation_id = ? AND kind = 'leave' AND state != 'failed'",
        (conversation_id,),
    ).fetchone()
    return row is not None


def by_send_id(db: Database, send_id: bytes) -> Outgoing | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM outbox WHERE send_id = ?", (send_id,)).fetchone()
    return None if row is None else _outgoing(row)


def by_message_id(db: Database, message_id: bytes) -> Outgoing | None:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE message_id = ?", (message_id,)
    ).fetchone()
    return None if row is None else _outgoing(row)


def mark_sealed(
    db: Database,
    id: int,
    *,
    group_id: bytes,
    epoch: int,
    send_id: bytes,
    previous: bytes | None,
    ciphertext: bytes,
    signed: bytes,
) -> None:
    db.execute(
        """UPDATE outbox SET state = 'sealed', group_id = ?, epoch = ?, send_id = ?, previous = ?,
               ciphertext = ?, signed = ? WHERE id = ?""",
        (group_id, epoch, send_id, previous, ciphertext, signed, id),
    )


def unseal(db: Database, group_id: bytes) -> int:
    """What was sealed for this group and cannot be in its log waits again, under the same id."""
    return db.execute(
        """UPDATE outbox SET state = 'waiting', group_id = NULL, epoch = NULL, send_id = NULL,
               previous = NULL, ciphertext = NULL, signed = NULL
           WHERE group_id = ? AND state = 'sealed'""",
        (group_id,),
    ).rowcount


def under_way(db: Database, group_id: bytes) -> list[Outgoing]:
    """What was sealed for a group and whose row has not come back, in order."""
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM outbox WHERE group_id = ? AND state IN ('sealed', 'stored')
            ORDER BY id""",
        (group_id,),
    ).fetchall()
    return [_outgoing(row) for row in rows]


def seal_again(db: Database, id: int) -> None:
    """The relay does not hold it (any more): it waits to be sealed again, under the same message id."""
    db.execute(
        """UPDATE outbox SET state = 'waiting', group_id = NULL, epoch = NULL, send_id = NULL,
               previous = NULL, ciphertext = NULL, signed = NULL WHERE id = ?""",
        (id,),
    )


def unseal_after(db: Database, group_id: bytes, id: int) -> None:
    """What was sealed behind this one names it as its predecessor: it is sealed anew."""
    db.execute(
        """UPDATE outbox SET state = 'waiting', group_id = NULL, epoch = NULL, send_id = NULL,
               previous = NULL, ciphertext = NULL, signed = NULL
           WHERE group_id = ? AND state = 'sealed' AND id > ?""",
        (group_id, id),
    )


def stored_at(db: Database, group_id: bytes, position: Position) -> bytes | None:
    """The send id of what the relay said stands there, its row being still to come."""
    row = db.execute(
        """SELECT send_id FROM messages JOIN outbox USING (message_id)
           WHERE messages.group_id = ? AND timeline = ? AND seq = ? AND outbox.state = 'stored'""",
        (group_id, position.timeline, position.seq),
    ).fetchone()
    return None if row is None else row[0]


def position_of(db: Database, message_id: bytes) -> Position | None:
    row = db.execute(
        "SELECT timeline, seq FROM messages WHERE message_id = ? AND seq IS NOT NULL", (message_id,)
    ).fetchone()
    return None if row is None else Position(row[0], row[1])


def mark_stored(db: Database, id: int) -> None:
    """The relay has it on disk; its row is still to come."""
    db.execute("UPDATE outbox SET state = 'stored' WHERE id = ?", (id,))


def delete(db: Database, id: int) -> None:
    db.execute("DELETE FROM outbox WHERE id = ?", (id,))


def fail(db: Database, id: int, reason: str) -> None:
    db.execute(
        """UPDATE outbox SET state = 'failed', reason = ?, group_id = NULL, send_id = NULL,
               ciphertext = NULL, signed = NULL WHERE id = ?""",
        (reason, id),
    )


def unfinished(db: Database, group_id: bytes) -> int:
    """How many sends of this group have an unknown outcome."""
    row = db.execute(
        "SELECT count(*) FROM outbox WHERE group_id = ? AND state = 'sealed'", (group_id,)
    ).fetchone()
    return int(row[0]) if row else 0


def busy(db: Database) -> bool:
    """Something waits, or its outcome is unknown."""
    row = db.execute(
        "SELECT EXISTS (SELECT 1 FROM outbox WHERE state IN ('waiting', 'sealed'))"
    ).fetchone()
    return bool(row and row[0])
