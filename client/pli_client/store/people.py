"""Everybody ever seen, from verified certificates only."""

from dataclasses import dataclass
from typing import NamedTuple

from pli_protocol.identity import Device, Person

from ..vault import Database, Row


class Account(NamedTuple):
    """An account and the establishment in which it is one (16 bytes each)."""

    establishment: bytes
    account: bytes


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person or a bot as an issuer signed it; the texts are safe to display."""

    person_id: bytes
    account: bytes
    name: str
    profession: str
    rpps: str | None
    kind: str
    identity_key: bytes
    establishment: bytes
    verified: bool
    revoked: bool
    outside: str | None = None
    """The name of the partner establishment that this person is of, as one's own authority signed it;
    None: a colleague of one's own."""

    @property
    def shown(self) -> str:
        """The name, with the establishment of somebody from outside."""
        return self.name if self.outside is None else f"{self.name} ({self.outside})"

    @property
    def address(self) -> Account:
        return Account(self.establishment, self.account)


_COLUMNS = """person_id, account, name, profession, rpps, kind, identity_key, establishment,
    verified_at IS NOT NULL, revoked_at IS NOT NULL,
    (SELECT e.name FROM establishments AS e
     WHERE own = 0 AND substr(fingerprint, 1, 16) = people.establishment)"""


def _known(row: Row) -> KnownPerson:
    return KnownPerson(*(*row[:8], bool(row[8]), bool(row[9]), row[10]))


def remember_person(
    db: Database, person: Person, issuer: bytes, now: int, *, in_directory: bool = False
) -> None:
    """Insert or refresh; name and profession follow the newest certificate."""
    db.execute(
        """INSERT INTO people (person_id, account, establishment, name, profession, rpps, kind,
               identity_key, certificate, issuer, first_seen_at, in_directory)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (person_id) DO UPDATE SET
               name = excluded.name, profession = excluded.profession, rpps = excluded.rpps,
               certificate = excluded.certificate, issuer = excluded.issuer,
               in_directory = max(in_directory, excluded.in_directory)""",
        (
            person.person_id,
            person.account,
            person.establishment,
            person.name,
            person.profession,
            person.rpps,
            person.kind,
            person.identity_key,
            person.certificate,
            issuer,
            now,
            int(in_directory),
        ),
    )


def remember_device(db: Database, device: Device, now: int) -> None:
    """The device and its person."""
    known = db.execute(
        "SELECT certificate FROM devices WHERE device_id = ?", (device.device_id,)
    ).fetchone()
    if known is not None and known[0] == device.chain[0]:
        return
    remember_person(db, device.person, device.chain[2], now)
    db.execute(
        """INSERT INTO devices VALUES (?, ?, ?, ?, ?) ON CONFLICT (device_id) DO UPDATE SET
               certificate = excluded.certificate, not_after = excluded.not_after""",
        (device.device_id, device.person.person_id, device.chain[0], device.not_after, now),
    )


def device_chain(db: Database, device_id: bytes) -> tuple[bytes, bytes, bytes] | None:
    """(device, person, issuer) certificates, as they were seen last."""
    row = db.execute(
        """SELECT d.certificate, p.certificate, p.issuer
           FROM devices AS d JOIN people AS p USING (person_id) WHERE device_id = ?""",
        (device_id,),
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def person_chain(db: Database, person_id: bytes) -> tuple[bytes, bytes] | None:
    """(person, issuer) certificates, as they were seen last."""
    row = db.execute(
        "SELECT certificate, issuer FROM people WHERE person_id = ?", (person_id,)
    ).fetchone()
    return None if row is None else (row[0], row[1])


def counting_chains(db: Database) -> list[tuple[bytes, bytes, bytes]]:
    """(person id, certificate, issuer) of everybody who is not known to be revoked."""
    rows = db.execute(
        "SELECT person_id, certificate, issuer FROM people WHERE revoked_at IS NULL"
    ).fetchall()
    return [(row[0], row[1], row[2]) for row in rows]


def person_of_device(db: Database, device_id: bytes) -> bytes | None:
    row = db.execute("SELECT person_id FROM devices WHERE device_id = ?", (device_id,)).fetchone()
    return None if row is None else row[0]


def read_person(db: Database, person_id: bytes) -> KnownPerson | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM people WHERE person_id = ?", (person_id,)).fetchone()
    return None if row is None else _known(row)


def all_people(db: Database) -> list[KnownPerson]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM people ORDER BY name, person_id").fetchall()
    return [_known(row) for row in rows]


def of_establishment(db: Database, establishment: bytes) -> list[KnownPerson]:
    """People of one establishment who do not count as revoked; by name."""
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM people WHERE establishment = ? AND revoked_at IS NULL
            ORDER BY name, person_id""",
        (establishment,),
    ).fetchall()
    return [_known(row) for row in rows]


def bots(db: Database) -> list[KnownPerson]:
    """Bots of one's own establishment that count, the one known longest first."""
    rows = db.execute(
        f"""SELECT {_COLUMNS} FROM people WHERE kind = 'bot' AND revoked_at IS NULL
              AND establishment =
                  (SELECT substr(fingerprint, 1, 16) FROM establishments WHERE own = 1)
            ORDER BY first_seen_at, person_id"""
    ).fetchall()
    return [_known(row) for row in rows]


def mark_verified(db: Database, person_id: bytes, now: int | None) -> None:
    db.execute("UPDATE people SET verified_at = ? WHERE person_id = ?", (now, person_id))


def mark_revoked(db: Database, establishment: bytes, person_id: bytes, at: int) -> None:
    """Somebody of the establishment that says so; nobody of another."""
    db.execute(
        """UPDATE people SET revoked_at = coalesce(revoked_at, ?)
           WHERE person_id = ? AND establishment = ?""",
        (at, person_id, establishment),
    )


def chains(db: Database, device_ids: list[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    """The certificates (device, person, issuer) of those devices that are known."""
    found = []
    for device_id in device_ids:
        row = db.execute(
            """SELECT devices.certificate, people.certificate, people.issuer
               FROM devices JOIN people USING (person_id) WHERE device_id = ?""",
            (device_id,),
        ).fetchone()
        if row is not None:
            found.append((row[0], row[1], row[2]))
    return found


def count_again(db: Database, person_id: bytes) -> None:
    """Whose issuer was revoked was signed anew by another."""
    db.execute("UPDATE people SET revoked_at = NULL WHERE person_id = ?", (person_id,))
