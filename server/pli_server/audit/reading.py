"""Reading the log: its tree, its nodes, the entry of a row. Only reads."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from pli_protocol.relay.frames import RowProof
from pli_protocol.transparency import (
    Frontier,
    ReadNode,
    inclusion_path,
    leaf_data,
    leaf_hash,
    row_leaves,
)
from pli_protocol.transparency.hashing import root_of

from ..storage import tables as t


def tree(db: sa.Connection, timeline: int) -> Frontier:
    """The log of a timeline as it is committed; empty where there is none."""
    found = db.execute(_TREE, {"timeline": timeline}).first()
    return Frontier() if found is None else Frontier.decode(found.size, found.frontier)


def node_reader(db: sa.Connection, timeline: int) -> ReadNode:
    """The hash of a complete subtree; raises LookupError where it is not there."""

    def read(level: int, no: int) -> bytes:
        if level == 0:
            entry = db.execute(_LEAF, {"timeline": timeline, "no": no}).first()
            if entry is None:
                raise LookupError
            return leaf_hash(leaf_data(entry.kind, entry.digest))
        found = db.scalar(_NODE, {"timeline": timeline, "level": level, "no": no})
        if found is None:
            raise LookupError
        return bytes(found)

    return read


def root_at(db: sa.Connection, timeline: int, size: int) -> bytes:
    """The root when the log had `size` entries; raises LookupError where a node is missing."""
    return Frontier(size, tuple(_complete(size, node_reader(db, timeline)))).root


def _complete(size: int, read: ReadNode) -> Iterator[bytes]:
    """The complete subtrees of a tree, the largest first."""
    start = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            yield read(level, start >> level)
            start += 1 << level


def row_proof(db: sa.Connection, group_no: int, seq: int) -> tuple[int, Frontier, RowProof] | None:
    """A row's timeline, that timeline's tree and the proof; None: no such row, or its body is gone."""
    row = db.execute(_ROW, {"group": group_no, "seq": seq}).first()
    if row is None:
        return None
    inner = row_leaves(db.scalars(_CHAINS, {"batch": row.batch}))
    inner_no = inner.index(leaf_hash(row.chain))

    def read_inner(level: int, no: int) -> bytes:
        return root_of(inner[no << level : no + 1 << level])

    whole = tree(db, row.timeline)
    proof = RowProof(
        inner_no,
        inclusion_path(inner_no, len(inner), read_inner),
        row.salt,
        row.body,
        row.no,
        inclusion_path(row.no, whole.size, node_reader(db, row.timeline)),
    )
    return row.timeline, whole, proof


def entries(db: sa.Connection, timeline: int, after: int, limit: int) -> Any:
    """Entries of a timeline from a number on, in order."""
    return db.execute(_ENTRIES, {"timeline": timeline, "after": after, "limit": limit}).all()


_TREE = sa.select(t.trace_trees).where(t.trace_trees.c.timeline == sa.bindparam("timeline"))
_LEAF = sa.select(t.trace_entries.c.kind, t.trace_entries.c.digest).where(
    t.trace_entries.c.timeline == sa.bindparam("timeline"),
    t.trace_entries.c.no == sa.bindparam("no"),
)
_NODE = sa.select(t.trace_nodes.c.hash).where(
    t.trace_nodes.c.timeline == sa.bindparam("timeline"),
    t.trace_nodes.c.level == sa.bindparam("level"),
    t.trace_nodes.c.no == sa.bindparam("no"),
)
_ROW = (
    sa.select(
        t.rows.c.chain,
        t.rows.c.batch,
        t.trace_entries.c.timeline,
        t.trace_entries.c.no,
        t.trace_entries.c.salt,
        t.trace_entries.c.body,
    )
    .join(t.trace_entries, t.trace_entries.c.batch == t.rows.c.batch)
    .where(
        t.rows.c.group_no == sa.bindparam("group"),
        t.rows.c.seq == sa.bindparam("seq"),
        t.trace_entries.c.body.is_not(None),
    )
)
_CHAINS = sa.select(t.rows.c.chain).where(t.rows.c.batch == sa.bindparam("batch"))
_ENTRIES = (
    sa.select(t.trace_entries)
    .where(
        t.trace_entries.c.timeline == sa.bindparam("timeline"),
        t.trace_entries.c.no >= sa.bindparam("after"),
    )
    .order_by(t.trace_entries.c.no)
    .limit(sa.bindparam("limit"))
)
