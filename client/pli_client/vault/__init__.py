"""The vault: one encrypted SQLite file, its key under a passphrase, one process at a time."""

from .database import Cursor, Database, IntegrityError, Row
from .header import DEFAULT_KDF, Kdf, passphrase
from .vault import Vault, transaction

__all__ = [
    "DEFAULT_KDF",
    "Cursor",
    "Database",
    "IntegrityError",
    "Kdf",
    "Row",
    "Vault",
    "passphrase",
    "transaction",
]
