"""The relay's audit log as this vault was shown it: its key, the newest heads, contradictions."""

from dataclasses import dataclass
from typing import Final

import msgspec

from pli_protocol.transparency import SignedHead

from ..vault import Database

MOST_EVIDENCE: Final = 100
"""Contradictions kept: a relay that contradicts itself for ever fills no vault."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two things that an honest relay does not both say; kept with its signatures."""

    number: int
    reason: str
    """another-key, signature, forked, truncated, inconsistent, refused, set-back."""
    ours: SignedHead | None
    other: SignedHead
    by: bytes | None
    """The person whose message carried `other`; None: the relay itself showed it."""
    time: int
    """Milliseconds since 1970, by this computer's clock."""


def read_key(db: Database) -> tuple[str, bytes] | None:
    """The relay's name and the key that signs its heads, as pinned at first sight."""
    row = db.execute("SELECT relay, key FROM log_key").fetchone()
    return None if row is None else (row[0], row[1])


def pin_key(db: Database, relay: str, key: bytes, now: int) -> None:
    db.execute("INSERT INTO log_key VALUES (?, ?, ?)", (relay, key, now))


def head_of(db: Database, timeline: int) -> SignedHead | None:
    """The newest head of a timeline that was proven to follow all before it."""
    row = db.execute("SELECT head FROM log_heads WHERE timeline = ?", (timeline,)).fetchone()
    return None if row is None else _read(row[0])


def heads(db: Database) -> list[SignedHead]:
    """One for each timeline, the newest timeline first."""
    rows = db.execute("SELECT head FROM log_heads ORDER BY timeline DESC").fetchall()
    return [_read(row[0]) for row in rows]


def newest(db: Database) -> SignedHead | None:
    row = db.execute("SELECT head FROM log_heads ORDER BY timeline DESC LIMIT 1").fetchone()
    return None if row is None else _read(row[0])


def keep(db: Database, signed: SignedHead) -> None:
    db.execute(
        "INSERT OR REPLACE INTO log_heads VALUES (?, ?)",
        (signed.head.timeline, msgspec.msgpack.encode(signed)),
    )


def to_tell(db: Database, conversation_id: bytes) -> SignedHead | None:
    """The newest head, where this conversation was not told it yet; it counts as told from now on."""
    signed = newest(db)
    if signed is None:
        return None
    place = (signed.head.timeline, signed.head.size)
    row = db.execute(
        "SELECT timeline, size FROM log_heads_told WHERE conversation_id = ?", (conversation_id,)
    ).fetchone()
    if row is not None and tuple(row) == place:
        return None
    db.execute("INSERT OR REPLACE INTO log_heads_told VALUES (?, ?, ?)", (conversation_id, *place))
    return signed


def add_contradiction(
    db: Database,
    reason: str,
    ours: SignedHead | None,
    other: SignedHead,
    by: bytes | None,
    now: int,
) -> None:
    """Keep the evidence; the first ones stay, since they say most."""
    if len(contradictions(db)) >= MOST_EVIDENCE:
        return
    kept = None if ours is None else msgspec.msgpack.encode(ours)
    db.execute(
        "INSERT INTO log_evidence (reason, ours, other, by, at) VALUES (?, ?, ?, ?, ?)",
        (reason, kept, msgspec.msgpack.encode(other), by, now),
    )


def contradictions(db: Database) -> list[Contradiction]:
    """All that are kept, the oldest first."""
    rows = db.execute("SELECT id, reason, ours, other, by, at FROM log_evidence ORDER BY id")
    return [
        Contradiction(
            row[0],
            row[1],
            None if row[2] is None else _read(row[2]),
            _read(row[3]),
            row[4],
            row[5],
        )
        for row in rows.fetchall()
    ]


def _read(data: bytes) -> SignedHead:
    return msgspec.msgpack.decode(data, type=SignedHead)
