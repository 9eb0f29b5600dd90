"""Rows of the relay's log, kept for the repair window; rows that could not be processed, put aside."""

from dataclasses import dataclass, field

from pli_protocol.relay.frames import Position, Row

from ..vault import Database


def keep_row(db: Database, row: Row, message: bytes) -> None:
    """Kept for the repair window."""
    db.execute(
        "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.group,
            row.position.timeline,
            row.position.seq,
            row.epoch,
            row.kind,
            row.sender,
            row.send_id,
            message,
            row.chain,
            row.time,
        ),
    )


def row_chain(db: Database, group_id: bytes, position: Position) -> bytes | None:
    row = db.execute(
        "SELECT chain FROM rows WHERE group_id = ? AND timeline = ? AND seq = ?",
        (group_id, position.timeline, position.seq),
    ).fetchone()
    return None if row is None else row[0]


def kept_row(db: Database, group_id: bytes, timeline: int, seq: int) -> bytes | None:
    """A row's payload, within the repair window."""
    row = db.execute(
        "SELECT message FROM rows WHERE group_id = ? AND timeline = ? AND seq = ?",
        (group_id, timeline, seq),
    ).fetchone()
    return None if row is None else row[0]


def kept_before(db: Database, row: Row, message: bytes) -> bool:
    """Whether an earlier row of the group, within the repair window, has the same payload."""
    found = db.execute(
        """SELECT 1 FROM rows WHERE group_id = ? AND kind = ? AND message = ?
             AND (timeline, seq) < (?, ?) LIMIT 1""",
        (row.group, row.kind, message, row.position.timeline, row.position.seq),
    ).fetchone()
    return found is not None


def chain_known(db: Database, conversation_id: bytes, chain: bytes) -> bool:
    """Whether a row of any of the conversation's groups has this chain hash."""
    row = db.execute(
        """SELECT 1 FROM rows JOIN groups USING (group_id)
           WHERE conversation_id = ? AND rows.chain = ? LIMIT 1""",
        (conversation_id, chain),
    ).fetchone()
    return row is not None


def forget_rows(db: Database, before: int) -> None:
    db.execute("DELETE FROM rows WHERE time < ?", (before,))


def put_aside(db: Database, row: Row, message: bytes, reason: str) -> None:
    """A row that cannot be processed, with its bytes."""
    db.execute(
        "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.group,
            row.position.timeline,
            row.position.seq,
            row.sender,
            row.kind,
            message,
            reason,
            row.time,
        ),
    )


def unread_rows(db: Database, group_id: bytes, until: int) -> int:
    """Messages up to a row that this device had no state to read; later ones can be read now."""
    reasons = "reason IN ('no-state', 'state-unreadable')"
    db.execute(
        f"DELETE FROM quarantine WHERE group_id = ? AND seq > ? AND {reasons}", (group_id, until)
    )
    row = db.execute(
        f"SELECT count(*) FROM quarantine WHERE group_id = ? AND kind = 'application' AND {reasons}",
        (group_id,),
    ).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row in quarantine."""

    group_id: bytes
    seq: int
    sender: bytes
    kind: str
    message: bytes = field(repr=False)
    reason: str
    time: int


def set_aside(db: Database, conversation_id: bytes | None = None) -> list[SetAside]:
    rows = db.execute(
        """SELECT q.group_id, q.seq, q.sender, q.kind, q.message, q.reason, q.time
           FROM quarantine AS q LEFT JOIN groups AS g USING (group_id)
           WHERE ? IS NULL OR g.conversation_id = ? ORDER BY q.time, q.seq""",
        (conversation_id, conversation_id),
    ).fetchall()
    return [SetAside(*row) for row in rows]
