"""Key packages of ours whose private keys are still needed."""

from dataclasses import dataclass, field

from ..vault import Database


@dataclass(frozen=True, slots=True)
class KeyPackageRow:
    reference: bytes
    key_package: bytes
    secrets: bytes = field(repr=False)
    last_resort: bool
    not_after: int


def add(db: Database, row: KeyPackageRow, now: int, *, published: bool = False) -> None:
    db.execute(
        "INSERT INTO key_packages VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            row.reference,
            row.key_package,
            row.secrets,
            int(row.last_resort),
            row.not_after,
            int(published),
            now,
        ),
    )


def find(db: Database, reference: bytes) -> KeyPackageRow | None:
    row = db.execute(
        """SELECT reference, key_package, secrets, last_resort, not_after FROM key_packages
           WHERE reference = ?""",
        (reference,),
    ).fetchone()
    return None if row is None else KeyPackageRow(*(*row[:3], bool(row[3]), row[4]))


def delete(db: Database, reference: bytes) -> None:
    db.execute("DELETE FROM key_packages WHERE reference = ?", (reference,))


def delete_expired(db: Database, now_s: int) -> None:
    db.execute("DELETE FROM key_packages WHERE not_after < ?", (now_s,))


def unpublished(db: Database) -> list[KeyPackageRow]:
    rows = db.execute(
        """SELECT reference, key_package, secrets, last_resort, not_after FROM key_packages
           WHERE published = 0"""
    ).fetchall()
    return [KeyPackageRow(*(*row[:3], bool(row[3]), row[4])) for row in rows]


def mark_published(db: Database, references: list[bytes]) -> None:
    db.executemany(
        "UPDATE key_packages SET published = 1 WHERE reference = ?",
        [(reference,) for reference in references],
    )


def mark_used(db: Database, reference: bytes) -> None:
    """One of last resort was used: it may be again, by who had fetched it, but another takes its place."""
    db.execute("UPDATE key_packages SET published = 2 WHERE reference = ?", (reference,))


def newest_last_resort(db: Database) -> int | None:
    """When the newest published and unused last-resort package ends (Unix seconds)."""
    row = db.execute(
        "SELECT max(not_after) FROM key_packages WHERE last_resort = 1 AND published = 1"
    ).fetchone()
    return None if row is None else row[0]
