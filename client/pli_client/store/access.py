"""How a vault reaches its relay: what joining or founding kept, and changing it later. Synchronous.

A vault is a professional's (table device) or an administrator's (table issuer); these columns are alike.
"""

from dataclasses import dataclass, field
from typing import Final

from ..vault import Database

_TABLES: Final = ("device", "issuer")


@dataclass(frozen=True, slots=True)
class Access:
    """The relay, and the way to it. A proxy's URL may hold a password and has no repr."""

    url: str
    name: str | None
    """None before the first connection."""
    ca: str | None
    """PEM text of the only authorities trusted; None: the system's."""
    proxy: str | None = field(repr=False)
    """None: as the environment says."""


def read_access(db: Database) -> Access | None:
    """None where nobody has joined or founded anything yet."""
    for table in _TABLES:
        row = db.execute(f"SELECT relay_url, relay_name, ca_file, proxy FROM {table}").fetchone()
        if row is not None:
            return Access(*row)
    return None


def write_access(db: Database, ca: str | None, proxy: str | None) -> None:
    """Keep another CA and proxy, for the connections that follow."""
    for table in _TABLES:
        db.execute(f"UPDATE {table} SET ca_file = ?, proxy = ?", (ca, proxy))
