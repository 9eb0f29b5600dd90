"""What is kept to mend a relay that was restored from a backup, and how far that has come."""

from dataclasses import dataclass, field
from typing import Final

from pli_protocol.relay.frames import Position

from ..vault import Database
from .device import read_meta, write_meta

_KEY: Final = "relay timeline"


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A row of table rows."""

    seq: int
    epoch: int
    kind: str
    sender: bytes
    send_id: bytes
    message: bytes = field(repr=False)
    chain: bytes
    time: int


def relay_timeline(db: Database) -> int:
    """The relay's newest timeline for which everything was brought."""
    noted = read_meta(db, _KEY)
    if noted is not None:
        return int(noted)
    row = db.execute("SELECT max(timeline) FROM groups").fetchone()
    return int(row[0] or 0) if row else 0


def note_timeline(db: Database, timeline: int) -> None:
    write_meta(db, _KEY, str(timeline).encode())


def rows_after(db: Database, group_id: bytes, timeline: int, seq: int, limit: int) -> list[KeptRow]:
    """Kept rows of a timeline after a seq, in order, as many as follow one another."""
    rows = db.execute(
        """SELECT seq, epoch, kind, sender, send_id, message, chain, time FROM rows
           WHERE group_id = ? AND timeline = ? AND seq > ? ORDER BY seq LIMIT ?""",
        (group_id, timeline, seq, limit),
    ).fetchall()
    found: list[KeptRow] = []
    for row in rows:
        if found and row[0] != found[-1].seq + 1:
            break
        found.append(KeptRow(*row))
    return found


def timelines(db: Database, group_id: bytes) -> list[int]:
    """The timelines of which rows are kept, the oldest first."""
    rows = db.execute(
        "SELECT DISTINCT timeline FROM rows WHERE group_id = ? ORDER BY timeline", (group_id,)
    ).fetchall()
    return [row[0] for row in rows]


def commits_kept(db: Database, group_id: bytes, sender: bytes, send_id: bytes) -> int:
    """In how many places of the logs this very commit was read."""
    row = db.execute(
        """SELECT count(*) FROM rows WHERE group_id = ? AND kind = 'commit' AND sender = ?
             AND send_id = ?""",
        (group_id, sender, send_id),
    ).fetchone()
    return int(row[0]) if row else 0


def old_log(db: Database, group_id: bytes, timeline: int) -> tuple[int, bytes] | None:
    """(next seq, chain before it) of an older timeline; None: this device was not there then."""
    row = db.execute(
        "SELECT next_seq, chain FROM old_logs WHERE group_id = ? AND timeline = ?",
        (group_id, timeline),
    ).fetchone()
    return None if row is None else (row[0], row[1])


def write_old_log(
    db: Database, group_id: bytes, timeline: int, next_seq: int, chain: bytes
) -> None:
    db.execute(
        "INSERT OR REPLACE INTO old_logs VALUES (?, ?, ?, ?)", (group_id, timeline, next_seq, chain)
    )


def has_old_log(db: Database, group_id: bytes) -> bool:
    """Whether the group has lived in more than one timeline."""
    row = db.execute("SELECT 1 FROM old_logs WHERE group_id = ? LIMIT 1", (group_id,)).fetchone()
    return row is not None


def mended(db: Database, group_id: bytes) -> int:
    """The newest timeline for which the group was mended; 0: none."""
    row = db.execute("SELECT timeline FROM mended WHERE group_id = ?", (group_id,)).fetchone()
    return 0 if row is None else int(row[0])


def set_mended(db: Database, group_id: bytes, timeline: int) -> None:
    db.execute("INSERT OR REPLACE INTO mended VALUES (?, ?)", (group_id, timeline))


def keep_welcome(
    db: Database, group_id: bytes, position: Position, welcome: bytes, time: int
) -> None:
    db.execute(
        "INSERT OR REPLACE INTO sent_welcomes VALUES (?, ?, ?, ?, ?)",
        (group_id, position.timeline, position.seq, welcome, time),
    )


def welcomes(db: Database, group_id: bytes) -> list[tuple[Position, bytes]]:
    """The Welcomes of this device's commits, by the commits' positions."""
    rows = db.execute(
        "SELECT timeline, seq, welcome FROM sent_welcomes WHERE group_id = ? ORDER BY timeline, seq",
        (group_id,),
    ).fetchall()
    return [(Position(row[0], row[1]), row[2]) for row in rows]


def note_sealed_again(
    db: Database, group_id: bytes, send_id: bytes, message_id: bytes, at: int
) -> None:
    db.execute(
        "INSERT OR REPLACE INTO sealed_again VALUES (?, ?, ?, ?)",
        (group_id, send_id, message_id, at),
    )


def sealed_again(db: Database, group_id: bytes, send_id: bytes) -> bytes | None:
    """The message of an own send that was sealed again under another id."""
    row = db.execute(
        "SELECT message_id FROM sealed_again WHERE group_id = ? AND send_id = ?",
        (group_id, send_id),
    ).fetchone()
    return None if row is None else row[0]


def own_message_at(db: Database, group_id: bytes, timeline: int, seq: int) -> bytes | None:
    """The own message that the log had at a position."""
    row = db.execute(
        """SELECT message_id FROM messages WHERE group_id = ? AND timeline = ? AND seq = ?
             AND state = 'stored' AND kind != 'members'""",
        (group_id, timeline, seq),
    ).fetchone()
    return None if row is None else row[0]


def forget(db: Database, before: int, longest: int) -> None:
    """Drop what is older than the repair window, and ids of sends older than `longest`."""
    db.execute("DELETE FROM sent_welcomes WHERE time < ?", (before,))
    db.execute("DELETE FROM sealed_again WHERE at < ?", (longest,))
