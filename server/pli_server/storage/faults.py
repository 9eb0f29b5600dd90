"""What an error of the database means, and how it is told to the log."""

import sqlite3
from typing import Final

import sqlalchemy as sa

# Primary result codes of SQLite.
FULL: Final = {sqlite3.SQLITE_FULL}
BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
BROKEN: Final = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
}
"""After these the file is not to be written any more."""


def result_code(error: Exception) -> int | None:
    """SQLite's primary result code, where the error is one of SQLite's."""
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    code: int | None = getattr(original, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def describe(error: BaseException) -> str:
    """An error for the log: its class and where it was raised, never its text, which may quote data."""
    original = getattr(error, "orig", None)
    name = getattr(original or error, "sqlite_errorname", None)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_globals['__name__']}:{trace.tb_lineno}"
    return f"{type(error).__name__}{f' {name}' if name else ''}{place}"
