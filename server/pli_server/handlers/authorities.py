"""Authorities that followed an establishment's first one: published once, told to everybody."""

import sqlalchemy as sa

from pli_protocol.identity import AuthorityChange, IdentityError
from pli_protocol.relay import frames as f

from ..audit.acts import Act
from ..errors import Refusal
from ..relay import Relay
from ..session import GREETED, Session
from ..storage import locks
from ..storage import tables as t
from ..storage.partners import may_see
from ..storage.transaction import Transaction
from .establishments import cut_revoked
from .succession import add_statement, tell_statement


async def publish_authority_change(
    relay: Relay, session: Session, frame: f.PublishAuthorityChange
) -> f.Done | None:
    """Another authority follows. Its signatures are what counts: of the one before, or of two issuers."""
    establishment = session.establishment
    try:
        change = await relay.checker.run(
            relay.checker.authority_change, frame.change, establishment
        )
    except IdentityError as error:
        if error.rule == "older":
            return f.Done(frame.rid)
        raise Refusal("invalid", "the change of authority does not check") from None
    subject = change.number.to_bytes(2, "big")

    def work(tx: Transaction) -> tuple[int, list[bytes]]:
        if _authority_changes(tx.connection, establishment)[change.number - 1 :]:
            raise Refusal("conflict", "another authority has followed meanwhile")
        session.trace(tx, Act.AUTHORITY_CHANGE, number=change.number)
        return add_statement(tx, establishment, AuthorityChange.TYPE, subject, frame.change)

    def then(told: tuple[int, list[bytes]]) -> None:
        tell_statement(relay, establishment, told)

    owners = (locks.of_establishment(establishment),)
    await relay.writer.do("authority-change", work, then=then, owners=owners)
    await relay.checker.run(relay.checker.accept_authority_change, frame.change, establishment)
    # Who published it may be among those who count no more: it is answered first.
    session.answer(f.Done(frame.rid))
    await cut_revoked(relay)
    return None


async def get_authority_changes(
    relay: Relay, session: Session, frame: f.GetAuthorityChanges
) -> f.AuthorityChanges:
    """To anybody before sign-in, as the first authority's certificate; else of one's own or a partner's."""

    def read(db: sa.Connection) -> f.AuthorityChanges:
        if session.state != GREETED:
            may_see(db, session.establishment, frame.establishment, relay.clock())
        return f.AuthorityChanges(frame.rid, tuple(_authority_changes(db, frame.establishment)))

    return await relay.readers.run(read)


def _authority_changes(db: sa.Connection, establishment: bytes) -> list[bytes]:
    changes = sa.select(t.statements.c.statement).where(
        t.statements.c.establishment == establishment,
        t.statements.c.kind == AuthorityChange.TYPE,
    )
    return list(db.scalars(changes.order_by(t.statements.c.subject)))
