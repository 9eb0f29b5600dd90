"""Closing an account for good: it leaves its groups, what the relay holds of it goes, its name stays taken.

What is left: the account's id with its person's, so that no other key takes it, and its devices' ids, by
which the messages of others' conversations name their sender until retention takes them.
"""

from functools import partial

import sqlalchemy as sa

from pli_protocol.relay import frames as f

from ..accounts.erasing import erase
from ..accounts.factors import Holder
from ..audit.acts import Act
from ..errors import Refusal
from ..group_log.appending import announce_ended
from ..group_log.roster import RosterEffects, leave
from ..relay import Relay
from ..session import Session
from ..storage import locks
from ..storage import tables as t
from ..storage.groups import MemberState
from ..storage.transaction import Transaction
from .accounts import account_number, require_step_up


async def close_account(relay: Relay, session: Session, frame: f.CloseAccount) -> f.Done:
    """One's own, or one of the issuer's establishment; the same again is done already."""
    own = None if session.device is None else session.device.person.account
    if own is not None and frame.account not in (None, own):
        raise Refusal("not-found")
    require_step_up(relay, session)
    account = own or frame.account
    if account is None:
        raise Refusal("not-found")
    holder = Holder(session.establishment, account)
    number = await relay.readers.run(lambda db: account_number(db, holder))
    for group_id in await relay.readers.run(lambda db: _groups(db, number)):
        await _leave(relay, group_id, number)

    def work(tx: Transaction) -> list[int]:
        devices = erase(tx, holder, number)
        tx.connection.execute(
            sa.update(t.accounts)
            .where(t.accounts.c.no == number)
            .values(closed=sa.func.coalesce(t.accounts.c.closed, tx.now))
        )
        session.trace(tx, Act.ACCOUNT_CLOSED, closed=account)
        return devices

    devices = await relay.writer.do(
        "close-account",
        work,
        owners=(locks.of_account(holder.establishment, holder.id),),
    )
    _cut(relay, devices, but=session)
    return f.Done(frame.rid)


def _groups(db: sa.Connection, account_no: int) -> list[bytes]:
    found = db.scalars(
        sa.select(t.groups.c.group_id)
        .join(t.members, t.members.c.group_no == t.groups.c.no)
        .where(
            t.members.c.account_no == account_no,
            t.members.c.state.in_([MemberState.ACTIVE, MemberState.REMOVED]),
        )
        .distinct()
    )
    return list(found)


async def _leave(relay: Relay, group_id: bytes, account_no: int) -> None:
    """Nothing more is delivered; the leaves are the members' to remove."""

    def work(tx: Transaction) -> RosterEffects:
        group = tx.group(group_id)
        return RosterEffects() if group is None else leave(tx, group, account_no)

    then = partial(announce_ended, relay, group_id)
    await relay.writer.do("leave", work, then=then, owners=(), groups=(group_id,))


def _cut(relay: Relay, devices: list[int], *, but: Session) -> None:
    """The connections of the account here; who asked is answered first, and hangs up."""
    for number in devices:
        session = relay.sessions.get(number)
        if session is not None:
            relay.drop(session)
            if session is not but:
                session.refuse(None, Refusal("sign-in-failed"))
