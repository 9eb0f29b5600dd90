"""Statements beside the revocation list, and what a device that is refused may know of itself."""

import os

import sqlalchemy as sa

from pli_protocol.identity import (
    DeviceRevocation,
    IdentityError,
    Person,
    Replacement,
    verify,
)
from pli_protocol.relay import frames as f
from pli_protocol.relay.log import refusal_challenge

from ..accounts.erasing import erase
from ..accounts.factors import Holder
from ..errors import Refusal
from ..relay import Relay
from ..session import Session
from ..storage import tables as t
from ..storage.partners import may_see, partners_of
from ..storage.quotas import room_for_account
from ..storage.transaction import Transaction

ROOM = f.MAX_FRAME - 256


async def get_statements(relay: Relay, session: Session, frame: f.GetStatements) -> f.Statements:
    """Those of one's own establishment or a partner's, a frame full."""
    own = session.establishment
    establishment = frame.establishment or own

    def read(db: sa.Connection) -> f.Statements:
        may_see(db, own, establishment, relay.clock())
        query = (
            sa.select(t.statements.c.number, t.statements.c.statement)
            .where(
                t.statements.c.establishment == establishment,
                t.statements.c.number > frame.after,
            )
            .order_by(t.statements.c.number)
        )
        found: list[f.NumberedStatement] = []
        size = 0
        for row in db.execute(query):
            size += len(row.statement) + 16
            if size > ROOM:
                return f.Statements(frame.rid, tuple(found), more=True)
            found.append(f.NumberedStatement(row.number, row.statement))
        return f.Statements(frame.rid, tuple(found))

    return await relay.readers.run(read)


async def ask_refusal(relay: Relay, session: Session, frame: f.AskRefusal) -> f.RefusalTold:
    """To who has the device's key: the person's own statement about it, the newest certificate."""
    signed = refusal_challenge(relay.settings.name, session.challenge)
    # One try per challenge, as at sign-in.
    session.challenge = os.urandom(32)
    try:
        device = await relay.checker.run(relay.checker.refusable, frame.chain)
        verify(device.signature_key, signed, frame.signature)
    except IdentityError:
        raise Refusal("not-found") from None
    person = device.person

    def read(db: sa.Connection) -> f.RefusalTold:
        statement = db.scalar(
            sa.select(t.statements.c.statement).where(
                t.statements.c.establishment == person.establishment,
                t.statements.c.kind == DeviceRevocation.TYPE,
                t.statements.c.subject == person.person_id + device.device_id,
            )
        )
        account = db.execute(
            sa.select(t.accounts.c.person, t.accounts.c.issuer).where(
                t.accounts.c.establishment == person.establishment,
                t.accounts.c.person_id == person.person_id,
                t.accounts.c.person != b"",
            )
        ).first()
        newest = None if account is None else (account.person, account.issuer)
        return f.RefusalTold(frame.rid, statement, newest)

    return await relay.readers.run(read)


async def get_list_part(relay: Relay, session: Session, frame: f.GetListPart) -> f.ListPart:
    """The newest list in parts: a device that is refused cannot fetch the blob of a large one."""
    found = await relay.readers.run(
        lambda db: db.execute(
            sa.select(t.establishments.c.revocations_number, t.establishments.c.revocations).where(
                t.establishments.c.id == frame.establishment
            )
        ).first()
    )
    if found is None:
        raise Refusal("not-found")
    whole = found.revocations or b""
    part = whole[frame.offset : frame.offset + f.LIST_PART]
    return f.ListPart(frame.rid, found.revocations_number, len(whole), part)


