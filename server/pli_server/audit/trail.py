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

from ..storage.database import Statements, statements_on
from .acts import Act, Entry, Fact, body_of
from .tally import Counts, Tally

Body = tuple[Act, bytes | None, bytes]
"""Class, establishment and bytes of an entry."""


class Trail:
    """Entries and chain hashes of rows, gathered while requests are applied."""

    def __init__(self, now: int, timeline: int, tally: Tally | None = None) -> None:
        """`tally` counts what could be repeated without end; None: every act becomes an entry."""
        self._now = now
        self._timeline = timeline
        self._tally = tally
        self._counts: Counts | None = None
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

    def append(self, statements: Statements) -> None:
        """Write the entries; the last thing that the transaction does before COMMIT."""
        bodies = [(act, e.establishment, body_of(e)) for act, e in self._counted()]
        if self._chains:
            bodies.append((Act.MESSAGES, None, batch_body(self._now, self._chains)))
        if bodies or self._tree_wanted:
            tree = Frontier.decode(*statements.lock_tree(self._timeline))
            self.tree = self._write(statements, tree, bodies) if bodies else tree

    def _counted(self) -> list[tuple[Act, Entry]]:
        if self._tally is None:
            return self._entries
        written, self._counts = self._tally.counts.sift(
            self._entries, self._now, closing=self._closing
        )
        return written

    def committed(self) -> None:
        """It is on disk: only now the counts hold, since a transaction may be undone and run again."""
        if self._tally is not None and self._counts is not None:
            self._tally.counts = self._counts

    def _write(self, statements: Statements, tree: Frontier, bodies: list[Body]) -> Frontier:
        entries: list[tuple[Any, ...]] = []
        nodes: list[Node] = []
        for act, establishment, body in bodies:
            salt = os.urandom(32)
            digest = digest_of(salt, body)
            batch = self.batch if act is Act.MESSAGES else None
            place = (self._timeline, tree.size, self._now, act.value)
            entries.append((*place, establishment, batch, digest, salt, body))
            tree, done = tree.append(leaf_hash(leaf_data(act.value, digest)))
            nodes += done
        statements.insert_entries(entries)
        statements.insert_nodes([(self._timeline, *node) for node in nodes])
        statements.move_tree(self._timeline, tree.size, tree.encode())
        return tree


def record(
    db: sa.Connection, now: int, timeline: int, act: Act, establishment: bytes | None, **facts: Fact
) -> None:
    """Trace one act in a transaction of a command's own (`init`, `establishment-code`…), as its end."""
    trail = Trail(now, timeline)
    trail.note(act, establishment, None, None, facts)
    trail.append(statements_on(db))
