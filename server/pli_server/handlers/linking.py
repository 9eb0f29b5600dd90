"""Carrying what links a further device: a request down to an enrolled one, a sealed letter back."""

from typing import Final

import sqlalchemy as sa

from pli_protocol.relay import frames as f

from ..audit.acts import Act
from ..errors import Refusal
from ..relay import Relay
from ..session import Session
from ..storage import tables as t
from ..storage.transaction import Transaction
from .enrolment import wait_for_answer

LASTS_MS: Final = 120_000
"""Milliseconds in which a request may be answered."""

DAY: Final = 86_400_000
"""Milliseconds for which an answer is kept, and in which its device must have signed in."""


async def request_linking(relay: Relay, session: Session, frame: f.RequestLinking) -> f.Done:
    """Keep a request for the account's devices; an older one that nobody answered goes."""

    def work(tx: Transaction) -> None:
        known = tx.connection.execute(_REQUEST, {"id": frame.request_id}).first()
        if known is not None:
            kept = (known.account_no, known.device_id, known.request)
            if kept != (session.account_no, frame.device, frame.request):
                raise Refusal("conflict", "this request id is taken")
            return
        of_account = t.linkings.c.account_no == session.account_no
        recent = sa.select(sa.func.count()).where(of_account, t.linkings.c.created > tx.now - DAY)
        if (tx.connection.scalar(recent) or 0) >= relay.limits.linkings_per_day:
            raise Refusal("limit", "too many devices asked to be linked; wait a day")
        tx.connection.execute(
            sa.update(t.linkings)
            .where(of_account, t.linkings.c.answered.is_(None))
            .values(request=None)
        )
        tx.connection.execute(
            sa.insert(t.linkings).values(
                request_id=frame.request_id,
                account_no=session.account_no,
                device_id=frame.device,
                request=frame.request,
                created=tx.now,
            )
        )
        assert session.opened is not None
        establishment, account = session.opened
        tx.trace(Act.LINKING_ASKED, establishment, account=account, request=frame.request_id)

    wait_for_answer(relay, session, frame.request_id)
    await relay.writer.do("linking-request", work, size=len(frame.request), owners=session.owners)
    return f.Done(frame.rid)


async def fetch_linking(relay: Relay, session: Session, frame: f.FetchLinking) -> f.LinkingAnswer:
    """The letter, or None; it is pushed on this connection when it comes."""
    # Wait first: a letter that comes between the two is pushed.
    wait_for_answer(relay, session, frame.request_id)
    known = await relay.readers.run(
        lambda db: db.execute(_REQUEST, {"id": frame.request_id}).first()
    )
    if known is None or known.account_no != session.account_no:
        raise Refusal("not-found")
    return f.LinkingAnswer(frame.request_id, known.answer, frame.rid)


async def get_linking(relay: Relay, session: Session, frame: f.GetLinking) -> f.Linking:
    """What waits for the account of who is signed in."""
    since = relay.clock() - LASTS_MS
    waiting = sa.select(t.linkings.c.request).where(
        t.linkings.c.account_no == session.account_no,
        t.linkings.c.request.is_not(None),
        t.linkings.c.answered.is_(None),
        t.linkings.c.created > since,
    )
    found = await relay.readers.run(lambda db: db.scalar(waiting))
    return f.Linking(frame.rid, found)


async def answer_linking(relay: Relay, session: Session, frame: f.AnswerLinking) -> f.Done:
    """Keep the letter; from now on the device that asked may sign in, and no other."""

    def work(tx: Transaction) -> None:
        known = tx.connection.execute(_REQUEST, {"id": frame.request_id}).first()
        if known is None or known.account_no != session.account_no:
            raise Refusal("not-found")
        if known.answered is not None:
            if known.answer != frame.sealed:
                raise Refusal("conflict", "this request was answered")
            return
        if known.request is None or known.created <= tx.now - LASTS_MS:
            raise Refusal("not-found", "the request is over: two minutes, or another came")
        _check_room(tx, session, relay.limits.devices_per_account)
        tx.connection.execute(
            sa.update(t.linkings)
            .where(t.linkings.c.request_id == frame.request_id)
            .values(answer=frame.sealed, answered=tx.now)
        )
        tx.changes.enrolments.add(frame.request_id)
        session.trace(tx, Act.LINKING_ANSWERED, request=frame.request_id, linked=known.device_id)

    def then(_: None) -> None:
        waiting = relay.waiting.pop(frame.request_id, None)
        if waiting is not None:
            waiting.answer(f.LinkingAnswer(frame.request_id, frame.sealed))

    await relay.writer.do(
        "linking-answer", work, then=then, size=len(frame.sealed), owners=session.owners
    )
    return f.Done(frame.rid)


def was_linked(tx: Transaction, account_no: int, device_id: bytes) -> bool:
    """Whether a device of the account has approved this one, a short while ago."""
    approved = sa.exists().where(
        t.linkings.c.account_no == account_no,
        t.linkings.c.device_id == device_id,
        t.linkings.c.answered > tx.now - DAY,
    )
    return bool(tx.connection.scalar(sa.select(approved)))


def _check_room(tx: Transaction, session: Session, most: int) -> None:
    """Here, while the person still looks: the new device would be refused at its sign-in."""
    count = sa.select(sa.func.count()).where(
        t.devices.c.account_no == session.account_no,
        t.devices.c.locked.is_(None),
        t.devices.c.revoked.is_(None),
    )
    if (tx.connection.scalar(count) or 0) >= most:
        raise Refusal("limit", f"an account has at most {most} devices")


_REQUEST: Final = sa.select(t.linkings).where(t.linkings.c.request_id == sa.bindparam("id"))
