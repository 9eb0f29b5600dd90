"""The history: messages and events of conversations, search, attachments."""

from dataclasses import dataclass, field

from pli_protocol.content import FilePart

from ..vault import Database, Row

QUEUED_GENERATION = 2**53
"""Where messages stand that have no place in a log yet: behind everything."""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A row of table messages."""

    id: int
    message_id: bytes
    conversation_id: bytes
    sender: bytes
    device_id: bytes
    kind: str
    content: bytes = field(repr=False)
    in_reply_to: bytes | None
    urgent: bool
    sent_at: int
    state: str
    generation: int
    group_id: bytes | None
    timeline: int | None
    seq: int | None
    epoch: int | None
    time: int | None
    signed: bytes | None = field(repr=False)
    read_at: int | None


_COLUMNS = """id, message_id, conversation_id, sender, device_id, kind, content, in_reply_to,
    urgent, sent_at, state, generation, group_id, timeline, seq, epoch, time, signed, read_at"""


def _message(row: Row) -> MessageRow:
    return MessageRow(*(*row[:8], bool(row[8]), *row[9:]))


def add(
    db: Database,
    *,
    message_id: bytes,
    conversation_id: bytes,
    sender: bytes,
    device_id: bytes,
    kind: str,
    content: bytes,
    text: str,
    sent_at: int,
    state: str,
    in_reply_to: bytes | None = None,
    urgent: bool = False,
    expires_at: int | None = None,
    read_at: int | None = None,
) -> None:
    """A message without a place in the log; see `place`. Raises IntegrityError for a known id."""
    db.execute(
        """INSERT INTO messages (message_id, conversation_id, sender, device_id, kind, content,
               text, in_reply_to, urgent, expires_at, sent_at, state, read_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            message_id,
            conversation_id,
            sender,
            device_id,
            kind,
            content,
            text,
            in_reply_to,
            int(urgent),
            expires_at,
            sent_at,
            state,
            read_at,
        ),
    )


def place(
    db: Database,
    message_id: bytes,
    *,
    generation: int,
    group_id: bytes,
    timeline: int,
    seq: int,
    epoch: int,
    time: int,
    signed: bytes,
    state: str | None = None,
) -> None:
    """Where the relay's log has it, and what proves its author."""
    db.execute(
        """UPDATE messages SET generation = ?, group_id = ?, timeline = ?, seq = ?, epoch = ?,
               time = ?, signed = ?, state = coalesce(?, state) WHERE message_id = ?""",
        (generation, group_id, timeline, seq, epoch, time, signed, state, message_id),
    )


def unplace(db: Database, message_id: bytes) -> None:
    """An own message that no log holds any more: it stands at the end again, as one that waits."""
    db.execute(
        """UPDATE messages SET generation = ?, group_id = NULL, timeline = NULL, seq = NULL,
               epoch = NULL, time = NULL, signed = NULL, state = 'queued' WHERE message_id = ?""",
        (QUEUED_GENERATION, message_id),
    )


def set_state(db: Database, message_id: bytes, state: str) -> None:
    db.execute("UPDATE messages SET state = ? WHERE message_id = ?", (state, message_id))


def exists(db: Database, message_id: bytes) -> bool:
    row = db.execute("SELECT 1 FROM messages WHERE message_id = ?", (message_id,)).fetchone()
    return row is not None


def read(db: Database, message_id: bytes) -> MessageRow | None:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM messages WHERE message_id = ?", (message_id,)
    ).fetchone()
    return None if row is None else _message(row)


def by_prefix(db: Database, prefix: bytes, limit: int = 2) -> list[MessageRow]:
    """Messages whose id begins so (what a person types)."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM messages WHERE substr(message_id, 1, ?) = ? LIMIT ?",
        (len(prefix), prefix, limit),
    ).fetchall()
    return [_message(row) for row in rows]


def own_reply(db: Database, to: bytes, kind: str, device_id: bytes) -> bytes | None:
    """The id of this device's message of a kind that replies to another."""
    row = db.execute(
        "SELECT message_id FROM messages WHERE device_id = ? AND kind = ? AND in_reply_to = ?",
        (device_id, kind, to),
    ).fetchone()
    return None if row is None else row[0]


Place = tuple[int, int, int, int]
"""(generation, timeline, seq, id): the order of a conversation."""


def place_of(row: MessageRow) -> Place:
    return row.generation, row.timeline or 0, row.seq or 0, row.id


