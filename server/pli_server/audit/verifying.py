"""`audit verify`: the whole log computed anew from its entries, compared with everything that is kept.

What is compared: every leaf with salt and body, every node above, the tree's frontier, every signed head,
every row's chain hash with the leaf that took it, and the rows' hash chains with their payloads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from pli_protocol.identity import IdentityError
from pli_protocol.transparency import (
    Frontier,
    Node,
    SignedHead,
    TreeHead,
    batch_root,
    digest_of,
    leaf_data,
    leaf_hash,
    read_batch,
    verify_head,
)

from ..storage import tables as t
from . import reading
from .acts import Act, read_entry
from .chains import broken_rows
from .retention import LEAST_MS

CHUNK: Final = 1000
MOST_FAULTS: Final = 1000

Progress = Callable[[str, int, int], None]


@dataclass
class Report:
    """What was found. `faults` are sentences; above MOST_FAULTS they are only counted."""

    entries: int = 0
    bodies_gone: int = 0
    nodes: int = 0
    heads: int = 0
    rows: int = 0
    rows_before: int = 0
    """Rows of before there was a log."""
    faults: list[str] = field(default_factory=list)
    further: int = 0

    @property
    def good(self) -> bool:
        return not self.faults

    def fault(self, text: str) -> None:
        """One more thing that is not as it should be."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(text)
        else:
            self.further += 1


def verify(
    db: sa.Connection,
    relay: str,
    log_key: bytes,
    now: int,
    progress: Progress = lambda what, done, whole: None,
) -> Report:
    """Check every timeline's log and every row, as of one moment. The caller holds the snapshot."""
    report = Report()
    for timeline in _timelines(db):
        _Timeline(db, timeline, relay, log_key, now, report).verify(progress)
    _rows_without_entry(db, report)
    for text in broken_rows(db, progress):
        report.fault(text)
    return report


def _timelines(db: sa.Connection) -> list[int]:
    named = sa.union(
        *(
            sa.select(table.c.timeline)
            for table in (t.trace_trees, t.trace_entries, t.trace_nodes, t.trace_heads)
        )
    )
    return sorted(db.scalars(named))


