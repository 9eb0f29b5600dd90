"""Bringing a vault's tables up to date: forwards only, one transaction per step, PRAGMA user_version."""

from ..errors import VaultTooNew
from .database import Connection
from .schema import MIGRATIONS

SCHEMA_VERSION = len(MIGRATIONS)


def migrate(connection: Connection) -> int:
    """Apply the steps that this vault lacks; returns the version that it had.

    Raises:
        VaultTooNew: a newer Pli wrote it. Nothing was changed.
    """
    row = connection.execute("PRAGMA user_version").fetchone()
    found = row[0] if row else 0
    if found > SCHEMA_VERSION:
        raise VaultTooNew(found=found, known=SCHEMA_VERSION)
    for version in range(found + 1, SCHEMA_VERSION + 1):
        _step(connection, version)
    return int(found)


def _step(connection: Connection, version: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in MIGRATIONS[version - 1]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
