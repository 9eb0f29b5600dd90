"""MLS groups: their place in the relay's log, their members, and who asks to come back."""

from dataclasses import dataclass

from pli_protocol.relay.frames import Position

from ..vault import Database


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A row of table groups."""

    group_id: bytes
    conversation_id: bytes
    state: str
    generation: int
    timeline: int
    next_seq: int
    chain: bytes
    epoch: int
    predecessor: bytes | None
    successor: bytes | None
    last_send: bytes | None
    last_send_seq: int
    leaf_renewed_at: int
    detail: str
    trouble_at: int | None
    trouble_seq: int | None
    culprit: bytes | None
    asked_at: int | None


@dataclass(frozen=True, slots=True)
class MemberRow:
    leaf: int
    device_id: bytes
    person_id: bytes
    joined_epoch: int
    leaving: bool


@dataclass(frozen=True, slots=True)
class ReturnRow:
    device_id: bytes
    person_id: bytes
    key_package: bytes
    seq: int
    due_at: int


_COLUMNS = """group_id, conversation_id, state, generation, timeline, next_seq, chain, epoch,
    predecessor, successor, last_send, last_send_seq, leaf_renewed_at, detail, trouble_at,
    trouble_seq, culprit, asked_at"""


def add(
    db: Database,
    group_id: bytes,
    conversation_id: bytes,
    state: str,
    *,
    generation: int,
    position: Position,
    chain: bytes,
    epoch: int,
    predecessor: bytes | None,
    now: int,
) -> None:
    """A new group, or one entered again: what was known of its place in the log is replaced."""
    db.execute(
        """INSERT INTO groups (group_id, conversation_id, state, generation, timeline, next_seq,
               chain, epoch, predecessor, leaf_renewed_at, created_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (group_id) DO UPDATE SET
               state = excluded.state, timeline = excluded.timeline,
               next_seq = excluded.next_seq, chain = excluded.chain, epoch = excluded.epoch,
               last_send = NULL, last_send_seq = 0, leaf_renewed_at = excluded.leaf_renewed_at,
               detail = '', trouble_at = NULL, trouble_seq = NULL, culprit = NULL,
               asked_at = NULL""",
        (
            group_id,
            conversation_id,
            state,
            generation,
            position.timeline,
            position.seq + 1,
            chain,
            epoch,
            predecessor,
            now,
            now,
        ),
    )


def read(db: Database, group_id: bytes) -> GroupRow | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM groups WHERE group_id = ?", (group_id,)).fetchone()
    return None if row is None else GroupRow(*row)


def of_conversation(db: Database, conversation_id: bytes) -> list[GroupRow]:
    """The conversation's groups, the newest first."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM groups WHERE conversation_id = ? ORDER BY generation DESC, "
        "created_at DESC",
        (conversation_id,),
    ).fetchall()
    return [GroupRow(*row) for row in rows]


def current(db: Database, conversation_id: bytes) -> GroupRow | None:
    """The conversation's newest group."""
    groups = of_conversation(db, conversation_id)
    return groups[0] if groups else None


def all_groups(db: Database) -> list[GroupRow]:
    return [GroupRow(*row) for row in db.execute(f"SELECT {_COLUMNS} FROM groups").fetchall()]


def advance(db: Database, group_id: bytes, next_seq: int, chain: bytes) -> None:
    """The guard: rows before `next_seq` were processed."""
    db.execute(
        "UPDATE groups SET next_seq = ?, chain = ? WHERE group_id = ?", (next_seq, chain, group_id)
    )


def set_timeline(db: Database, group_id: bytes, timeline: int) -> None:
    db.execute("UPDATE groups SET timeline = ? WHERE group_id = ?", (timeline, group_id))


def enter_timeline(
    db: Database, group_id: bytes, timeline: int, next_seq: int, chain: bytes
) -> None:
    """The log goes on in a new timeline of a restored relay."""
    db.execute(
        "UPDATE groups SET timeline = ?, next_seq = ?, chain = ? WHERE group_id = ?",
        (timeline, next_seq, chain, group_id),
    )


def set_last_send(db: Database, group_id: bytes, send_id: bytes | None) -> None:
    """What the relay holds as this device's newest send, whatever was known before."""
    db.execute(
        "UPDATE groups SET last_send = ?, last_send_seq = 0 WHERE group_id = ?", (send_id, group_id)
    )


def set_epoch(db: Database, group_id: bytes, epoch: int) -> None:
    db.execute("UPDATE groups SET epoch = ? WHERE group_id = ?", (epoch, group_id))


def set_state(db: Database, group_id: bytes, state: str, detail: str = "") -> None:
    db.execute(
        "UPDATE groups SET state = ?, detail = ? WHERE group_id = ?", (state, detail, group_id)
    )


