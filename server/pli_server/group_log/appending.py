"""Appending to a group's log: who may, when, once, in order (one class per kind of request).

The jobs run on the writer's thread. Checks come in this order: the same send again gets the same
answer; not a member, or no such group: not-found; re-founded: conflict; another epoch: stale-epoch;
not the send after the last one held: predecessor-missing; a commit's roster change.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from pli_protocol.relay.codec import encode
from pli_protocol.relay.frames import Accepted, Payload, Position
from pli_protocol.relay.log import RosterChange

from ..audit.acts import Act
from ..errors import Refusal, StorageFailed
from ..relay import Relay
from ..session import Session
from ..settings import Limits
from ..storage import tables as t
from ..storage import timelines as times
from ..storage.groups import GroupState, Member, MemberState
from ..storage.locks import Owners
from ..storage.transaction import COMMIT, PROPOSAL, RETURN, Appended, Held, Transaction
from .header import Header
from .roster import NO_EFFECTS, RosterEffects, apply_change, check_change, check_welcome
from .settling import check_settled

OVERHEAD: Final = 512
"""Bytes that a queued request takes besides its payload."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an accepted request; `row` is None when it was held before."""

    position: Position
    chain: bytes
    time: int
    row: Appended | None = None
    effects: RosterEffects = NO_EFFECTS


class AppendJob(ABC):
    """A request that appends a row and is answered by Accepted."""

    __slots__ = ("_relay", "_rid", "_session", "groups", "hot", "key", "owners", "size", "what")

    def __init__(
        self,
        relay: Relay,
        session: Session,
        rid: int,
        what: str,
        send_id: bytes,
        size: int,
        groups: tuple[bytes, ...],
    ) -> None:
        self._relay = relay
        self._session = session
        self._rid = rid
        self.what = what
        self.hot = False
        self.key: tuple[int, bytes] | None = (session.device_no, send_id)
        self.size = size + OVERHEAD
        self.owners: Owners = ()
        self.groups = groups

    @abstractmethod
    def apply(self, tx: Transaction) -> Outcome:
        """Decide and gather the row, inside the write transaction; raises Refusal."""

    def finish(self, outcome: Outcome | Refusal | Exception) -> None:
        session = self._session
        session.end_request()
        if isinstance(outcome, Outcome):
            session.push(encode(Accepted(self._rid, outcome.position, outcome.chain, outcome.time)))
            if outcome.row is not None:
                announce(self._relay, outcome.row, outcome.effects)
        elif isinstance(outcome, Refusal):
            session.refuse(self._rid, outcome)
        elif isinstance(outcome, StorageFailed):
            # Whether it is stored is not known: the client comes back and sends it again.
            session.close()


class SendJob(AppendJob):
    """Send: an application message, a proposal or a commit."""

    __slots__ = ("_change", "_header", "_message", "_previous", "_send_id", "_welcome")

    def __init__(
        self,
        relay: Relay,
        session: Session,
        rid: int,
        send_id: bytes,
        previous: bytes | None,
        message: Payload,
        header: Header,
        change: RosterChange | None,
        welcome: Payload | None,
    ) -> None:
        what = "send" if change is None else "commit"
        size = _size(message) + _size(welcome)
        super().__init__(relay, session, rid, what, send_id, size, (header.group_id,))
        self.hot = change is None
        self._send_id = send_id
        self._previous = previous
        self._message = message
        self._header = header
        self._change = change
        self._welcome = welcome

    def apply(self, tx: Transaction) -> Outcome:
        header, device_no = self._header, self._session.device_no
        group = tx.group(header.group_id)
        held = tx.held(device_no, self._send_id)
        if held is not None:
            return again(tx, held, group)
        group, sender = may_send(group, device_no, header)
        if self._previous != sender.last_send:
            raise Refusal("predecessor-missing")
        if self._change is not None:
            return self._commit(tx, group, sender, self._change)
        row = tx.append(group, header.kind, sender, self._send_id, self._message)
        tx.sent(group, sender, self._send_id)
        return Outcome(row.position, row.chain, row.time, row)

    def _commit(
        self, tx: Transaction, group: GroupState, sender: Member, change: RosterChange
    ) -> Outcome:
        limits = self._relay.limits
        check_welcome(change, self._welcome)
        plan = check_change(tx, group, sender, change, limits)
        check_settled(tx, group)
        row = append_commit(tx, group, sender, self._send_id, self._message)
        tx.sent(group, sender, self._send_id)
        effects = apply_change(tx, group, sender, row, plan, self._welcome, limits)
        if plan.added or plan.removed:
            counts = {"added": len(plan.added), "removed": len(plan.removed)}
            seq = row.position.seq
            self._session.trace(tx, Act.GROUP_CHANGED, group=group.group_id, seq=seq, **counts)
        return Outcome(row.position, row.chain, row.time, row, effects)


