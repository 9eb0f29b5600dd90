"""Opening a group's log: the first commit, the first roster, perhaps as another group's successor."""

import sqlalchemy as sa

from pli_protocol.relay.frames import CreateGroup
from pli_protocol.relay.log import FIRST_CHAIN, RosterChange

from ..audit.acts import Act
from ..errors import Refusal
from ..relay import Relay
from ..session import Session
from ..storage import tables as t
from ..storage.groups import GroupState
from ..storage.transaction import Transaction
from .appending import AppendJob, Outcome, again, append_commit
from .roster import Newcomer, add_member, apply_change, check_change, check_welcome
from .settling import check_settled


class CreateJob(AppendJob):
    """CreateGroup, whose commit's header was checked before."""

    __slots__ = ("_change", "_frame")

    def __init__(
        self, relay: Relay, session: Session, frame: CreateGroup, change: RosterChange
    ) -> None:
        size = sum(len(p) for p in (frame.commit, frame.welcome) if isinstance(p, bytes))
        groups = (frame.group,) if frame.predecessor is None else (frame.group, frame.predecessor)
        super().__init__(relay, session, frame.rid, "create-group", frame.send_id, size, groups)
        self.owners = session.owners
        self._frame = frame
        self._change = change

    def apply(self, tx: Transaction) -> Outcome:
        frame, session = self._frame, self._session
        existing = tx.group(frame.group)
        held = tx.held(session.device_no, frame.send_id)
        if held is not None:
            return again(tx, held, existing)
        if existing is not None:
            raise Refusal("conflict", "this group exists already")
        self._check_count(tx)
        old = self._predecessor(tx)
        if old is not None:
            check_settled(tx, old)
        group = open_group(tx, frame.group, session.establishment, session.account_no, old)
        assert session.device is not None
        creator = add_member(
            tx,
            group,
            Newcomer(
                session.device_no,
                session.device.device_id,
                session.account_no,
                session.establishment,
            ),
            0,
        )
        limits = self._relay.limits
        check_welcome(self._change, frame.welcome)
        known = () if old is None else old.accounts()
        plan = check_change(tx, group, creator, self._change, limits, known=known)
        if old is not None and not {n.account_no for n in plan.added} <= old.accounts():
            raise Refusal("roster", "a re-founded group has no member that the old one had not")
        row = append_commit(tx, group, creator, frame.send_id, frame.commit)
        effects = apply_change(
            tx, group, creator, row, plan, frame.welcome, limits, frame.predecessor
        )
        self._trace(tx, len(plan.added))
        return Outcome(row.position, row.chain, row.time, row, effects)

    def _trace(self, tx: Transaction, added: int) -> None:
        frame = self._frame
        if frame.predecessor is None:
            self._session.trace(tx, Act.GROUP_CREATED, group=frame.group, added=added)
        else:
            old = frame.predecessor
            self._session.trace(
                tx, Act.GROUP_REFOUNDED, group=frame.group, predecessor=old, added=added
            )

    def finish(self, outcome: Outcome | Refusal | Exception) -> None:
        frame, relay, session = self._frame, self._relay, self._session
        fresh = isinstance(outcome, Outcome) and outcome.row is not None
        if fresh and session.delivery is not None and session.open:
            # The creator's own first commit comes back to it through the log, like any other.
            assert isinstance(outcome, Outcome)
            assert outcome.row is not None
            session.delivery.created(outcome.row.group_no, frame.group)
        if fresh and frame.predecessor is not None:
            room = relay.rooms.get(frame.predecessor)
            if room is not None:
                relay.rooms.refound(room, frame.group)
        super().finish(outcome)

    def _check_count(self, tx: Transaction) -> None:
        made = tx.connection.scalar(
            sa.select(sa.func.count()).where(t.groups.c.creator == self._session.account_no)
        )
        if (made or 0) >= self._relay.limits.groups_per_account:
            raise Refusal("limit", "this account has opened too many groups")

    def _predecessor(self, tx: Transaction) -> GroupState | None:
        """The group that this one re-founds; the first who asks gets it."""
        frame = self._frame
        if frame.predecessor is None:
            return None
        old = tx.group(frame.predecessor)
        member = None if old is None else old.members.get(self._session.device_no)
        if old is None or member is None or not member.receives:
            raise Refusal("not-found")
        if old.successor is not None:
            raise Refusal("conflict", "the group was re-founded already")
        return old


def open_group(
    tx: Transaction,
    group_id: bytes,
    establishment: bytes,
    creator_no: int,
    old: GroupState | None,
) -> GroupState:
    """A group with an empty log, as the successor of another where there is one."""
    made = tx.connection.execute(
        sa.insert(t.groups).values(
            group_id=group_id,
            establishment=establishment,
            creator=creator_no,
            epoch=0,
            last=0,
            chain=FIRST_CHAIN,
            predecessor=None if old is None else old.no,
            created=tx.now,
        )
    )
    assert made.inserted_primary_key is not None
    number = made.inserted_primary_key[0]
    group = GroupState(number, group_id, establishment, 0, 0, FIRST_CHAIN, None)
    tx.adopt(group)
    if old is not None:
        tx.connection.execute(
            sa.update(t.groups).where(t.groups.c.no == old.no).values(successor=group_id)
        )
        old.successor = group_id
        tx.changes.groups[old.group_id] = old.last
    return group