class _Timeline:
    """One timeline's log."""

    def __init__(
        self, db: sa.Connection, timeline: int, relay: str, log_key: bytes, now: int, report: Report
    ) -> None:
        self._db = db
        self._no = timeline
        self._now = now
        self._report = report
        self._tree = Frontier()
        self._heads = {signed.head.size: signed for signed in self._signed(relay, log_key)}
        self._youngest = 0
        """No entry from here on is older than this (milliseconds since 1970), by the heads' word."""

    def verify(self, progress: Progress) -> None:
        self._head_fits()
        whole = (
            self._db.scalar(
                sa.select(sa.func.count()).where(t.trace_entries.c.timeline == self._no)
            )
            or 0
        )
        while found := reading.entries(self._db, self._no, self._tree.size, CHUNK):
            begun = self._tree.size
            nodes = [node for entry in found for node in self._entry(entry)]
            if self._tree.size == begun:
                break  # a gap: what is behind it cannot be computed
            self._nodes(begun, nodes)
            progress(f"timeline {self._no}: entries", self._tree.size, whole)
        if self._kept() != (self._tree.size, self._tree.encode()):
            self._fault("the tree that is kept is not that of its entries")
        for size in self._heads:
            if size > self._tree.size:
                self._fault(f"a head of {size} entries was signed; {self._tree.size} are there")
        self._superfluous_nodes()

    def _kept(self) -> tuple[int, bytes]:
        chosen = sa.select(t.trace_trees).where(t.trace_trees.c.timeline == self._no)
        found = self._db.execute(chosen).first()
        return (0, b"") if found is None else (found.size, found.frontier)

    def _signed(self, relay: str, log_key: bytes) -> Iterator[SignedHead]:
        chosen = sa.select(t.trace_heads).where(t.trace_heads.c.timeline == self._no)
        for row in self._db.execute(chosen).all():
            self._report.heads += 1
            signed = SignedHead(TreeHead(row.timeline, row.size, row.root, row.time), row.signature)
            try:
                verify_head(relay, signed, log_key)
                yield signed
            except IdentityError:
                self._fault(f"the kept head of {row.size} entries has no valid signature")

    def _entry(self, entry: Any) -> list[Node]:
        """Take one entry; the subtrees that it completes."""
        if entry.no != self._tree.size:
            return []
        self._report.entries += 1
        if entry.body is None or entry.salt is None:
            self._gone(entry)
        elif digest_of(entry.salt, entry.body) != entry.digest:
            self._fault(f"entry {entry.no}: salt and body are not those of its hash")
        else:
            self._body(entry)
        self._tree, done = self._tree.append(leaf_hash(leaf_data(entry.kind, entry.digest)))
        self._head_fits()
        return done

    def _gone(self, entry: Any) -> None:
        self._report.bodies_gone += 1
        if max(entry.time, self._youngest) > self._now - LEAST_MS:
            self._fault(f"entry {entry.no}: its body is gone, but is younger than six months")

    def _body(self, entry: Any) -> None:
        try:
            if entry.kind == Act.MESSAGES:
                self._batch(entry)
                return
            body = read_entry(entry.body)
        except ValueError:
            self._fault(f"entry {entry.no}: its body cannot be read")
            return
        if (body.time, body.establishment) != (entry.time, entry.establishment):
            self._fault(f"entry {entry.no}: time or establishment beside it are not its body's")

    def _batch(self, entry: Any) -> None:
        batch = read_batch(entry.body)
        of_batch = sa.select(t.rows.c.chain).where(t.rows.c.batch == entry.batch)
        chains = list(self._db.scalars(of_batch))
        self._report.rows += len(chains)
        if (len(chains), batch.time) != (batch.count, entry.time) or (
            batch_root(chains) != batch.root
        ):
            self._fault(f"entry {entry.no}: its {batch.count} rows are not those that are there")

    def _head_fits(self) -> None:
        signed = self._heads.get(self._tree.size)
        if signed is None:
            return
        self._youngest = signed.head.time
        if signed.head.root != self._tree.root:
            self._fault(f"the signed head of {self._tree.size} entries has another root")

    def _nodes(self, begun: int, nodes: list[Node]) -> None:
        """Compare the subtrees that a chunk of entries completed with those that are kept."""
        expected = {(node.level, node.no): node.hash for node in nodes}
        found: dict[tuple[int, int], bytes] = {}
        for level in {node.level for node in nodes}:
            chosen = sa.select(t.trace_nodes.c.no, t.trace_nodes.c.hash).where(
                t.trace_nodes.c.timeline == self._no,
                t.trace_nodes.c.level == level,
                t.trace_nodes.c.no >= begun >> level,
                t.trace_nodes.c.no < self._tree.size >> level,
            )
            found.update({(level, row.no): row.hash for row in self._db.execute(chosen)})
        self._report.nodes += len(expected)
        for place in expected.keys() | found.keys():
            if expected.get(place) != found.get(place):
                self._fault(f"node {place[1]} of level {place[0]} is not that of its entries")

    def _superfluous_nodes(self) -> None:
        size = self._tree.size
        whole = sum(size >> level for level in range(1, size.bit_length()))
        counted = sa.select(sa.func.count()).where(t.trace_nodes.c.timeline == self._no)
        if (self._db.scalar(counted) or 0) > whole:
            self._fault("there are more nodes than the entries make")

    def _fault(self, text: str) -> None:
        self._report.fault(f"timeline {self._no}: {text}")


def _rows_without_entry(db: sa.Connection, report: Report) -> None:
    counted = sa.select(sa.func.count()).select_from(t.rows)
    report.rows_before = db.scalar(counted.where(t.rows.c.batch.is_(None))) or 0
    entry = sa.exists().where(t.trace_entries.c.batch == t.rows.c.batch)
    lost = db.scalar(counted.where(t.rows.c.batch.is_not(None), ~entry)) or 0
    if lost:
        report.fault(f"{lost} rows belong to no entry of the log")
