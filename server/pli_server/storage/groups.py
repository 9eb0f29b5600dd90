"""What the writer knows of a group while it decides: epoch, last row, chain, roster. A cache.

It belongs to the writer's thread. A transaction changes it as it goes; whatever rolls back drops the
groups it touched, so that they are read again from the database.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import sqlalchemy as sa

from . import tables as t
from .database import LockedGroup

CACHED_GROUPS: Final = 4096


class MemberState(IntEnum):
    """What a device is to a group."""

    ACTIVE = 0
    REMOVED = 1
    """A commit removed it; it receives until another person's device has applied that commit."""
    LEAVING = 2
    """Its person left: nothing is delivered; a commit that removes its leaf is awaited."""
    ENDED = 3


@dataclass(slots=True)
class Member:
    """A device on a group's roster."""

    device_no: int
    device_id: bytes
    account_no: int
    state: MemberState
    since: int
    """Rows after this seq are the device's."""
    until: int | None = None
    removed_at: int | None = None
    removed_by: int | None = None
    last_send: bytes | None = None

    @property
    def on_roster(self) -> bool:
        """Its leaf may still be in the tree, as far as the relay can tell."""
        return self.state in (MemberState.ACTIVE, MemberState.LEAVING)

    @property
    def receives(self) -> bool:
        """Rows are delivered to it."""
        return self.state in (MemberState.ACTIVE, MemberState.REMOVED)


@dataclass(slots=True)
class GroupState:
    """A group as of the last row that the writer applied."""

    no: int
    group_id: bytes
    establishment: bytes
    epoch: int
    last: int
    chain: bytes
    successor: bytes | None
    roster: int = 0
    """Counts the changes of `members`."""
    members: dict[int, Member] = field(default_factory=dict)

    def accounts(self) -> set[int]:
        """The accounts of all devices that are or may be members."""
        return {member.account_no for member in self.members.values() if member.receives}


class GroupCache:
    """The most recently used groups."""

    def __init__(self, size: int = CACHED_GROUPS) -> None:
        self._groups: OrderedDict[bytes, GroupState] = OrderedDict()
        self._behind: dict[int, GroupState] = {}
        self._size = size

    def get(self, connection: sa.Connection, group_id: bytes) -> GroupState | None:
        """From the cache, else from the database; None: no such group."""
        found = self._groups.get(group_id)
        if found is not None:
            self._groups.move_to_end(group_id)
            return found
        loaded = load(connection, group_id)
        if loaded is not None:
            self.put(loaded)
        return loaded

    def put(self, group: GroupState) -> None:
        """Add a group, dropping the one not used for longest."""
        self._groups[group.group_id] = group
        if len(self._groups) > self._size:
            self._groups.popitem(last=False)

    def compare(self, locked: Sequence[LockedGroup]) -> list[tuple[int, int]]:
        """Believe the database: what another node changed is taken over, or forgotten.

        Returns:
            Number and last known row of the groups whose members may have sent meanwhile; tell `sent`.
        """
        after: list[tuple[int, int]] = []
        self._behind = {}
        for now in locked:
            known = self._groups.get(now.group_id)
            if known is None:
                continue
            if _not_ours(known, now):
                self.drop(now.group_id)
                continue
            if known.last < now.last:
                after.append((known.no, known.last))
                self._behind[known.no] = known
            known.epoch, known.last, known.chain = now.epoch, now.last, now.chain
            known.successor = now.successor
        return after

    def sent(self, group_no: int, device_no: int, last_send: bytes | None) -> None:
        """A member's last send, as it is after what another node did."""
        member = self._behind[group_no].members.get(device_no)
        if member is not None:
            member.last_send = last_send

    def drop(self, group_id: bytes) -> None:
        """Forget a group: the database knows better."""
        self._groups.pop(group_id, None)

    def clear(self) -> None:
        """Forget all."""
        self._groups.clear()


def _not_ours(known: GroupState, now: LockedGroup) -> bool:
    """Whether a copy cannot be brought up to date: other members, or not a beginning of this log."""
    if (known.no, known.roster) != (now.no, now.roster):
        return True
    return known.last > now.last or (known.last == now.last and known.chain != now.chain)


def load(connection: sa.Connection, group_id: bytes) -> GroupState | None:
    """Read a group with its roster."""
    row = connection.execute(sa.select(t.groups).where(t.groups.c.group_id == group_id)).first()
    if row is None:
        return None
    group = GroupState(
        row.no,
        row.group_id,
        row.establishment,
        row.epoch,
        row.last,
        row.chain,
        row.successor,
        row.roster,
    )
    found = connection.execute(
        sa.select(t.members, t.devices.c.device_id)
        .join(t.devices, t.devices.c.no == t.members.c.device_no)
        .where(t.members.c.group_no == group.no)
    )
    for m in found:
        group.members[m.device_no] = Member(
            m.device_no,
            m.device_id,
            m.account_no,
            MemberState(m.state),
            m.since,
            m.until,
            m.removed_at,
            m.removed_by,
            m.last_send,
        )
    return group
