"""Carrying enrolments: a sealed request up to the issuer, a sealed answer back."""

import sqlalchemy as sa

from pli_protocol.identity import IdentityError, Person, Replacement
from pli_protocol.relay import frames as f

from ..audit.acts import Act
from ..errors import Refusal
from ..pace import DAY_MS
from ..relay import Relay
from ..session import Session
from ..storage import locks
from ..storage import tables as t
from ..storage.transaction import Transaction
from .establishments import cut_revoked
from .succession import add_statement, renew_account, store_account, tell_statement

ROOM = f.MAX_FRAME - 256
WAITS_PER_CONNECTION = 4


async def request_enrolment(relay: Relay, session: Session, frame: f.RequestEnrolment) -> f.Done:
    """Keep a request for the issuer; the same again changes nothing."""
    limits = relay.limits
    if len(frame.sealed) > limits.enrolment_bytes:
        raise Refusal("too-large", f"a request has at most {limits.enrolment_bytes} bytes")

    asked: int | None = None

    def work(tx: Transaction) -> bool:
        nonlocal asked
        if not _exists(tx.connection, frame.establishment):
            raise Refusal("not-found")
        known = tx.connection.execute(_REQUEST, {"id": frame.request_id}).first()
        if known is not None:
            if (known.establishment, known.sealed) != (frame.establishment, frame.sealed):
                raise Refusal("conflict", "this request id is taken")
            return False
        if asked is None:  # counted once, however often the transaction is run again
            asked = relay.asked.ask(session.address, tx.now)
        if asked > limits.enrolments_per_address:
            raise Refusal("limit", "too many requests came from this address today")
        _make_room(tx, frame.establishment, limits.enrolments_waiting)
        _forget_answered(tx, frame.establishment, limits.enrolments_answered)
        tx.connection.execute(
            sa.insert(t.enrolments).values(
                request_id=frame.request_id,
                establishment=frame.establishment,
                sealed=frame.sealed,
                created=tx.now,
            )
        )
        tx.changes.enrolments.add(frame.request_id)
        tx.trace(Act.ENROLMENT_ASKED, frame.establishment, request=frame.request_id)
        return True

    def then(new: bool) -> None:
        if not new:
            return
        relay.tell_issuers(frame.establishment, frame.request_id, frame.sealed)

    wait_for_answer(relay, session, frame.request_id)
    await relay.writer.do(
        "enrolment-request",
        work,
        then=then,
        size=len(frame.sealed),
        owners=(locks.of_establishment(frame.establishment),),
    )
    return f.Done(frame.rid)


async def fetch_enrolment(
    relay: Relay, session: Session, frame: f.FetchEnrolment
) -> f.EnrolmentAnswer:
    """The issuer's answer, or None; it is pushed on this connection when it comes."""
    # Wait first: an answer that comes between the two is pushed.
    wait_for_answer(relay, session, frame.request_id)
    known = await relay.readers.run(
        lambda db: db.execute(_REQUEST, {"id": frame.request_id}).first()
    )
    if known is None:
        raise Refusal("not-found")
    return f.EnrolmentAnswer(frame.request_id, known.answer, frame.rid)


async def list_enrolments(relay: Relay, session: Session, frame: f.ListEnrolments) -> f.Enrolments:
    """The requests that wait, oldest first, at most a frame full; new ones are pushed from now on."""
    listed = session.listed = session.listed or set()
    establishment = session.establishment

    def read(db: sa.Connection) -> f.Enrolments:
        found = db.execute(
            sa.select(t.enrolments.c.request_id, t.enrolments.c.sealed)
            .where(
                t.enrolments.c.establishment == establishment,
                t.enrolments.c.answered.is_(None),
                *_behind(db, establishment, frame.after),
            )
            .order_by(t.enrolments.c.created, t.enrolments.c.request_id)
        )
        waiting, size = [], 0
        for row in found:
            size += len(row.sealed) + 64
            if size > ROOM:
                break
            waiting.append(f.PendingEnrolment(row.request_id, row.sealed))
        return f.Enrolments(frame.rid, tuple(waiting))

    answer = await relay.readers.run(read)
    listed.update(each.request_id for each in answer.waiting)
    return answer


