"""A commit's roster change: who receives from now on, who stops, whose Welcome waits."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from pli_protocol.relay.frames import Payload, WelcomeWaiting
from pli_protocol.relay.log import RosterChange

from ..errors import Refusal
from ..settings import Limits
from ..storage import tables as t
from ..storage.groups import GroupState, Member, MemberState
from ..storage.partners import all_partners, establishments_of
from ..storage.reading import account_counts
from ..storage.transaction import Appended, Transaction, pack
from ..storage.usage import Amount


@dataclass(frozen=True, slots=True)
class RosterEffects:
    """What a change of roster means for those online: (device number, …) each."""

    welcomed: tuple[tuple[int, WelcomeWaiting], ...] = ()
    ended: tuple[tuple[int, int], ...] = ()
    """Membership ended at this seq."""
    entered: tuple[int, ...] = ()
    """Added by a commit that was brought: rows after it follow."""


NO_EFFECTS = RosterEffects()


@dataclass(slots=True)
class Newcomer:
    """A device that a commit adds."""

    no: int
    device_id: bytes
    account_no: int
    establishment: bytes


@dataclass(slots=True)
class PlannedChange:
    """A checked roster change, with the devices found."""

    added: list[Newcomer] = field(default_factory=list)
    removed: list[Member] = field(default_factory=list)


def check_change(
    tx: Transaction,
    group: GroupState,
    committer: Member,
    change: RosterChange,
    limits: Limits,
    *,
    active: bool = True,
    known: Collection[int] = (),
) -> PlannedChange:
    """Check a commit's change against the roster; raises Refusal "roster" or "limit".

    Args:
        active: False: devices may be added that were revoked, or are no partner's, since (the commit
            is an old one).
        known: accounts that come back, besides those on the roster: the members of a predecessor.
    """
    if committer.device_id in change.removed or committer.device_id in change.added:
        raise Refusal("roster", "a commit neither adds nor removes its own device")
    by_id = {member.device_id: member for member in group.members.values()}
    plan = PlannedChange()
    for device_id in change.removed:
        member = by_id.get(device_id)
        if member is None or not member.on_roster:
            raise Refusal("roster", "a device that is removed is not on the roster")
        plan.removed.append(member)
    for device_id in change.added:
        member = by_id.get(device_id)
        if member is not None and member.on_roster and device_id not in change.removed:
            raise Refusal("roster", "a device that is added is on the roster already")
    plan.added = _newcomers(tx, group, plan, change.added, active, known)
    on_roster = sum(member.on_roster for member in group.members.values())
    if on_roster - len(plan.removed) + len(plan.added) > limits.members_per_group:
        raise Refusal("limit", f"a group has at most {limits.members_per_group} devices")
    return plan


def check_welcome(change: RosterChange, welcome: Payload | None) -> None:
    """Raises Refusal "roster"."""
    if bool(change.added) != (welcome is not None):
        raise Refusal("roster", "a Welcome goes with a commit that adds devices, and only with it")


def _newcomers(
    tx: Transaction,
    group: GroupState,
    plan: PlannedChange,
    device_ids: Sequence[bytes],
    active: bool,
    known: Collection[int],
) -> list[Newcomer]:
    """The devices to be added: who is new is of a partner of everybody's who is there then.

    Whoever is a member already may come back with a device, or into a successor, though a partnership
    has ended: they go by a member's commit, and until then the group must not be wedged. An unknown
    device and one of an establishment that somebody here may not see are refused alike.
    """
    if not device_ids:
        return []
    found = find_devices(tx, device_ids, active=active)
    members = {m.account_no for m in group.members.values() if m.on_roster}
    new = {n.establishment for n in found if n.account_no not in members | set(known)}
    good = len(found) == len(device_ids)
    if good and new and active:
        staying = members - {m.account_no for m in plan.removed}
        everybody = {n.establishment for n in found} | establishments_of(tx.connection, staying)
        good = all_partners(tx.connection, everybody, tx.now)
    if not good:
        raise Refusal("roster", "a device that is added is unknown, inactive, or not a partner's")
    return found


def find_devices(
    tx: Transaction, device_ids: Sequence[bytes], *, active: bool = True
) -> list[Newcomer]:
    """The devices with these ids, in their order; those unknown (or not active) are left out."""
    query = (
        sa.select(
            t.devices.c.no,
            t.devices.c.device_id,
            t.devices.c.account_no,
            t.accounts.c.establishment,
        )
        .join(t.accounts, t.accounts.c.no == t.devices.c.account_no)
        .where(t.devices.c.device_id.in_(device_ids))
    )
    if active:
        query = query.where(
            t.devices.c.locked.is_(None),
            t.devices.c.revoked.is_(None),
            account_counts(tx.now),
        )
    found = tx.connection.execute(query)
    newcomers = {row.device_id: Newcomer(*row) for row in found}
    return [newcomers[device_id] for device_id in device_ids if device_id in newcomers]


def apply_change(
    tx: Transaction,
    group: GroupState,
    committer: Member,
    row: Appended,
    plan: PlannedChange,
    welcome: Payload | None,
    limits: Limits,
    predecessor: bytes | None = None,
) -> RosterEffects:
    """Change the roster as the commit at `row` says, and let the Welcomes wait."""
    seq = row.position.seq
    for member in plan.removed:
        left = member.state is MemberState.LEAVING
        member.state = MemberState.ENDED if left else MemberState.REMOVED
        member.removed_at = seq
        member.removed_by = committer.account_no
    for newcomer in plan.added:
        add_member(tx, group, newcomer, seq)
    added = {newcomer.no for newcomer in plan.added}
    for member in plan.removed:
        if member.device_no not in added:
            _store_state(tx, group, member)
    if welcome is None:
        return NO_EFFECTS
    tx.store(committer.account_no, Amount(size=len(pack(welcome)[1])), spare=True)
    return RosterEffects(store_welcomes(tx, row, plan.added, welcome, predecessor, limits))


def add_member(tx: Transaction, group: GroupState, newcomer: Newcomer, seq: int) -> Member:
    """Put a device on the roster from a row on, whatever it was to the group before."""
    fresh = {
        "account_no": newcomer.account_no,
        "state": int(MemberState.ACTIVE),
        "since": seq,
        "until": None,
        "removed_at": None,
        "removed_by": None,
        "acked": seq,
        "last_send": None,
    }
    key = {"group_no": group.no, "device_no": newcomer.no}
    if newcomer.no in group.members:
        tx.connection.execute(_UPDATE_MEMBER, {"g": group.no, "d": newcomer.no, **fresh})
    else:
        tx.connection.execute(sa.insert(t.members), {**key, **fresh})
    tx.roster_changed(group)
    member = Member(newcomer.no, newcomer.device_id, newcomer.account_no, MemberState.ACTIVE, seq)
    group.members[newcomer.no] = member
    return member


def end_removed(tx: Transaction, group: GroupState, reporter: Member, seq: int) -> RosterEffects:
    """A device has applied the commit at `seq`: memberships that this ends.

    A member's word ends all removals up to there by another person; a removed device's word ends its
    own. Until then a removed device can still re-found the group: a garbage commit that calls everybody
    removed leads nowhere.
    """
    ended = []
    for member in group.members.values():
        if member.state is not MemberState.REMOVED or (member.removed_at or 0) > seq:
            continue
        if member is reporter or (
            reporter.state is MemberState.ACTIVE and member.removed_by != reporter.account_no
        ):
            end_membership(tx, group, member)
            ended.append((member.device_no, group.last))
    tx.devices_changed(device_no for device_no, _ in ended)
    return RosterEffects(ended=tuple(ended))


def end_membership(tx: Transaction, group: GroupState, member: Member) -> None:
    """A removal holds: nothing after the group's last row is the device's."""
    member.state, member.until = MemberState.ENDED, group.last
    _store_state(tx, group, member)


def change_account(tx: Transaction, device_no: int, account_no: int) -> None:
    """The device is of this account in all its groups, whose lists named another one."""
    m = t.members.c
    of_device = sa.select(t.groups.c.group_id).join(t.members, m.group_no == t.groups.c.no)
    query = of_device.where(m.device_no == device_no).order_by(t.groups.c.no)
    for group_id in tx.connection.scalars(query).all():
        group = tx.group(group_id)
        assert group is not None
        group.members[device_no].account_no = account_no
        tx.roster_changed(group)
    tx.connection.execute(
        sa.update(t.members).where(m.device_no == device_no).values(account_no=account_no)
    )


def leave(tx: Transaction, group: GroupState, account_no: int) -> RosterEffects:
    """A person leaves: nothing more is delivered to any device of the account."""
    ended = []
    for member in group.members.values():
        if member.account_no == account_no and member.receives:
            was = member.state
            # What it has not fetched is not delivered either.
            member.until = 0
            member.state = MemberState.LEAVING if was is MemberState.ACTIVE else MemberState.ENDED
            _store_state(tx, group, member)
            ended.append((member.device_no, 0))
    tx.devices_changed(device_no for device_no, _ in ended)
    return RosterEffects(ended=tuple(ended))


def _store_state(tx: Transaction, group: GroupState, member: Member) -> None:
    tx.roster_changed(group)
    tx.connection.execute(
        _UPDATE_STATE,
        {
            "g": group.no,
            "d": member.device_no,
            "state": int(member.state),
            "until": member.until,
            "removed_at": member.removed_at,
            "removed_by": member.removed_by,
        },
    )


def store_welcomes(
    tx: Transaction,
    row: Appended,
    newcomers: Sequence[Newcomer],
    welcome: Payload,
    predecessor: bytes | None,
    limits: Limits,
) -> tuple[tuple[int, WelcomeWaiting], ...]:
    """Let the Welcome of the commit at `row` wait for each newcomer; what those online are pushed."""
    numbers = [newcomer.no for newcomer in newcomers]
    # A device that is added again needs the newest Welcome only.
    tx.connection.execute(
        sa.delete(t.welcome_items).where(
            t.welcome_items.c.group_no == row.group_no, t.welcome_items.c.device_no.in_(numbers)
        )
    )
    fullest = tx.connection.scalar(
        sa.select(sa.func.count())
        .where(t.welcome_items.c.device_no.in_(numbers))
        .group_by(t.welcome_items.c.device_no)
        .order_by(sa.func.count().desc())
        .limit(1)
    )
    if (fullest or 0) >= limits.welcomes_waiting:
        raise Refusal("limit", "too many Welcomes wait for a device")
    is_blob, data = pack(welcome)
    made = tx.connection.execute(
        sa.insert(t.welcomes).values(
            group_no=row.group_no,
            seq=row.position.seq,
            chain=row.chain,
            sender=row.sender,
            time=row.time,
            predecessor=predecessor,
            is_blob=is_blob,
            payload=data,
        )
    )
    assert made.inserted_primary_key is not None
    number = made.inserted_primary_key[0]
    waiting = tuple(
        (
            newcomer.no,
            WelcomeWaiting(
                os.urandom(16),
                row.group_id,
                welcome,
                row.position,
                row.chain,
                row.sender,
                row.time,
                predecessor,
                row.first,
            ),
        )
        for newcomer in newcomers
    )
    tx.connection.execute(
        sa.insert(t.welcome_items),
        [
            {
                "item": frame.item,
                "welcome_no": number,
                "device_no": device_no,
                "group_no": row.group_no,
            }
            for device_no, frame in waiting
        ],
    )
    tx.devices_changed(numbers)
    return waiting


_OF_MEMBER = (
    t.members.c.group_no == sa.bindparam("g"),
    t.members.c.device_no == sa.bindparam("d"),
)
_UPDATE_MEMBER = (
    sa.update(t.members)
    .where(*_OF_MEMBER)
    .values(
        {
            name: sa.bindparam(name)
            for name in (
                "account_no",
                "state",
                "since",
                "until",
                "removed_at",
                "removed_by",
                "acked",
                "last_send",
            )
        }
    )
)
_UPDATE_STATE = (
    sa.update(t.members)
    .where(*_OF_MEMBER)
    .values({name: sa.bindparam(name) for name in ("state", "until", "removed_at", "removed_by")})
)
