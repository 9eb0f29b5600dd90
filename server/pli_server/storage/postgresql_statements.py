"""What the writer says to PostgreSQL: whole arrays, one statement for all rows of a batch."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from .database import LockedGroup

ALONE: Final = 0
"""The lock that everybody who writes by owners shares; who names none has it alone."""

_HELD: Final = """
SELECT r.sender_no, r.send_id, r.group_no, r.seq, r.chain, r.time
FROM unnest($1::bigint[], $2::bytea[]) AS v(sender_no, send_id)
JOIN rows AS r ON r.sender_no = v.sender_no AND r.send_id = v.send_id"""
_LOCK_GROUPS: Final = """
SELECT no, group_id, epoch, last, chain, successor, roster FROM groups
WHERE group_id = ANY($1::bytea[]) OR no = ANY($2::bigint[])
ORDER BY no FOR NO KEY UPDATE"""
_SENDERS: Final = """
SELECT DISTINCT m.group_no, m.device_no, m.last_send
FROM unnest($1::bigint[], $2::bigint[]) AS v(group_no, last)
JOIN rows AS r ON r.group_no = v.group_no AND r.seq > v.last
JOIN members AS m ON m.group_no = r.group_no AND m.device_no = r.sender_no"""
_INSERT_ROWS: Final = """
INSERT INTO rows
(group_no, seq, epoch, kind, sender_no, send_id, time, chain, is_blob, payload, batch)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
$6::bytea[], $7::bigint[], $8::bytea[], $9::bigint[], $10::bytea[],
$11::bigint[])"""
_MOVE_GROUPS: Final = """
UPDATE groups SET epoch = v.epoch, last = v.last, chain = v.chain, roster = v.roster
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[])
AS v(no, epoch, last, chain, roster) WHERE groups.no = v.no"""
_MOVE_SENDERS: Final = """
UPDATE members SET last_send = v.last_send
FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS v(group_no, device_no, last_send)
WHERE members.group_no = v.group_no AND members.device_no = v.device_no"""
_MOVE_CURSORS: Final = """
UPDATE members SET acked = v.acked
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS v(group_no, device_no, acked)
WHERE members.group_no = v.group_no AND members.device_no = v.device_no
AND members.acked < v.acked"""


_FIRST_TREE: Final = """
INSERT INTO trace_trees (timeline, size, frontier) VALUES ($1, 0, '\\x') ON CONFLICT DO NOTHING"""
_LOCK_TREE: Final = "SELECT size, frontier FROM trace_trees WHERE timeline = $1 FOR UPDATE"
_MOVE_TREE: Final = "UPDATE trace_trees SET size = $2, frontier = $3 WHERE timeline = $1"
_INSERT_ENTRIES: Final = """
INSERT INTO trace_entries
(timeline, no, time, kind, establishment, batch, digest, salt, body)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bytea[],
$6::bigint[], $7::bytea[], $8::bytea[], $9::bytea[])"""
_INSERT_NODES: Final = """
INSERT INTO trace_nodes (timeline, level, no, hash)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])"""


_ADD_USAGE: Final = """INSERT INTO usage (account_no, day, establishment, messages, bytes, files)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[])
ON CONFLICT (account_no, day) DO UPDATE SET messages = usage.messages + excluded.messages,
 bytes = usage.bytes + excluded.bytes, files = usage.files + excluded.files"""


class PostgreSQLStatements:
    """On one node's writing connection."""

    def __init__(self, connection: sa.Connection) -> None:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        self._run: Callable[[Callable[[Any], Awaitable[Any]]], Any] = driver.run_async

    def begin(self) -> None:
        self._execute("BEGIN ISOLATION LEVEL READ COMMITTED")

    def commit(self) -> None:
        # A transaction in which something failed says ROLLBACK to a COMMIT, and no error.
        done = self._execute("COMMIT")
        if done != "COMMIT":
            raise RuntimeError("a transaction that had failed was to be committed")

    def roll_back(self) -> None:
        self._execute("ROLLBACK")

    def lock_owners(self, owners: Collection[int], alone: bool) -> None:
        if alone:
            self._fetch("SELECT pg_advisory_xact_lock($1::bigint)", ALONE)
        elif owners:
            self._fetch("SELECT pg_advisory_xact_lock_shared($1::bigint)", ALONE)
            self._fetch(
                "SELECT pg_advisory_xact_lock(v) FROM unnest($1::bigint[]) AS v", sorted(owners)
            )

    def lock_groups(
        self, group_ids: Collection[bytes], numbers: Collection[int]
    ) -> list[LockedGroup]:
        if not group_ids and not numbers:
            return []
        found = self._fetch(_LOCK_GROUPS, list(group_ids), list(numbers))
        return [LockedGroup(*row) for row in found]

    def senders_after(
        self, groups: Sequence[tuple[int, int]]
    ) -> Iterable[tuple[int, int, bytes | None]]:
        return [tuple(row) for row in self._columns(_SENDERS, groups)]

    def held(self, keys: Sequence[tuple[int, bytes]]) -> Iterable[Sequence[Any]]:
        return self._columns(_HELD, keys)

    def insert_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._columns(_INSERT_ROWS, rows)

    def move_groups(self, groups: Sequence[tuple[int, int, int, bytes, int]]) -> None:
        self._columns(_MOVE_GROUPS, groups)

    def move_senders(self, senders: Sequence[tuple[int, int, bytes | None]]) -> None:
        self._columns(_MOVE_SENDERS, senders)

    def move_cursors(self, cursors: Sequence[tuple[int, int, int]]) -> None:
        self._columns(_MOVE_CURSORS, cursors)

    def add_usage(self, amounts: Sequence[tuple[int, int, bytes, int, int, int]]) -> None:
        self._columns(_ADD_USAGE, amounts)

    def lock_tree(self, timeline: int) -> tuple[int, bytes]:
        found = self._fetch(_LOCK_TREE, timeline)
        if not found:
            # Two nodes may begin a timeline at once: the second one waits here for the first.
            self._fetch(_FIRST_TREE, timeline)
            found = self._fetch(_LOCK_TREE, timeline)
        return found[0]["size"], found[0]["frontier"]

    def insert_entries(self, entries: Sequence[tuple[Any, ...]]) -> None:
        self._columns(_INSERT_ENTRIES, entries)

    def insert_nodes(self, nodes: Sequence[tuple[int, int, int, bytes]]) -> None:
        self._columns(_INSERT_NODES, nodes)

    def move_tree(self, timeline: int, size: int, frontier: bytes) -> None:
        self._fetch(_MOVE_TREE, timeline, size, frontier)

    def _columns(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """A statement that takes the rows as one array for each column."""
        if not rows:
            return ()
        return self._fetch(statement, *map(list, zip(*rows, strict=True)))

    def _fetch(self, statement: str, *arguments: Any) -> Sequence[Any]:
        found: Sequence[Any] = self._run(lambda raw: raw.fetch(statement, *arguments))
        return found

    def _execute(self, statement: str) -> str:
        status: str = self._run(lambda raw: raw.execute(statement))
        return status
