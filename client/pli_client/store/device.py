"""This device, its establishment, what is known of revocations, small settings."""

from dataclasses import dataclass, field

import msgspec

from pli_protocol.identity import SigningKey, Trust
from pli_protocol.secret import Secret

from ..vault import Database


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """The row of table device, once enrolment is complete."""

    relay_url: str
    relay_name: str | None
    ca: str | None
    proxy: str | None = field(repr=False)
    """Its URL may hold a password."""
    authority: bytes
    account: bytes
    device_id: bytes
    identity: SigningKey = field(repr=False)
    key: SigningKey = field(repr=False)
    chain: tuple[bytes, bytes, bytes] = field(repr=False)


def read_device(db: Database) -> DeviceRow | None:
    """None while the vault's person is not enrolled."""
    row = db.execute(
        """SELECT relay_url, relay_name, ca_file, proxy, authority, account, device_id,
               identity_key, signature_key, chain
           FROM device JOIN establishments ON fingerprint = establishment
           WHERE chain IS NOT NULL"""
    ).fetchone()
    if row is None:
        return None
    row = (*row[:7], Secret(row[7]), Secret(row[8]), row[9])
    chain = msgspec.msgpack.decode(row[9], type=tuple[bytes, bytes, bytes])
    identity, key = (SigningKey.from_seed(seed) for seed in row[7:9])
    return DeviceRow(*(*row[:7], identity, key, chain))


def read_token(db: Database) -> Secret | None:
    row = db.execute("SELECT token FROM device").fetchone()
    return None if row is None or row[0] is None else Secret(row[0])


def write_token(db: Database, token: bytes) -> None:
    db.execute("UPDATE device SET token = ?", (bytes(token),))


def write_chain(db: Database, chain: tuple[bytes, bytes, bytes]) -> None:
    """A newer chain for the same keys."""
    db.execute("UPDATE device SET chain = ?", (msgspec.msgpack.encode(chain),))


def write_relay_name(db: Database, name: str) -> None:
    db.execute("UPDATE device SET relay_name = ?", (name,))


def read_trust(db: Database, authority: bytes) -> Trust:
    """The trust of this establishment as the vault knows it. Raises IdentityError."""
    partners = db.execute(
        """SELECT partner_statement, authority FROM establishments
           WHERE own = 0 AND partner_statement IS NOT NULL"""
    ).fetchall()
    lists = db.execute(
        """SELECT statement FROM revocation_lists AS r
           WHERE number = (SELECT max(number) FROM revocation_lists
                           WHERE establishment = r.establishment)"""
    ).fetchall()
    own = db.execute("SELECT statement FROM device_revocations").fetchall()
    replaced = db.execute("SELECT statement FROM replacements ORDER BY seen_at").fetchall()
    return Trust(
        authority,
        partners=[(row[0], row[1]) for row in partners],
        revocations=[row[0] for row in lists],
        device_revocations=[row[0] for row in own],
        replacements=[row[0] for row in replaced],
        authority_changes=accepted_authority_changes(db),
    )


def add_revocations(
    db: Database, establishment: bytes, number: int, digest: bytes, data: bytes
) -> None:
    db.execute(
        "INSERT OR IGNORE INTO revocation_lists VALUES (?, ?, ?, ?)",
        (establishment, number, digest, data),
    )


def add_device_revocation(
    db: Database, device_id: bytes, person_id: bytes, statement: bytes, now: int
) -> bool:
    """Keep a person's own statement, the newest about a device; whether it is another than before.

    Anybody may name anybody's device: nobody's word takes the place of another person's.
    """
    known = db.execute(
        "SELECT statement FROM device_revocations WHERE person_id = ? AND device_id = ?",
        (person_id, device_id),
    ).fetchone()
    if known is not None and known[0] == statement:
        return False
    db.execute(
        "INSERT OR REPLACE INTO device_revocations VALUES (?, ?, ?, ?)",
        (person_id, device_id, statement, now),
    )
    return True


def add_replacement(
    db: Database, replaced: bytes, successor: bytes, account: bytes, statement: bytes, now: int
) -> bool:
    """Keep the statement that one person follows another; whether it is new."""
    cursor = db.execute(
        "INSERT OR IGNORE INTO replacements VALUES (?, ?, ?, ?, ?)",
        (replaced, successor, account, statement, now),
    )
    return cursor.rowcount > 0


def newest_list(db: Database, establishment: bytes) -> bytes | None:
    """The newest revocation list that is known of an establishment."""
    row = db.execute(
        """SELECT statement FROM revocation_lists WHERE establishment = ?
           ORDER BY number DESC LIMIT 1""",
        (establishment,),
    ).fetchone()
    return None if row is None else row[0]


def add_authority_change(
    db: Database, number: int, change: bytes, now: int, *, accepted: bool = False
) -> bool:
    """Keep a change of authority; whether it is new. It counts once its person has accepted it."""
    cursor = db.execute(
        "INSERT OR IGNORE INTO authority_changes VALUES (?, ?, ?, ?)",
        (number, change, now, now if accepted else None),
    )
    return cursor.rowcount > 0


def accepted_authority_changes(db: Database) -> list[bytes]:
    """Those that count here, in their order."""
    changes = db.execute(
        "SELECT change FROM authority_changes WHERE accepted_at IS NOT NULL ORDER BY number"
    )
    return [row[0] for row in changes]


def pending_authority_change(db: Database) -> tuple[int, bytes] | None:
    """(number, change) of the first that its person was not asked about yet; None: there is none."""
    row = db.execute(
        """SELECT number, change FROM authority_changes WHERE accepted_at IS NULL
           ORDER BY number LIMIT 1"""
    ).fetchone()
    return None if row is None else (row[0], row[1])


def accept_authority_change(db: Database, number: int, now: int) -> None:
    db.execute("UPDATE authority_changes SET accepted_at = ? WHERE number = ?", (now, number))


def read_meta(db: Database, key: str) -> bytes | None:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def write_meta(db: Database, key: str, value: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
