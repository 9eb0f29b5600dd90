"""Linking in the vault: this device's own request, and the devices that it linked."""

from dataclasses import dataclass, field

from pli_protocol.identity import SigningKey
from pli_protocol.identity.linking import AccountAddress
from pli_protocol.secret import Secret

from ..vault import Database


@dataclass(frozen=True, slots=True)
class Asker:
    """A device that asks to be linked."""

    address: AccountAddress
    key: SigningKey = field(repr=False)
    kem_key: Secret | None = field(repr=False)
    request: bytes | None
    ca: str | None
    proxy: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class LinkedDevice:
    """A device of one's own that has a name here."""

    device_id: bytes
    name: str
    state: str


def read_asker(db: Database) -> Asker | None:
    row = db.execute(
        "SELECT address, signature_key, kem_key, request, ca_file, proxy FROM linking"
    ).fetchone()
    if row is None:
        return None
    key = SigningKey.from_seed(row[1])
    kem = None if row[2] is None else Secret(row[2])
    return Asker(AccountAddress.parse(row[0]), key, kem, row[3], row[4], row[5])


def write_asker(db: Database, asker: Asker, now_ms: int) -> None:
    """The only one, in the place of any before."""
    db.execute(
        "INSERT OR REPLACE INTO linking VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
        (
            asker.address.text(),
            bytes(asker.key.seed),
            None if asker.kem_key is None else bytes(asker.kem_key),
            asker.request,
            asker.ca,
            asker.proxy,
            now_ms,
        ),
    )


def forget_asker(db: Database) -> None:
    db.execute("DELETE FROM linking")


def write_linked(db: Database, device_id: bytes, name: str, state: str, now_ms: int) -> None:
    db.execute(
        "INSERT OR REPLACE INTO linked_devices VALUES (?, ?, ?, ?)",
        (device_id, name, state, now_ms),
    )


def linked(db: Database) -> list[LinkedDevice]:
    rows = db.execute("SELECT device_id, name, state FROM linked_devices ORDER BY at, device_id")
    return [LinkedDevice(*row) for row in rows]


def set_known(db: Database, device_id: bytes) -> None:
    """Every conversation has been asked to add it."""
    db.execute("UPDATE linked_devices SET state = 'known' WHERE device_id = ?", (device_id,))


def conversations_of(db: Database, device_id: bytes) -> int:
    """In how many conversations a device stands, as far as this one can see."""
    row = db.execute(
        """SELECT count(DISTINCT g.conversation_id) FROM members AS m
           JOIN groups AS g USING (group_id) WHERE m.device_id = ? AND g.state = 'active'""",
        (device_id,),
    ).fetchone()
    return 0 if row is None else int(row[0])
