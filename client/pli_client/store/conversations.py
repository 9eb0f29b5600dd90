"""Conversations, and what their person wants of them (intents)."""

from dataclasses import dataclass

import msgspec

from ..vault import Database


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A row of table conversations."""

    id: bytes
    title: str
    kind: str
    state: str
    created_at: int
    last_activity: int
    unread: int


@dataclass(frozen=True, slots=True)
class Intent:
    """Something wanted of a conversation that has not come about yet."""

    id: int
    conversation_id: bytes
    kind: str
    body: dict[str, object]
    attempts: int


_COLUMNS = "id, title, kind, state, created_at, last_activity, unread"


def add(db: Database, id: bytes, title: str, kind: str, state: str, now: int) -> None:
    db.execute(
        """INSERT INTO conversations (id, title, kind, state, created_at, last_activity)
           VALUES (?, ?, ?, ?, ?, ?)""",
        (id, title, kind, state, now, now),
    )


def read(db: Database, id: bytes) -> ConversationRow | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM conversations WHERE id = ?", (id,)).fetchone()
    return None if row is None else ConversationRow(*row)


def list_all(db: Database, *, services: bool = False) -> list[ConversationRow]:
    """The newest activity first; service conversations only when asked for."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM conversations WHERE kind != 'service' OR ? "
        "ORDER BY last_activity DESC, id",
        (int(services),),
    ).fetchall()
    return [ConversationRow(*row) for row in rows]


def set_state(db: Database, id: bytes, state: str) -> None:
    db.execute("UPDATE conversations SET state = ? WHERE id = ?", (state, id))


def set_title(db: Database, id: bytes, title: str) -> None:
    db.execute("UPDATE conversations SET title = ? WHERE id = ?", (title, id))


def set_kind(db: Database, id: bytes, kind: str) -> None:
    db.execute("UPDATE conversations SET kind = ? WHERE id = ?", (kind, id))


def touch(db: Database, id: bytes, now: int, unread: int = 0) -> None:
    db.execute(
        """UPDATE conversations SET last_activity = max(last_activity, ?), unread = unread + ?
           WHERE id = ?""",
        (now, unread, id),
    )


def mark_read(db: Database, id: bytes, now: int) -> None:
    db.execute("UPDATE conversations SET unread = 0 WHERE id = ?", (id,))
    db.execute(
        "UPDATE messages SET read_at = ? WHERE conversation_id = ? AND read_at IS NULL", (now, id)
    )


def service_with(db: Database, person_id: bytes) -> bytes | None:
    """The service conversation with this bot, started or being started here."""
    for intent in intents(db, None, "create"):
        if intent.body.get("service_with") == person_id:
            return intent.conversation_id
    row = db.execute(
        """SELECT c.id FROM conversations AS c
           JOIN groups AS g ON g.conversation_id = c.id
           JOIN members AS m ON m.group_id = g.group_id
           WHERE c.kind = 'service' AND c.state IN ('starting', 'active') AND m.person_id = ?
           ORDER BY c.created_at LIMIT 1""",
        (person_id,),
    ).fetchone()
    return None if row is None else row[0]


# --- intents ----------------------------------------------------------------------------------


def add_intent(
    db: Database, conversation_id: bytes, kind: str, body: dict[str, object], now: int
) -> int:
    cursor = db.execute(
        """INSERT INTO intents (conversation_id, kind, body, state, created_at)
           VALUES (?, ?, ?, 'waiting', ?)""",
        (conversation_id, kind, msgspec.msgpack.encode(body), now),
    )
    return cursor.lastrowid or 0


def intents(db: Database, conversation_id: bytes | None, kind: str | None = None) -> list[Intent]:
    rows = db.execute(
        """SELECT id, conversation_id, kind, body, attempts FROM intents
           WHERE state = 'waiting' AND (? IS NULL OR conversation_id = ?)
             AND (? IS NULL OR kind = ?) ORDER BY id""",
        (conversation_id, conversation_id, kind, kind),
    ).fetchall()
    return [Intent(row[0], row[1], row[2], msgspec.msgpack.decode(row[3]), row[4]) for row in rows]


def rewrite_intent(db: Database, id: int, body: dict[str, object]) -> None:
    db.execute("UPDATE intents SET body = ? WHERE id = ?", (msgspec.msgpack.encode(body), id))


def count_attempt(db: Database, ids: list[int]) -> None:
    db.executemany("UPDATE intents SET attempts = attempts + 1 WHERE id = ?", [(i,) for i in ids])


def end_intents(db: Database, ids: list[int]) -> None:
    db.executemany("DELETE FROM intents WHERE id = ?", [(i,) for i in ids])


def fail_intents(db: Database, ids: list[int], error: str) -> None:
    db.executemany(
        "UPDATE intents SET state = 'failed', error = ? WHERE id = ?", [(error, i) for i in ids]
    )


def intent_outcome(db: Database, id: int) -> tuple[str, str] | None:
    """(state, error); None when it came about."""
    row = db.execute("SELECT state, error FROM intents WHERE id = ?", (id,)).fetchone()
    return None if row is None else (row[0], row[1])


def conversations_with_work(db: Database) -> list[bytes]:
    """Where something waits to be sent or done, or may turn out to be due."""
    rows = db.execute(
        """SELECT conversation_id FROM outbox WHERE state IN ('waiting', 'sealed')
           UNION SELECT conversation_id FROM intents WHERE state = 'waiting'
           UNION SELECT conversation_id FROM groups
               WHERE group_id IN (SELECT group_id FROM pending_commits)
               OR group_id IN (SELECT group_id FROM returns)
               OR state IN ('active', 'refused', 'lost', 'closed')"""
    ).fetchall()
    return [row[0] for row in rows]
