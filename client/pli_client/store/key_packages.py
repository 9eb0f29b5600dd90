"""Key packages of ours whose private keys are still needed."""

from dataclasses import dataclass, field
from enum import IntEnum

from pli_protocol.secret import Secret

from ..vault import Database


class Where(IntEnum):
    """Where a key package is: column `published`."""

    WAITING = 0
    """Made, to be published."""
    AT_RELAY = 1
    """Published; perhaps claimed by now."""
    OUT = 2
    """Handed to somebody, or in the stock no more: it may still be used."""


@dataclass(frozen=True, slots=True)
class KeyPackageRow:
    reference: bytes
    key_package: bytes
    secrets: bytes = field(repr=False)
    last_resort: bool
    not_after: int


def add(db: Database, row: KeyPackageRow, now: int, *, where: Where = Where.WAITING) -> None:
    db.execute(
        "INSERT INTO key_packages VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            row.reference,
            row.key_package,
            row.secrets,
            int(row.last_resort),
            row.not_after,
            int(where),
            now,
        ),
    )


def find(db: Database, reference: bytes) -> KeyPackageRow | None:
    row = db.execute(
        """SELECT reference, key_package, secrets, last_resort, not_after FROM key_packages
           WHERE reference = ?""",
        (reference,),
    ).fetchone()
    return None if row is None else _row(*row)


def delete(db: Database, reference: bytes) -> None:
    db.execute("DELETE FROM key_packages WHERE reference = ?", (reference,))


def delete_expired(db: Database, now_s: int) -> None:
    db.execute("DELETE FROM key_packages WHERE not_after < ?", (now_s,))


def unpublished(db: Database) -> list[KeyPackageRow]:
    rows = db.execute(
        """SELECT reference, key_package, secrets, last_resort, not_after FROM key_packages
           WHERE published = 0"""
    ).fetchall()
    return [_row(*row) for row in rows]


def _row(
    reference: bytes, key_package: bytes, secrets: bytes, last_resort: int, not_after: int
) -> KeyPackageRow:
    return KeyPackageRow(reference, key_package, Secret(secrets), bool(last_resort), not_after)


def mark_published(db: Database, references: list[bytes]) -> None:
    db.executemany(
        "UPDATE key_packages SET published = 1 WHERE reference = ?",
        [(reference,) for reference in references],
    )


def mark_used(db: Database, reference: bytes) -> None:
    """One of last resort was used: it may be again, by who had fetched it, but another takes its place."""
    db.execute("UPDATE key_packages SET published = 2 WHERE reference = ?", (reference,))


def newest_last_resort(db: Database, suite: int) -> int | None:
    """When the newest published and unused last-resort package of a suite ends (Unix seconds)."""
    row = db.execute(
        f"""SELECT max(not_after) FROM key_packages
            WHERE last_resort = 1 AND published = 1 AND {_SUITE} = ?""",
        (suite.to_bytes(2, "big"),),
    ).fetchone()
    return None if row is None else row[0]


# A KeyPackage begins with version and cipher suite, two bytes each (RFC 9420 §10).
_SUITE = "substr(key_package, 3, 2)"


def delete_waiting_of_others(db: Database, suite: int) -> None:
    """Those of another suite that nobody has seen."""
    db.execute(
        f"DELETE FROM key_packages WHERE published = 0 AND {_SUITE} != ?",
        (suite.to_bytes(2, "big"),),
    )


def of_others_at_relay(db: Database, suite: int) -> bool:
    """Whether some of another suite lie at the relay."""
    row = db.execute(
        f"SELECT 1 FROM key_packages WHERE published = 1 AND {_SUITE} != ? LIMIT 1",
        (suite.to_bytes(2, "big"),),
    ).fetchone()
    return row is not None


# A row of `meta`, there while what lies at the relay is to be replaced.
_OUTDATED = "key-packages-outdated"


def outdate(db: Database) -> None:
    """Those made until now bear an older certificate: others take their place at the relay."""
    db.execute("DELETE FROM key_packages WHERE published = 0")
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, x'01')", (_OUTDATED,))


def are_outdated(db: Database) -> bool:
    return db.execute("SELECT 1 FROM meta WHERE key = ?", (_OUTDATED,)).fetchone() is not None


def replaced(db: Database) -> None:
    """The relay dropped what nobody had claimed: from now on its stock is what is published now."""
    db.execute("UPDATE key_packages SET published = 2 WHERE published = 1")
    db.execute("DELETE FROM meta WHERE key = ?", (_OUTDATED,))