class ReturnJob(AppendJob):
    """AskReturn: a signed request, which was checked before, of a member person's device."""

    __slots__ = ("_group_id", "_request", "_send_id")

    def __init__(
        self,
        relay: Relay,
        session: Session,
        rid: int,
        group_id: bytes,
        send_id: bytes,
        request: bytes,
    ) -> None:
        super().__init__(relay, session, rid, "return", send_id, len(request), (group_id,))
        self._group_id = group_id
        self._send_id = send_id
        self._request = request

    def apply(self, tx: Transaction) -> Outcome:
        session = self._session
        group = tx.group(self._group_id)
        held = tx.held(session.device_no, self._send_id)
        if held is not None:
            return again(tx, held, group)
        if group is None or session.account_no not in group.accounts():
            raise Refusal("not-found")
        if group.successor is not None:
            raise Refusal("conflict", "the group was re-founded")
        _few_returns(tx, group, session.device_no, self._relay.limits)
        assert session.device is not None
        sender = group.members.get(session.device_no) or Member(
            session.device_no, session.device.device_id, session.account_no, MemberState.ENDED, 0
        )
        row = tx.append(group, RETURN, sender, self._send_id, self._request)
        session.trace(tx, Act.RETURN, group=group.group_id, seq=row.position.seq)
        return Outcome(row.position, row.chain, row.time, row)


def append_commit(
    tx: Transaction, group: GroupState, sender: Member, send_id: bytes, message: Payload
) -> Appended:
    """Append the commit that won its epoch: the group's next rows are of the next epoch."""
    row = tx.append(group, COMMIT, sender, send_id, message)
    group.epoch += 1
    return row


def may_send(group: GroupState | None, device_no: int, header: Header) -> tuple[GroupState, Member]:
    """The group and the sender, where the device may send a message with this header now."""
    member = None if group is None else group.members.get(device_no)
    if group is None or member is None or member.state is MemberState.ENDED:
        raise Refusal("not-found")
    if member.state is MemberState.LEAVING and header.kind != PROPOSAL:
        raise Refusal("not-found")
    if group.successor is not None:
        raise Refusal("conflict", "the group was re-founded")
    if header.epoch != group.epoch:
        raise Refusal("stale-epoch", epoch=group.epoch)
    if member.state is MemberState.REMOVED:
        raise Refusal("not-found")
    return group, member


def again(tx: Transaction, held: Held, group: GroupState | None) -> Outcome:
    """The answer of before, for the same send id in the same group."""
    if group is None or held.group_no != group.no:
        raise Refusal("conflict", "this send id was used in another group")
    position, chain = Position(tx.timeline, held.seq), held.chain
    if tx.timeline != times.FIRST:
        position, chain = _first_place(tx, held)
    return Outcome(position, chain, held.time)


def _first_place(tx: Transaction, held: Held) -> tuple[Position, bytes]:
    """On a restored relay: where a send stood first, if it was brought or is of an older timeline."""
    number = tx.connection.scalar(
        sa.select(t.rows.c.no).where(t.rows.c.group_no == held.group_no, t.rows.c.seq == held.seq)
    )
    if number is None:
        return Position(tx.timeline, held.seq), held.chain  # of this very transaction
    timelines = times.read(tx.connection)
    place, first = times.places(tx.connection, timelines, held.group_no, [(held.seq, int(number))])[
        0
    ]
    return (place, held.chain) if first is None else (first.position, first.chain)


def announce(relay: Relay, row: Appended, effects: RosterEffects) -> None:
    """Tell everybody online, after COMMIT: the row first, then what its roster change means."""
    for device_no in (*(no for no, _ in effects.welcomed), *effects.entered):
        # A device that is added again gets the rows after this one only.
        session = relay.sessions.get(device_no)
        if session is not None and session.delivery is not None:
            session.delivery.ended(row.group_id, 0)
    relay.rooms.publish(row)
    for device_no, welcome in effects.welcomed:
        session = relay.sessions.get(device_no)
        if session is not None and session.delivery is not None:
            session.delivery.added(row.group_no, welcome)
    for device_no in effects.entered:
        session = relay.sessions.get(device_no)
        if session is not None and session.delivery is not None:
            session.delivery.entered(row.group_no, row.group_id, row.position.seq)
    announce_ended(relay, row.group_id, effects)


def announce_ended(relay: Relay, group_id: bytes, effects: RosterEffects) -> None:
    """Stop delivering to those whose membership ended."""
    for device_no, until in effects.ended:
        session = relay.sessions.get(device_no)
        if session is not None and session.delivery is not None:
            session.delivery.ended(group_id, until)


def _few_returns(tx: Transaction, group: GroupState, device_no: int, limits: Limits) -> None:
    asked = tx.connection.scalar(
        sa.select(sa.func.count()).where(
            t.rows.c.sender_no == device_no,
            t.rows.c.group_no == group.no,
            t.rows.c.kind == RETURN,
            t.rows.c.time > tx.now - 86_400_000,
        )
    )
    if (asked or 0) >= limits.returns_per_day:
        raise Refusal("limit", "too many requests to return today")


def _size(payload: Payload | None) -> int:
    return len(payload) if isinstance(payload, bytes) else 0