def set_trouble(
    db: Database,
    group_id: bytes,
    state: str,
    detail: str,
    *,
    at: int,
    seq: int | None,
    culprit: bytes | None,
) -> None:
    db.execute(
        """UPDATE groups SET state = ?, detail = ?, trouble_at = ?, trouble_seq = ?, culprit = ?,
               asked_at = NULL WHERE group_id = ?""",
        (state, detail, at, seq, culprit, group_id),
    )


def set_asked(db: Database, group_id: bytes, at: int | None) -> None:
    db.execute("UPDATE groups SET asked_at = ? WHERE group_id = ?", (at, group_id))


def set_successor(db: Database, group_id: bytes, successor: bytes) -> None:
    db.execute("UPDATE groups SET successor = ? WHERE group_id = ?", (successor, group_id))


def set_renewed(db: Database, group_id: bytes, at: int) -> None:
    db.execute("UPDATE groups SET leaf_renewed_at = ? WHERE group_id = ?", (at, group_id))


def note_send(db: Database, group_id: bytes, send_id: bytes, seq: int) -> None:
    """A send of this device stands in the log at `seq`; the newest one is what the next names."""
    db.execute(
        """UPDATE groups SET last_send = ?, last_send_seq = ?
           WHERE group_id = ? AND last_send_seq < ?""",
        (send_id, seq, group_id, seq),
    )


def delete_group(db: Database, group_id: bytes) -> None:
    """A group that never came to be."""
    for table in ("returns", "pending_commits", "epochs", "mls_state", "members", "groups"):
        db.execute(f"DELETE FROM {table} WHERE group_id = ?", (group_id,))


# --- members ----------------------------------------------------------------------------------


def members(db: Database, group_id: bytes) -> list[MemberRow]:
    rows = db.execute(
        """SELECT leaf, device_id, person_id, joined_epoch, leaving FROM members
           WHERE group_id = ? ORDER BY leaf""",
        (group_id,),
    ).fetchall()
    return [MemberRow(*(*row[:4], bool(row[4]))) for row in rows]


def write_members(
    db: Database, group_id: bytes, epoch: int, leaves: list[tuple[int, bytes, bytes]]
) -> None:
    """Replace the list by (leaf, device, person) of the epoch; who stays keeps its first epoch."""
    before = {(row.leaf, row.device_id): row for row in members(db, group_id)}
    db.execute("DELETE FROM members WHERE group_id = ?", (group_id,))
    for leaf, device_id, person_id in leaves:
        old = before.get((leaf, device_id))
        db.execute(
            "INSERT INTO members VALUES (?, ?, ?, ?, ?, ?)",
            (
                group_id,
                leaf,
                device_id,
                person_id,
                old.joined_epoch if old else epoch,
                int(old.leaving) if old else 0,
            ),
        )


def mark_leaving(db: Database, group_id: bytes, person_id: bytes) -> None:
    db.execute(
        "UPDATE members SET leaving = 1 WHERE group_id = ? AND person_id = ?",
        (group_id, person_id),
    )


def drop_member(db: Database, group_id: bytes, device_id: bytes) -> None:
    db.execute("DELETE FROM members WHERE group_id = ? AND device_id = ?", (group_id, device_id))


# --- requests to return -----------------------------------------------------------------------


def add_return(db: Database, group_id: bytes, row: ReturnRow, reason: str) -> None:
    db.execute(
        "INSERT OR REPLACE INTO returns VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            group_id,
            row.device_id,
            row.person_id,
            row.key_package,
            reason,
            row.seq,
            row.due_at,
        ),
    )


def returns(db: Database, group_id: bytes) -> list[ReturnRow]:
    rows = db.execute(
        """SELECT device_id, person_id, key_package, seq, due_at FROM returns
           WHERE group_id = ? ORDER BY seq""",
        (group_id,),
    ).fetchall()
    return [ReturnRow(*row) for row in rows]


def drop_return(db: Database, group_id: bytes, device_id: bytes) -> None:
    db.execute("DELETE FROM returns WHERE group_id = ? AND device_id = ?", (group_id, device_id))


def refused_welcome(db: Database, group_id: bytes) -> str | None:
    """Why a Welcome to this group was not used."""
    row = db.execute(
        "SELECT reason FROM welcomes WHERE group_id = ? AND state = 'refused' ORDER BY time DESC",
        (group_id,),
    ).fetchone()
    return None if row is None else row[0]


def shared_with(db: Database, person_id: bytes) -> list[bytes]:
    """The conversations that go on in which this person is, or was: their removal may be known first."""
    rows = db.execute(
        """SELECT id FROM conversations AS c WHERE state IN ('starting', 'active') AND (
               EXISTS (SELECT 1 FROM groups JOIN members USING (group_id)
                       WHERE conversation_id = c.id AND person_id = ?)
               OR EXISTS (SELECT 1 FROM messages WHERE conversation_id = c.id AND (sender = ?
                       OR (kind = 'members' AND instr(content, ?) > 0))))""",
        (person_id, person_id, person_id),
    ).fetchall()
    return [row[0] for row in rows]
