"""The state of MLS groups as named entries, the public side of epochs, commits that wait."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from pli_protocol.mls.group import Group
from pli_protocol.secret import Secret

from ..vault import Database


@dataclass(frozen=True, slots=True)
class PendingCommit:
    group_id: bytes
    send_id: bytes
    epoch: int
    message: bytes = field(repr=False)
    welcome: bytes | None = field(repr=False)
    changes: bytes = field(repr=False)
    """What it will change in the entries; see `encode_changes`. Secret."""
    roster: bytes
    intent: bytes
    previous: bytes | None
    creates: bool


def read_entries(db: Database, group_id: bytes) -> dict[str, bytes]:
    rows = db.execute("SELECT key, value FROM mls_state WHERE group_id = ?", (group_id,)).fetchall()
    return {row[0]: Secret(row[1]) for row in rows}


def write_entries(db: Database, group_id: bytes, changes: Mapping[str, bytes | None]) -> None:
    db.executemany(
        "DELETE FROM mls_state WHERE group_id = ? AND key = ?",
        [(group_id, key) for key, value in changes.items() if value is None],
    )
    db.executemany(
        # In its place: REPLACE would add a row at the table's end and leave a hole.
        """INSERT INTO mls_state VALUES (?, ?, ?)
           ON CONFLICT (group_id, key) DO UPDATE SET value = excluded.value""",
        [(group_id, key, value) for key, value in changes.items() if value is not None],
    )


def epoch_since(db: Database, group_id: bytes, epoch: int) -> int | None:
    """When this device entered the epoch (milliseconds)."""
    row = db.execute(
        "SELECT since FROM epochs WHERE group_id = ? AND epoch = ?", (group_id, epoch)
    ).fetchone()
    return None if row is None else row[0]


def past_epochs(db: Database) -> dict[bytes, set[int]]:
    """The past epochs of which keys are held, by group."""
    found: dict[bytes, set[int]] = {}
    for group_id, epoch in db.execute(
        """SELECT group_id, CAST(substr(key, 6) AS INTEGER) FROM mls_state
           WHERE key >= 'past/' AND key < 'past0'"""
    ).fetchall():
        found.setdefault(group_id, set()).add(epoch)
    return found


def epochs_ended(db: Database, group_id: bytes, after: int, before: int) -> set[int]:
    """Epochs that this device left between two times (milliseconds): it then entered the next."""
    rows = db.execute(
        "SELECT epoch - 1 FROM epochs WHERE group_id = ? AND since BETWEEN ? AND ?",
        (group_id, after, before),
    ).fetchall()
    return {row[0] for row in rows}


def delete_entries(db: Database, group_id: bytes) -> None:
    db.execute("DELETE FROM mls_state WHERE group_id = ?", (group_id,))


def add_epoch(
    db: Database, group_id: bytes, epoch: int, context: bytes, authenticator: bytes, now: int
) -> None:
    db.execute(
        "INSERT OR IGNORE INTO epochs VALUES (?, ?, ?, ?, ?)",
        (group_id, epoch, context, authenticator, now),
    )


def epoch_context(db: Database, group_id: bytes, epoch: int) -> bytes | None:
    row = db.execute(
        "SELECT context FROM epochs WHERE group_id = ? AND epoch = ?", (group_id, epoch)
    ).fetchone()
    return None if row is None else row[0]


def newest_context(db: Database, group_id: bytes) -> bytes | None:
    """The GroupContext of the last epoch that this device was in."""
    row = db.execute(
        "SELECT context FROM epochs WHERE group_id = ? ORDER BY epoch DESC LIMIT 1", (group_id,)
    ).fetchone()
    return None if row is None else row[0]


# --- pending commits --------------------------------------------------------------------------


def add_pending(db: Database, pending: PendingCommit, now: int) -> None:
    db.execute(
        "INSERT INTO pending_commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            pending.group_id,
            pending.send_id,
            pending.epoch,
            pending.message,
            pending.welcome,
            pending.changes,
            pending.roster,
            pending.intent,
            pending.previous,
            int(pending.creates),
            now,
        ),
    )


def pending(db: Database, group_id: bytes) -> PendingCommit | None:
    row = db.execute(
        """SELECT group_id, send_id, epoch, message, welcome, entries, roster, intent, previous,
               creates FROM pending_commits WHERE group_id = ?""",
        (group_id,),
    ).fetchone()
    if row is None:
        return None
    row = (*row[:5], Secret(row[5]), *row[6:9], bool(row[9]))
    return PendingCommit(*row)


def drop_pending(db: Database, group_id: bytes) -> None:
    db.execute("DELETE FROM pending_commits WHERE group_id = ?", (group_id,))


def encode_changes(changes: Mapping[str, bytes | None]) -> bytes:
    """What a commit of ours will change in the stored entries; a few of them, however large the group.

    [2, {name: entry or nil}] in MessagePack. The first Pli stored {name: entry}, all entries of the
    next epoch.
    """
    plain = {name: None if data is None else bytes(data) for name, data in changes.items()}
    return Secret(msgspec.msgpack.encode((2, plain)))


def following(current: Group, changes: bytes) -> Group:
    """The next epoch's value, of stored changes in either form. Raises MLSError, or ValueError."""
    read = msgspec.msgpack.decode(
        changes, type=dict[str, bytes] | tuple[Literal[2], dict[str, bytes | None]]
    )
    if isinstance(read, dict):
        entries = {name: Secret(data) for name, data in read.items()}
        return Group.from_entries(entries, current.signer)
    given = {name: None if data is None else Secret(data) for name, data in read[1].items()}
    return current.following(given)
