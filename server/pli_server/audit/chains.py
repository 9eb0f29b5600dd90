"""The hash chains of all groups' logs, computed anew where payloads are there."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import sqlalchemy as sa

from pli_protocol.relay.frames import Position
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash

from ..storage import tables as t
from ..storage.transaction import KINDS, unpack

CHUNK: Final = 500

Progress = Callable[[str, int, int], None]


def broken_rows(db: sa.Connection, progress: Progress) -> Iterator[str]:
    """A sentence for each row whose chain hash does not follow from the row before and its content."""
    whole = db.scalar(sa.select(sa.func.count()).select_from(t.rows)) or 0
    done, group_no, seq, before, timeline = 0, -1, 0, FIRST_CHAIN, 1
    while found := db.execute(_ROWS, {"group": group_no, "seq": seq, "limit": CHUNK}).all():
        for row in found:
            if row.group_no != group_no:
                group_no, seq, before = row.group_no, 0, FIRST_CHAIN
            if timeline != (row.timeline or 1):
                timeline, before = row.timeline or 1, FIRST_CHAIN  # each begins a chain anew
            if row.seq != seq + 1:
                yield f"group {row.group_no}: rows before {row.seq} are missing"
            elif row.payload is not None and row.chain != _chain(row, before):
                yield f"group {row.group_no}: row {row.seq} does not follow from the one before"
            seq, before = row.seq, row.chain
        done += len(found)
        progress("rows", done, whole)


def _chain(row: Any, before: bytes) -> bytes:
    return chain_hash(
        before,
        row.group_id,
        Position(row.timeline or 1, row.seq),
        row.epoch,
        KINDS[row.kind],
        row.device_id,
        row.send_id,
        unpack(row.is_blob, row.payload),
    )


_ROWS = (
    sa.select(t.rows, t.groups.c.group_id, t.devices.c.device_id, t.trace_entries.c.timeline)
    .join(t.groups, t.groups.c.no == t.rows.c.group_no)
    .join(t.devices, t.devices.c.no == t.rows.c.sender_no)
    .outerjoin(t.trace_entries, t.trace_entries.c.batch == t.rows.c.batch)
    .where(
        sa.tuple_(t.rows.c.group_no, t.rows.c.seq)
        > sa.tuple_(sa.bindparam("group"), sa.bindparam("seq"))
    )
    .order_by(t.rows.c.group_no, t.rows.c.seq)
    .limit(sa.bindparam("limit"))
)
