"""Whether a group of a restored relay may change: all its devices were back, or the time is over."""

from typing import Final

import sqlalchemy as sa

from ..errors import Refusal
from ..storage import tables as t
from ..storage import timelines as times
from ..storage.groups import GroupState, MemberState
from ..storage.transaction import Transaction

RETRY_MS: Final = 10_000
"""Milliseconds after which a commit is worth another try."""


def check_settled(tx: Transaction, group: GroupState) -> None:
    """Raises Refusal "restored" while devices of a group of before are awaited with what they have."""
    if tx.timeline == times.FIRST:
        return
    timelines = times.read(tx.connection)
    if not timelines.mending(tx.now):
        return
    brought = sa.exists().where(t.old_logs.c.group_no == group.no)
    if not timelines.group_is_older(group.no) and not tx.connection.scalar(sa.select(brought)):
        return
    back = sa.exists().where(
        t.returned.c.device_no == t.members.c.device_no, t.returned.c.timeline == tx.timeline
    )
    awaited = tx.connection.scalar(
        sa.select(sa.func.count())
        .select_from(t.members)
        .join(t.devices, t.devices.c.no == t.members.c.device_no)
        .join(t.accounts, t.accounts.c.no == t.devices.c.account_no)
        .where(
            t.members.c.group_no == group.no,
            t.members.c.state == MemberState.ACTIVE,
            t.devices.c.revoked.is_(None),
            t.devices.c.locked.is_(None),
            t.accounts.c.revoked.is_(None),
            ~back,
        )
    )
    if awaited:
        raise Refusal("restored", f"{awaited} devices have not come back", retry_after=RETRY_MS)