async def answer_enrolment(relay: Relay, session: Session, frame: f.AnswerEnrolment) -> f.Done:
    """Keep the issuer's answer, and the account where a person was signed.

    Another key than the account had comes with the issuer's statement that it was replaced: who was
    before is cut off.
    """
    person: Person | None = None
    replacement: Replacement | None = None
    issuer = session.issuer
    assert issuer is not None
    if frame.person is not None:
        try:
            person = await relay.checker.run(
                relay.checker.person, (frame.person, issuer.certificate), session.establishment
            )
            if frame.replacement is not None:
                replacement = await relay.checker.run(
                    relay.checker.replacement, frame.replacement, person
                )
        except IdentityError:
            raise Refusal("invalid", "not a person's certificate that checks") from None

    def work(tx: Transaction) -> tuple[int, list[bytes]] | None:
        known = tx.connection.execute(_REQUEST, {"id": frame.request_id}).first()
        if known is None or known.establishment != session.establishment:
            raise Refusal("not-found")
        if known.answered is not None:
            if known.answer != frame.sealed:
                raise Refusal("conflict", "this request was answered otherwise")
            return None
        tx.connection.execute(
            sa.update(t.enrolments)
            .where(t.enrolments.c.request_id == frame.request_id)
            .values(answer=frame.sealed, answered=tx.now)
        )
        tx.changes.enrolments.add(frame.request_id)
        if person is None:
            session.trace(tx, Act.ENROLMENT_ANSWERED, request=frame.request_id)
            return None
        replaced = store_account(
            tx, person, issuer.certificate, relay.limits.accounts_per_establishment, replacement
        )
        facts = {"request": frame.request_id, "signed": person.account}
        if not replaced or replacement is None or frame.replacement is None:
            session.trace(tx, Act.ENROLMENT_ANSWERED, **facts)
            return None
        session.trace(tx, Act.ENROLMENT_ANSWERED, replaced=replacement.replaced, **facts)
        return add_statement(
            tx, session.establishment, Replacement.TYPE, replacement.replaced, frame.replacement
        )

    def then(told: tuple[int, list[bytes]] | None) -> None:
        if told is not None:
            tell_statement(relay, session.establishment, told)
        waiter = relay.waiting.pop(frame.request_id, None)
        if waiter is not None:
            waiter.answer(f.EnrolmentAnswer(frame.request_id, frame.sealed))

    owners = [locks.of_establishment(session.establishment)]
    if person is not None:
        owners.append(locks.of_account(person.establishment, person.account))
    told = await relay.writer.do(
        "enrolment-answer", work, then=then, size=len(frame.sealed), owners=tuple(owners)
    )
    if told is not None and frame.replacement is not None:
        await relay.checker.run(
            relay.checker.accept_replacement, frame.replacement, session.establishment
        )
        await cut_revoked(relay)
    return f.Done(frame.rid)


async def publish_certificate(
    relay: Relay, session: Session, frame: f.PublishCertificate
) -> f.Done:
    """A newer certificate of an account here, for the same key: another name, profession or end."""
    issuer = session.issuer
    assert issuer is not None
    try:
        person = await relay.checker.run(
            relay.checker.person, (frame.person, issuer.certificate), session.establishment
        )
    except IdentityError:
        raise Refusal("invalid", "not a person's certificate that checks") from None

    def work(tx: Transaction) -> None:
        if not renew_account(tx, person, issuer.certificate):
            raise Refusal("not-found")
        tx.establishment_changed(session.establishment)
        session.trace(tx, Act.CERTIFICATE, signed=person.account)

    def then(_: None) -> None:
        relay.tell_establishment(session.establishment, f.DirectoryChanged(session.establishment))

    owners = (locks.of_account(person.establishment, person.account),)
    await relay.writer.do("certificate", work, then=then, owners=owners)
    return f.Done(frame.rid)


def _make_room(tx: Transaction, establishment: bytes, limit: int) -> None:
    """Anybody can make requests: those that nobody answered for a day do not keep others out.

    Whose request gave way asks again with the same one whenever it connects.
    """
    waiting = (
        t.enrolments.c.establishment == establishment,
        t.enrolments.c.answered.is_(None),
    )
    count = sa.select(sa.func.count()).where(*waiting)
    if (tx.connection.scalar(count) or 0) < limit:
        return
    old = t.enrolments.c.created < tx.now - DAY_MS
    tx.connection.execute(sa.delete(t.enrolments).where(*waiting, old))
    if (tx.connection.scalar(count) or 0) >= limit:
        raise Refusal("limit", "too many requests wait for this establishment's issuer")


def _forget_answered(tx: Transaction, establishment: bytes, limit: int) -> None:
    """Anybody can make requests, and the issuer answers them all: the oldest answers go.

    Who still wanted one asks again with the same request, and gets the same answer.
    """
    answered = (
        t.enrolments.c.establishment == establishment,
        t.enrolments.c.answered.is_not(None),
    )
    count = tx.connection.scalar(sa.select(sa.func.count()).where(*answered)) or 0
    if count >= limit:
        oldest = (
            sa.select(t.enrolments.c.request_id)
            .where(*answered)
            .order_by(t.enrolments.c.answered)
            .limit(count - limit + 1)
        )
        tx.connection.execute(sa.delete(t.enrolments).where(t.enrolments.c.request_id.in_(oldest)))


def _behind(
    db: sa.Connection, establishment: bytes, after: bytes | None
) -> tuple[sa.ColumnElement[bool], ...]:
    """The requests that came after this one; all where it is not known any more."""
    last = None if after is None else db.execute(_REQUEST, {"id": after}).first()
    if last is None or last.establishment != establishment:
        return ()
    place = sa.tuple_(t.enrolments.c.created, t.enrolments.c.request_id)
    return (place > sa.tuple_(last.created, last.request_id),)


def wait_for_answer(relay: Relay, session: Session, request_id: bytes) -> None:
    """What answers this request is pushed on this connection from now on."""
    if session.enrolments is None:
        session.enrolments = set()
    if len(session.enrolments) >= WAITS_PER_CONNECTION and request_id not in session.enrolments:
        raise Refusal("limit", "too many enrolments wait on this connection")
    session.enrolments.add(request_id)
    relay.waiting[request_id] = session


def _exists(db: sa.Connection, establishment: bytes) -> bool:
    return bool(db.scalar(sa.select(sa.exists().where(t.establishments.c.id == establishment))))


_REQUEST = sa.select(t.enrolments).where(t.enrolments.c.request_id == sa.bindparam("id"))
