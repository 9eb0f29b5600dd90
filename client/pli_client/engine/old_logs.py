"""Logs of older timelines: entering a new one, rows that were brought and are known, or not, here.

A row that was brought to a restored relay has a position of the new timeline, like every row, and the
first one beside it. Who had it knows it by the first; who lacked it checks the old log's chain.
"""

from enum import Enum

from pli_protocol.content import decode
from pli_protocol.relay.frames import Position, Row
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash

from ..store import groups, log_rows, messages, outbox, repair
from . import history
from .work import Work


class RelayForked(Exception):
    """The log contradicts what was seen before. `what` is a short stable id."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def enter(work: Work, group_row: groups.GroupRow, row: Row) -> groups.GroupRow | None:
    """The first row of a newer timeline; None: it is not the next one, or the group is to be mended first.

    Raises RelayForked: a timeline of which the relay said nothing at the sign-in.
    """
    if row.position.timeline != repair.relay_timeline(work.db):
        raise RelayForked("timeline")
    first = row.position.seq == group_row.next_seq and row.chain == _chain(
        FIRST_CHAIN, row, row.position
    )
    if not first:
        return None
    enter_at(work, group_row, row.position.timeline, row.position.seq)
    return groups.read(work.db, row.group)


def enter_at(
    work: Work,
    group_row: groups.GroupRow,
    timeline: int,
    next_seq: int,
    chain: bytes = FIRST_CHAIN,
) -> None:
    """Go on in a new timeline; how far the old one is known here stays known."""
    repair.write_old_log(
        work.db, group_row.group_id, group_row.timeline, group_row.next_seq, group_row.chain
    )
    groups.enter_timeline(work.db, group_row.group_id, timeline, next_seq, chain)


class Known(Enum):
    """What this device knows of a row."""

    NEW = "new"
    HELD = "held"
    """It had this very row before."""
    PASSED = "passed"
    """It was further than that, or not there yet, says the relay; nothing that is kept shows it."""


def known_before(work: Work, row: Row, message: bytes) -> Known:
    """Whether this device had a row that was brought; where it had not, it is noted as had now.

    Raises RelayForked where the row does not continue the old log, or is not the one that stood there.
    """
    if row.first is None:
        again = row.kind == "commit" and repair.has_old_log(work.db, row.group)
        return Known.HELD if again and _commit_again(work, row) else Known.NEW
    position, chain = row.first.position, row.first.chain
    log = repair.old_log(work.db, row.group, position.timeline)
    if log is None:
        return Known.NEW if _is_first(row) else Known.PASSED
    next_seq, before = log
    ours = log_rows.row_chain(work.db, row.group, position)
    if ours == chain:
        kept = log_rows.kept_row(work.db, row.group, position.timeline, position.seq)
        if kept and message and kept != message:
            raise RelayForked("chain")
        return Known.HELD
    if ours is None and position.seq < next_seq:
        return Known.PASSED
    if position.seq == next_seq:
        check_chain(before, row, position, chain)
    _keep(work, row, message)
    if position.seq >= next_seq:
        repair.write_old_log(work.db, row.group, position.timeline, position.seq + 1, chain)
    return Known.NEW


def _is_first(row: Row) -> bool:
    """The very first row of a group that was opened in an older timeline."""
    return row.first is not None and row.first.position.seq == row.position.seq == 1


def _commit_again(work: Work, row: Row) -> bool:
    """A commit whose sender did not learn that it was taken, and which was taken again."""
    return repair.commits_kept(work.db, row.group, row.sender, row.send_id) > 1


def _keep(work: Work, row: Row, message: bytes) -> None:
    """As a row of the old log, too: another relay may be restored from a still older backup."""
    assert row.first is not None
    old = Row(
        row.group,
        row.first.position,
        row.epoch,
        row.kind,
        row.sender,
        row.send_id,
        row.time,
        row.message,
        row.first.chain,
    )
    log_rows.keep_row(work.db, old, message)


def check_chain(before: bytes, row: Row, position: Position, chain: bytes) -> None:
    """Raises RelayForked("chain") where the row does not follow `before` at this position."""
    if _chain(before, row, position) != chain:
        raise RelayForked("chain")


def _chain(before: bytes, row: Row, position: Position) -> bytes:
    return chain_hash(
        before, row.group, position, row.epoch, row.kind, row.sender, row.send_id, row.message
    )


def own_after_all(work: Work, group_row: groups.GroupRow, row: Row) -> bool:
    """An own send that was sealed again since: somebody had its first row. It stands there now."""
    message_id = repair.sealed_again(work.db, row.group, row.send_id)
    if message_id is None or row.first is None:
        return False
    held = messages.read(work.db, message_id)
    if held is None:
        return True
    said = history.Said(
        held.conversation_id, message_id, decode(held.content), held.content, work.own.device, True
    )
    where = history.Place(group_row, row.first.position, row.epoch, row.time, held.signed or b"")
    item = outbox.by_message_id(work.db, message_id)
    if item is not None and item.state in ("waiting", "failed"):
        outbox.delete(work.db, item.id)
    state = "queued" if item is not None and item.state == "sealed" else "stored"
    history.place(work, said, where, state)
    return True
