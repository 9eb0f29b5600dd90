"""Which message stands in which record, who put it there or took it off, what the DUI filed."""

from dataclasses import dataclass, field

from pli_protocol.content import RecordRef

from ..vault import Database


@dataclass(frozen=True, slots=True)
class AttachmentRow:
    """A message in a record."""

    id: int
    message_id: bytes
    system: str
    record_id: str
    note_type: str | None
    attached_by: bytes
    attach_message: bytes
    attached_at: int
    detached_by: bytes | None
    detach_message: bytes | None
    detached_at: int | None
    filing: str | None
    receipt: bytes | None = field(repr=False)
    filed_at: int | None

    @property
    def record(self) -> RecordRef:
        return RecordRef(self.system, self.record_id)


_COLUMNS = """id, message_id, system, record_id, note_type, attached_by, attach_message,
    attached_at, detached_by, detach_message, detached_at, filing, receipt, filed_at"""


def attach(
    db: Database,
    message_id: bytes,
    record: RecordRef,
    note_type: str | None,
    *,
    by: bytes,
    act: bytes,
    at: int,
    filing: str | None = None,
) -> None:
    """`act` is the message that attaches: the message itself where it was written so."""
    db.execute(
        """INSERT OR IGNORE INTO records (message_id, system, record_id, note_type, attached_by,
               attach_message, attached_at, filing) VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        (message_id, record.system, record.id, note_type, by, act, at, filing),
    )


def standing(db: Database, message_id: bytes, record: RecordRef) -> list[AttachmentRow]:
    """The attachments of a message to a record that were not taken off."""
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM records WHERE message_id = ? AND system = ? AND record_id = ?
            AND detached_at IS NULL ORDER BY id""",
        (message_id, record.system, record.id),
    ).fetchall()
    return [AttachmentRow(*row) for row in rows]


def of_message(db: Database, message_id: bytes) -> list[AttachmentRow]:
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM records WHERE message_id = ? ORDER BY id", (message_id,)
    ).fetchall()
    return [AttachmentRow(*row) for row in rows]


def of_record(db: Database, record: RecordRef) -> list[AttachmentRow]:
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM records WHERE system = ? AND record_id = ? ORDER BY id",
        (record.system, record.id),
    ).fetchall()
    return [AttachmentRow(*row) for row in rows]


def system_of(db: Database, record_id: str) -> str | None:
    """The system in which a record's number was used last, or any number; None: nowhere yet."""
    row = db.execute(
        "SELECT system FROM records ORDER BY record_id = ? DESC, id DESC LIMIT 1", (record_id,)
    ).fetchone()
    return None if row is None else str(row[0])


def detach(
    db: Database,
    message_id: bytes,
    record: RecordRef,
    *,
    by: bytes,
    act: bytes,
    at: int,
    all_of_it: bool,
) -> None:
    """Take off one's own attachments, or (its author) everybody's."""
    db.execute(
        """UPDATE records SET detached_by = ?, detach_message = ?, detached_at = ?
           WHERE message_id = ? AND system = ? AND record_id = ? AND detached_at IS NULL
             AND (? OR attached_by = ?)""",
        (by, act, at, message_id, record.system, record.id, int(all_of_it), by),
    )


def object_to(
    db: Database,
    message_id: bytes,
    record: RecordRef,
    *,
    by: bytes,
    act: bytes,
    reason: str,
    at: int,
) -> None:
    db.execute(
        "INSERT OR IGNORE INTO objections VALUES (?, ?, ?, ?, ?, ?, ?)",
        (message_id, record.system, record.id, by, act, reason, at),
    )


def set_filing(
    db: Database,
    message_id: bytes,
    record: RecordRef,
    filing: str,
    *,
    receipt: bytes | None = None,
    at: int | None = None,
) -> int:
    """What the DUI did; a filing once filed stays so. How many attachments it changed."""
    return db.execute(
        """UPDATE records SET filing = ?, receipt = coalesce(?, receipt), filed_at = coalesce(?, filed_at)
           WHERE message_id = ? AND system = ? AND record_id = ? AND coalesce(filing, '') != 'filed'""",
        (filing, receipt, at, message_id, record.system, record.id),
    ).rowcount


def filing(db: Database, message_id: bytes, record: RecordRef) -> tuple[bytes, str] | None:
    """The bot's: (receipt content, document) of what it filed."""
    row = db.execute(
        """SELECT receipt, document FROM filings
           WHERE message_id = ? AND system = ? AND record_id = ?""",
        (message_id, record.system, record.id),
    ).fetchone()
    return None if row is None else (row[0], row[1])


def add_filing(
    db: Database, message_id: bytes, record: RecordRef, receipt: bytes, document: str, now: int
) -> None:
    db.execute(
        "INSERT OR IGNORE INTO filings VALUES (?, ?, ?, ?, ?, ?)",
        (message_id, record.system, record.id, receipt, document, now),
    )