def store_account(
    tx: Transaction,
    person: Person,
    issuer: bytes,
    limit: int,
    replacement: Replacement | None = None,
) -> bool:
    """A new account (of `limit`), or a new certificate of the same key; another key by a statement.

    Returns whether the account had another key before: that person's row is filed under its person
    id from now on, with its devices and memberships; the rest of what was its own is erased.
    """
    known = tx.connection.execute(
        sa.select(t.accounts).where(
            t.accounts.c.establishment == person.establishment,
            t.accounts.c.account == person.account,
        )
    ).first()
    if known is not None and known.closed is not None:
        raise Refusal("conflict", "this account is closed for good")
    if known is not None and known.person_id == person.person_id:
        _renew(tx, known.no, person, issuer)
        return False
    if known is not None:
        if replacement is None or replacement.replaced != known.person_id:
            raise Refusal("conflict", "this account has another key")
        _set_aside(tx, Holder(person.establishment, person.account), known.no, known.person_id)
    else:
        room_for_account(tx.connection, person.establishment, limit)
    tx.connection.execute(
        sa.insert(t.accounts).values(
            establishment=person.establishment,
            account=person.account,
            created=tx.now,
            **_signed(person, issuer),
        )
    )
    return known is not None


def renew_account(tx: Transaction, person: Person, issuer: bytes) -> bool:
    """A newer certificate for the same account and key; whether there is such an account, not closed.

    One whose issuer was revoked counts again: its person is signed anew by another, and not revoked.
    """
    known = tx.connection.scalar(
        sa.select(t.accounts.c.no).where(
            t.accounts.c.establishment == person.establishment,
            t.accounts.c.account == person.account,
            t.accounts.c.person_id == person.person_id,
            t.accounts.c.closed.is_(None),
        )
    )
    if known is None:
        return False
    _renew(tx, known, person, issuer)
    tx.connection.execute(
        sa.update(t.accounts).where(t.accounts.c.no == known).values(revoked=None)
    )
    return True


def _renew(tx: Transaction, account_no: int, person: Person, issuer: bytes) -> None:
    tx.connection.execute(
        sa.update(t.accounts).where(t.accounts.c.no == account_no).values(**_signed(person, issuer))
    )


def _signed(person: Person, issuer: bytes) -> dict[str, object]:
    """What a certificate says of an account."""
    return {
        "person_id": person.person_id,
        "issuer_id": person.issuer_id,
        "person": person.certificate,
        "issuer": issuer,
        "ends": None if person.not_after is None else person.not_after * 1000,
    }


def _set_aside(tx: Transaction, holder: Holder, account_no: int, person_id: bytes) -> None:
    """The password too: it may have been set by who had the key of before in hand."""
    erase(tx, holder, account_no)
    tx.connection.execute(
        sa.update(t.accounts).where(t.accounts.c.no == account_no).values(account=person_id)
    )


def add_statement(
    tx: Transaction, establishment: bytes, kind: str, subject: bytes, statement: bytes
) -> tuple[int, list[bytes]]:
    """Keep a statement in the place of an earlier one of its kind about the same.

    Returns:
        Its number, and who is to be told beside its own establishment: for `tell_statement`.
    """
    same = (
        t.statements.c.establishment == establishment,
        t.statements.c.kind == kind,
        t.statements.c.subject == subject,
    )
    number = newest_statement(tx.connection, establishment) + 1
    tx.connection.execute(sa.delete(t.statements).where(*same))
    tx.connection.execute(
        sa.insert(t.statements).values(
            establishment=establishment,
            number=number,
            kind=kind,
            subject=subject,
            statement=statement,
            created=tx.now,
        )
    )
    tx.establishment_changed(establishment)
    return number, partners_of(tx.connection, establishment, tx.now)


def newest_statement(db: sa.Connection, establishment: bytes) -> int:
    """The highest number that was given; 0: none yet."""
    newest = sa.select(sa.func.max(t.statements.c.number)).where(
        t.statements.c.establishment == establishment
    )
    return int(db.scalar(newest) or 0)


def tell_statement(relay: Relay, establishment: bytes, told: "tuple[int, list[bytes]]") -> None:
    """Those who are online fetch it; `told`: its number, and the partners whose people are told too."""
    number, partners = told
    for each in (establishment, *partners):
        relay.tell_establishment(each, f.StatementsChanged(establishment, number))
