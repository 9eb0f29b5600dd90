"""What one write transaction adds to the trace, appended as its very last step.

The state row of the timeline is locked last of all (on PostgreSQL several nodes append to one log),
and read anew each time: no memory of it can be out of date. The rows that the transaction took share
one leaf: it is found again by `batch`, a random number that rows and entry have in common.
"""

import os
import secrets
from typing import Any

import sqlalchemy as sa

from pli_protocol.transparency import (
    Frontier,
    Node,
    batch_body,
    digest_of,
    leaf_data,
    leaf_hash,
)

from ..storage import tables as t
from .acts import Act, Entry, Fact, body_of
from .tally import Tally

Body = tuple[Act, bytes | None, bytes]
"""Class, establishment and bytes of an entry."""


class Trail:
    """Entries and chain hashes of rows, gathered while requests are applied."""

    def __init__(self, now: int, timeline: int, tally: Tally | None = None) -> None:
        """`tally` counts what could be repeated without end; None: every act becomes an entry."""
        self._now = now
        self._timeline = timeline
        self._tally = tally
        self._entries: list[tuple[Act, Entry]] = []
        self._chains: list[bytes] = []
        self._mark = (0, 0)
        self.batch = secrets.randbits(63)
        """What the rows of this transaction have in common with their entry."""
        self._tree_wanted = self._closing = False
        self.tree: Frontier | None = None
        """The log after this transaction, where it was traced or wanted; durable after COMMIT."""

    def note(
        self,
        act: Act,
        establishment: bytes | None,
        account: bytes | None,
        device: bytes | None,
        facts: dict[str, Fact],
    ) -> None:
        """One act more."""
        self._entries.append((act, Entry(self._now, establishment, account, device, facts)))

    def row(self, chain: bytes) -> None:
        """One row more: its chain hash fixes it and all before it in its group."""
        self._chains.append(chain)

    def want_tree(self) -> None:
        """Let `tree` be known after the transaction, whether it adds an entry or not."""
        self._tree_wanted = True

    def close(self) -> None:
        """The relay's last transaction: what was only counted is written."""
        self._closing = True

    def mark(self) -> None:
        """A request begins that may be undone alone."""
        self._mark = (len(self._entries), len(self._chains))

    def undo(self) -> None:
        """Forget what was gathered since the mark."""
        entries, chains = self._mark
        del self._entries[entries:], self._chains[chains:]

    def append(self, db: sa.Connection) -> None:
        """Write the entries; the last thing that the transaction does before COMMIT."""
        bodies = [(act, e.establishment, body_of(e)) for act, e in self._counted()]
        if self._chains:
            bodies.append((Act.MESSAGES, None, batch_body(self._now, self._chains)))
        if bodies or self._tree_wanted:
            tree = _locked(db, self._timeline)
            self.tree = self._write(db, tree, bodies) if bodies else tree

    def _counted(self) -> list[tuple[Act, Entry]]:
        if self._tally is None:
            return self._entries
        tally = self._tally
        due = tally.due(self._now, closing=self._closing)
        return due + [(act, entry) for act, entry in self._entries if not tally.takes(act, entry)]

    def _write(self, db: sa.Connection, frontier: Frontier, bodies: list[Body]) -> Frontier:
        entries: list[dict[str, Any]] = []
        nodes: list[Node] = []
        for act, establishment, body in bodies:
            salt = os.urandom(32)
            digest = digest_of(salt, body)
            entries.append(
                {
                    "timeline": self._timeline,
                    "no": frontier.size,
                    "time": self._now,
                    "kind": act.value,
                    "establishment": establishment,
                    "batch": self.batch if act is Act.MESSAGES else None,
                    "digest": digest,
                    "salt": salt,
                    "body": body,
                }
            )
            frontier, done = frontier.append(leaf_hash(leaf_data(act.value, digest)))
            nodes += done
        db.execute(sa.insert(t.trace_entries), entries)
        if nodes:
            named = [{"timeline": self._timeline, **_columns(node)} for node in nodes]
            db.execute(sa.insert(t.trace_nodes), named)
        db.execute(
            sa.update(t.trace_trees)
            .where(t.trace_trees.c.timeline == self._timeline)
            .values(size=frontier.size, frontier=frontier.encode())
        )
        return frontier


def record(
    db: sa.Connection, now: int, timeline: int, act: Act, establishment: bytes | None, **facts: Fact
) -> None:
    """Trace one act in a transaction of a command's own (`init`, `establishment-code`…), as its end."""
    trail = Trail(now, timeline)
    trail.note(act, establishment, None, None, facts)
    trail.append(db)


def _columns(node: Node) -> dict[str, Any]:
    return {"level": node.level, "no": node.no, "hash": node.hash}


def _locked(db: sa.Connection, timeline: int) -> Frontier:
    """The tree as it is, for nobody else to change until COMMIT."""
    chosen = sa.select(t.trace_trees).where(t.trace_trees.c.timeline == timeline).with_for_update()
    found = db.execute(chosen).first()
    if found is None:
        first = {"timeline": timeline, "size": 0, "frontier": b""}
        db.execute(sa.text(_FIRST), first)
        found = db.execute(chosen).one()
    return Frontier.decode(found.size, found.frontier)


# Two nodes may begin a timeline at once.
_FIRST = (
    "INSERT INTO trace_trees (timeline, size, frontier) VALUES (:timeline, :size, :frontier)"
    " ON CONFLICT DO NOTHING"
)