def page(
    db: Database, conversation_id: bytes, before: Place | None, limit: int, kinds: tuple[str, ...]
) -> list[MessageRow]:
    """The last messages before a place, oldest first; all kinds where none is named."""
    top = before or (2**62, 0, 0, 0)
    marks = ", ".join("?" * len(kinds))
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM messages
            WHERE conversation_id = ?
              AND (generation, coalesce(timeline, 0), coalesce(seq, 0), id) < (?, ?, ?, ?)
              {f"AND kind IN ({marks})" if kinds else ""}
            ORDER BY generation DESC, timeline DESC, seq DESC, id DESC LIMIT ?""",
        (conversation_id, *top, *kinds, limit),
    ).fetchall()
    return [_message(row) for row in reversed(rows)]


def unread(db: Database, conversation_id: bytes | None, limit: int) -> list[MessageRow]:
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM messages
            WHERE read_at IS NULL AND kind = 'post' AND state = 'received'
              AND (? IS NULL OR conversation_id = ?)
            ORDER BY urgent DESC, generation, timeline, seq, id LIMIT ?""",
        (conversation_id, conversation_id, limit),
    ).fetchall()
    return [_message(row) for row in rows]


def search(db: Database, query: str, conversation_id: bytes | None, limit: int) -> list[MessageRow]:
    """Messages that have all the words, the newest first; accents and case do not count."""
    words = [word for word in query.replace('"', " ").split() if any(c.isalnum() for c in word)]
    if not words:
        return []
    match = " ".join(f'"{word}"' for word in words[:-1]) + f' "{words[-1]}"*'
    columns = ", ".join("m." + name.strip() for name in _COLUMNS.split(","))
    rows = db.execute(
        f"""SELECT {columns} FROM message_search AS s JOIN messages AS m ON m.id = s.rowid
            WHERE message_search MATCH ? AND (? IS NULL OR m.conversation_id = ?)
            ORDER BY coalesce(m.time, m.sent_at) DESC, m.id DESC LIMIT ?""",
        (match, conversation_id, conversation_id, limit),
    ).fetchall()
    return [_message(row) for row in rows]


# --- attachments ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileRow:
    blob: bytes
    sealed_file: str | None
    sealed_size: int
    state: str


def add_file(
    db: Database,
    part: FilePart,
    message_id: bytes,
    index: int,
    now: int,
    *,
    sealed_file: str | None,
    sealed_size: int,
    state: str,
) -> None:
    db.execute(
        """INSERT OR IGNORE INTO files (blob, message_id, part, key, name, mime, size, sha256,
               sealed_size, sealed_file, state, created_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            part.blob,
            message_id,
            index,
            part.key,
            part.name,
            part.mime,
            part.size,
            part.sha256,
            sealed_size,
            sealed_file,
            state,
            now,
        ),
    )


def to_upload(db: Database, message_id: bytes) -> list[FileRow]:
    rows = db.execute(
        """SELECT blob, sealed_file, sealed_size, state FROM files
           WHERE message_id = ? AND state = 'uploading' ORDER BY part""",
        (message_id,),
    ).fetchall()
    return [FileRow(*row) for row in rows]


def mark_uploaded(db: Database, blob: bytes) -> None:
    """The relay has it; its ciphertext stays here for the repair window."""
    db.execute("UPDATE files SET state = 'remote' WHERE blob = ?", (blob,))


def sealed_since(db: Database, since: int) -> list[tuple[bytes, str]]:
    """(blob, ciphertext's name) of the files that went up since a time (milliseconds)."""
    return db.execute(
        """SELECT blob, sealed_file FROM files WHERE state != 'uploading'
             AND sealed_file IS NOT NULL AND created_at >= ?""",
        (since,),
    ).fetchall()


def sealed_before(db: Database, before: int) -> list[tuple[bytes, str]]:
    """Those whose ciphertext is needed no more."""
    return db.execute(
        """SELECT blob, sealed_file FROM files WHERE state != 'uploading'
             AND sealed_file IS NOT NULL AND created_at < ?""",
        (before,),
    ).fetchall()


def forget_sealed(db: Database, blobs: list[bytes]) -> None:
    db.executemany("UPDATE files SET sealed_file = NULL WHERE blob = ?", [(b,) for b in blobs])


def drop_uploads(db: Database, message_id: bytes) -> list[str]:
    """Forget a message's files that did not go up; the names of their ciphertexts."""
    rows = db.execute(
        "SELECT sealed_file FROM files WHERE message_id = ? AND state = 'uploading'", (message_id,)
    ).fetchall()
    db.execute("DELETE FROM files WHERE message_id = ? AND state = 'uploading'", (message_id,))
    return [row[0] for row in rows if row[0] is not None]


def sizes_to_upload(db: Database, message_id: bytes) -> list[tuple[bytes, int, bool]]:
    """(blob, bytes of its ciphertext, whether it is at the relay) of a message's files."""
    rows = db.execute(
        "SELECT blob, sealed_size, state != 'uploading' FROM files WHERE message_id = ?",
        (message_id,),
    ).fetchall()
    return [(row[0], row[1], bool(row[2])) for row in rows]


def read_file(db: Database, blob: bytes) -> FileRow | None:
    row = db.execute(
        "SELECT blob, sealed_file, sealed_size, state FROM files WHERE blob = ?", (blob,)
    ).fetchone()
    return None if row is None else FileRow(*row)
