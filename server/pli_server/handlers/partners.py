"""Partner statements: published by the issuer, told to both sides once both have signed."""

import sqlalchemy as sa

from pli_protocol.identity import IdentityError, PartnerStatement
from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import encode

from ..audit.acts import Act
from ..errors import Refusal
from ..relay import Relay
from ..session import Session
from ..settings import Limits
from ..storage import locks
from ..storage import tables as t
from ..storage.partners import concerned, partners_of
from ..storage.transaction import Transaction

FOR_EVER = 2**53
"""Milliseconds at which what has no end ends."""


async def publish(relay: Relay, session: Session, frame: f.PublishPartner) -> f.Done:
    """Take what the establishment's authority signed; the newest about a partner counts."""
    own = session.establishment
    try:
        signed, partner = await relay.checker.run(
            relay.checker.partner, frame.statement, frame.authority, own
        )
    except IdentityError:
        raise Refusal("invalid", "the statement or the certificate does not check") from None

    def work(tx: Transaction) -> list[bytes]:
        _store(tx, own, partner, signed, frame, relay.limits)
        session.trace(tx, Act.PARTNER, partner=partner)
        return [e for e in concerned(tx.connection, own, tx.now) if e == partner]

    def then(told: list[bytes]) -> None:
        for establishment in (own, *told):
            relay.tell_establishment(establishment, f.PartnersChanged())

    await relay.writer.do("partner", work, then=then, owners=(locks.of_establishment(own),))
    return f.Done(frame.rid)


def _store(
    tx: Transaction,
    own: bytes,
    partner: bytes,
    signed: PartnerStatement,
    frame: f.PublishPartner,
    limits: Limits,
) -> None:
    of_own = t.partners.c.establishment == own
    this = sa.and_(of_own, t.partners.c.partner == partner)
    known = tx.connection.execute(sa.select(t.partners).where(this)).first()
    if known is not None and known.statement == frame.statement:
        return
    if known is not None and known.signed >= signed.time:
        raise Refusal("conflict", "a later statement about this partner is known")
    count = tx.connection.scalar(sa.select(sa.func.count()).where(of_own)) or 0
    if known is None and count >= limits.partners_per_establishment:
        most = limits.partners_per_establishment
        raise Refusal("limit", f"an establishment has at most {most} partners")
    tx.connection.execute(sa.delete(t.partners).where(this))
    tx.connection.execute(
        sa.insert(t.partners).values(
            establishment=own,
            partner=partner,
            statement=frame.statement,
            authority=frame.authority,
            signed=signed.time,
            until=min(signed.until * 1000, FOR_EVER),
        )
    )
    tx.establishment_changed(own)


async def get_partners(relay: Relay, session: Session, frame: f.GetPartners) -> f.Partners:
    """All statements of one's own establishment, also those that ended, a frame full at a time."""
    own = session.establishment

    def read(db: sa.Connection) -> f.Partners:
        is_open = set(partners_of(db, own, relay.clock()))
        query = (
            sa.select(t.partners, t.establishments.c.revocations_number)
            .outerjoin(t.establishments, t.establishments.c.id == t.partners.c.partner)
            .where(t.partners.c.establishment == own, t.partners.c.partner > (frame.after or b""))
            .order_by(t.partners.c.partner)
        )
        found: list[f.Partner] = []
        size = 256
        for row in db.execute(query):
            partner = f.Partner(
                row.partner,
                row.statement,
                row.authority,
                row.partner in is_open,
                row.revocations_number if row.partner in is_open else 0,
            )
            size += len(encode(f.Partners(0, (partner,))))
            if size > f.MAX_FRAME:
                return f.Partners(frame.rid, tuple(found), found[-1].establishment)
            found.append(partner)
        return f.Partners(frame.rid, tuple(found))

    return await relay.readers.run(read)
