"""The database as parts of an archive: every table, row by row, the same for SQLite and PostgreSQL.

A dump of our own and not a copy of files: one format for both databases (so a relay can move from one to
the other), nothing plain on any disk, and bounded memory. A part is a sequence of batches, each its
length (4 bytes, big-endian) and MessagePack: first the names of the columns, then lists of rows.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from ..storage import tables as t
from .archive import DamagedArchive

PREFIX: Final = "table/"
BATCH: Final = 256
"""Rows of one batch."""

_MOST_BATCH: Final = 256 * 1024 * 1024


def begin_snapshot(connection: sa.Connection) -> None:
    """Everything that is read until the transaction ends is of one moment; writers go on beside it."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    else:
        connection.exec_driver_sql("BEGIN")
    # SQLite takes its snapshot with the first read.
    connection.execute(sa.select(t.meta.c.key).limit(1)).all()


def end_snapshot(connection: sa.Connection) -> None:
    connection.exec_driver_sql("ROLLBACK")


def table_names() -> list[str]:
    """Every table, those that others refer to first."""
    return [table.name for table in t.metadata.sorted_tables]


def dump_table(connection: sa.Connection, name: str) -> Iterator[bytes]:
    """The batches of one table, in the order of its primary key."""
    table = t.metadata.tables[name]
    key = tuple(table.primary_key.columns)
    places = [list(table.columns).index(column) for column in key]
    yield _batch([str(column.name) for column in table.columns])
    query = sa.select(table).order_by(*key).limit(BATCH)
    after = query
    while rows := [tuple(row) for row in connection.execute(after)]:
        yield _batch(rows)
        if len(rows) < BATCH:
            return
        last = sa.tuple_(
            *(sa.literal(rows[-1][i], c.type) for i, c in zip(places, key, strict=True))
        )
        after = query.where(sa.tuple_(*key) > last)


def load_table(connection: sa.Connection, name: str, data: Iterable[bytes]) -> int:
    """Fill an empty table; returns how many rows there are.

    Raises:
        DamagedArchive: not a dump of this table as the schema has it.
    """
    batches = _batches(data)
    columns = _decoded(next(batches, b""), list[str])
    table = t.metadata.tables.get(name)
    if table is None or not set(columns) <= set(table.columns.keys()):
        raise DamagedArchive("a table that this schema does not have")
    count = 0
    for batch in batches:
        rows = _decoded(batch, list[list[Any]])
        if any(len(row) != len(columns) for row in rows):
            raise DamagedArchive("a row of another width")
        connection.execute(sa.insert(table), [dict(zip(columns, row, strict=True)) for row in rows])
        count += len(rows)
    return count


def after_loading(connection: sa.Connection) -> None:
    """PostgreSQL numbers new rows by sequences, which do not see what was loaded."""
    if connection.dialect.name != "postgresql":
        return
    for table in t.metadata.sorted_tables:
        for column in table.primary_key.columns:
            if column is table.autoincrement_column:
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), "
                    f"(SELECT coalesce(max({column.name}), 0) + 1 FROM {table.name}), false)"
                )


def _batch(value: object) -> bytes:
    data = msgspec.msgpack.encode(value)
    return struct.pack(">I", len(data)) + data


def _batches(data: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in data:
        held += piece
        while len(held) >= 4:
            (length,) = struct.unpack_from(">I", held)
            if length > _MOST_BATCH:
                raise DamagedArchive("a batch of an impossible length")
            if len(held) < 4 + length:
                break
            yield bytes(held[4 : 4 + length])
            del held[: 4 + length]
    if held:
        raise DamagedArchive("a table is cut")


def _decoded(batch: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(batch, type=kind)
    except msgspec.DecodeError:
        raise DamagedArchive("a batch cannot be read") from None
