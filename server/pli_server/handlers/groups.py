"""Groups as a device sees them: which there are, and leaving one."""

import sqlalchemy as sa

from pli_protocol.identity import IdentityError
from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import encode

from ..audit.acts import Act
from ..errors import Refusal
from ..group_log.appending import announce_ended
from ..group_log.roster import RosterEffects, leave
from ..relay import Relay
from ..session import Session
from ..storage import tables as t
from ..storage.groups import MemberState
from ..storage.transaction import Transaction


async def leave_group(relay: Relay, session: Session, frame: f.LeaveGroup) -> f.Done:
    """The person leaves with all its devices, upon its device's signed statement."""
    assert session.device is not None
    try:
        checked = await relay.checker.run(
            relay.checker.leaving, frame.statement, session.establishment
        )
    except IdentityError:
        raise Refusal("invalid", "not a statement of leaving that checks") from None
    if (
        checked.statement.device_id != session.device.device_id
        or checked.statement.group != frame.group
    ):
        raise Refusal("invalid", "the statement names another device or group")

    def work(tx: Transaction) -> RosterEffects:
        group = tx.group(frame.group)
        member = None if group is None else group.members.get(session.device_no)
        if group is None or member is None or member.state is MemberState.ENDED:
            raise Refusal("not-found")
        session.trace(tx, Act.LEAVE, group=frame.group)
        return leave(tx, group, session.account_no)

    def then(effects: RosterEffects) -> None:
        announce_ended(relay, frame.group, effects)

    await relay.writer.do("leave", work, then=then, owners=(), groups=(frame.group,))
    return f.Done(frame.rid)


async def get_groups(relay: Relay, session: Session, frame: f.GetGroups) -> f.Groups:
    """The groups on whose roster a device of the account is, the newest first, a frame full."""

    def read(db: sa.Connection) -> f.Groups:
        own = t.members.c.device_no == session.device_no
        found = db.execute(
            sa.select(
                t.groups.c.group_id,
                t.groups.c.epoch,
                t.groups.c.last,
                t.groups.c.successor,
                sa.func.max(
                    sa.case((sa.and_(own, t.members.c.state == MemberState.ACTIVE), 1), else_=0)
                ).label("member"),
            )
            .join(t.members, t.members.c.group_no == t.groups.c.no)
            .where(
                t.members.c.account_no == session.account_no,
                t.members.c.state.in_([MemberState.ACTIVE, MemberState.REMOVED]),
            )
            .group_by(t.groups.c.no)
            .order_by(t.groups.c.no.desc())
        )
        states: list[f.GroupState] = []
        size = 256
        for row in found:
            state = f.GroupState(row.group_id, row.epoch, row.last, bool(row.member), row.successor)
            size += len(encode(f.Groups(0, (state,))))
            if size > f.MAX_FRAME:
                break
            states.append(state)
        return f.Groups(frame.rid, tuple(states))

    return await relay.readers.run(read)
