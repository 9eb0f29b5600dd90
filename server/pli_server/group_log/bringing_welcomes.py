"""The Welcome of a commit that a restored relay lacked, brought by its committer."""

from typing import Any

import sqlalchemy as sa

from pli_protocol.relay import frames as f

from ..errors import Refusal
from ..session import Session
from ..settings import Limits
from ..storage import tables as t
from ..storage import timelines as times
from ..storage.groups import GroupState, MemberState
from ..storage.transaction import COMMIT, Appended, Transaction
from .bringing import authorise
from .roster import NO_EFFECTS, Newcomer, RosterEffects, store_welcomes


def bring_welcome(
    tx: Transaction, session: Session, frame: f.BringWelcome, limits: Limits
) -> tuple[int, RosterEffects]:
    """Let a Welcome wait for the devices that its commit added and that are members since.

    Returns:
        The group's number, and who is told.
    """
    group = authorise(tx.group(frame.group), session)
    timelines = times.read(tx.connection)
    row = _row_at(tx, timelines, group, frame.position)
    if row is None or row.kind != COMMIT or row.sender_no != session.device_no:
        raise Refusal("not-found")
    waiting = sa.exists().where(t.welcomes.c.group_no == group.no, t.welcomes.c.seq == row.seq)
    if tx.connection.scalar(sa.select(waiting)):
        return group.no, NO_EFFECTS
    added = [
        Newcomer(m.device_no, m.device_id, m.account_no, group.establishment)
        for m in group.members.values()
        if m.state is MemberState.ACTIVE and m.since == row.seq
    ]
    if not added:
        return group.no, NO_EFFECTS
    place, first = times.places(tx.connection, timelines, group.no, [(row.seq, row.no)])[0]
    appended = Appended(
        group.no, group.group_id, place, row.epoch, COMMIT, row.device_id, row.send_id, row.time,
        b"", row.chain, first,
    )  # fmt: skip
    predecessor = tx.connection.scalar(
        sa.select(t.groups.c.group_id).where(
            t.groups.c.no
            == sa.select(t.groups.c.predecessor).where(t.groups.c.no == group.no).scalar_subquery()
        )
    )
    welcomed = store_welcomes(tx, appended, added, frame.welcome, predecessor, limits)
    return group.no, RosterEffects(welcomed)


def _row_at(
    tx: Transaction, timelines: times.Timelines, group: GroupState, position: f.Position
) -> "sa.Row[Any] | None":
    b = t.brought_rows.c
    seq = tx.connection.scalar(
        sa.select(b.seq).where(
            b.group_no == group.no, b.timeline == position.timeline, b.first_seq == position.seq
        )
    )
    r = t.rows.c
    found = tx.connection.execute(
        sa.select(t.rows, t.devices.c.device_id)
        .join(t.devices, t.devices.c.no == r.sender_no)
        .where(r.group_no == group.no, r.seq == (position.seq if seq is None else seq))
    ).first()
    if found is None or (seq is None and timelines.of_row(found.no) != position.timeline):
        return None
    return found
