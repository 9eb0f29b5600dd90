"""Establishments: opened with the host's code, their certificates, revocations and directory."""

from typing import Any

import sqlalchemy as sa

from pli_protocol.identity import (
    IdentityError,
    Issuer,
    RevocationList,
    kind_of,
    statement_type,
    verify,
)
from pli_protocol.identity.statements import MAX_STATEMENT, DeviceRevocation
from pli_protocol.relay import frames as f
from pli_protocol.relay.log import registration_challenge

from ..audit.acts import Act
from ..checker import Registered, certificate_hash
from ..codes import code_hash
from ..errors import Refusal
from ..relay import Relay
from ..session import Session
from ..storage import locks, timelines
from ..storage import tables as t
from ..storage.partners import may_see, partners_of
from ..storage.reading import account_counts
from ..storage.transaction import Transaction, pack, unpack
from .succession import add_statement, tell_statement

MAX_ISSUERS = 4
MAX_REGISTERED = 1536
"""Bytes of an issuer's certificate and of its enrolment key: all of them fit one frame."""

ROOM = f.MAX_FRAME - 256


async def register(relay: Relay, session: Session, frame: f.RegisterEstablishment) -> f.Done:
    """Open an establishment, or add an issuer to one: each takes a code of the host's."""
    if max(len(frame.issuer), len(frame.enrolment_key)) > MAX_REGISTERED:
        raise Refusal("too-large", f"certificate and statement have at most {MAX_REGISTERED} bytes")
    # Before the costly checks: anybody may ask, and only who has a code is worth them.
    code = sa.exists().where(t.establishment_codes.c.hash == code_hash(frame.code))
    if not await relay.readers.run(lambda db: bool(db.scalar(sa.select(code)))):
        raise Refusal("not-found", "the host gave no such code")
    signed = registration_challenge(relay.settings.name, session.challenge, frame.code)
    try:
        registered = await relay.checker.run(
            relay.checker.registration, frame.authority, frame.issuer, frame.enrolment_key
        )
        verify(registered.issuer.key, signed, frame.signature)
    except IdentityError:
        raise Refusal("invalid", "the certificates or the signature do not check") from None

    await relay.writer.do(
        "register",
        lambda tx: _register(tx, frame, registered),
        owners=(
            locks.of_code(code_hash(frame.code)),
            locks.of_establishment(registered.establishment),
        ),
    )
    await relay.checker.run(relay.checker.admit, registered, frame.issuer)
    return f.Done(frame.rid)


def _register(tx: Transaction, frame: f.RegisterEstablishment, registered: Registered) -> None:
    establishment, first, issuer = registered
    db, digest = tx.connection, code_hash(frame.code)
    code = db.execute(
        sa.select(t.establishment_codes).where(t.establishment_codes.c.hash == digest)
    ).first()
    if code is None:
        raise Refusal("not-found", "the host gave no such code")
    if code.used is not None:
        if (code.establishment, code.issuer) == (establishment, issuer.issuer_id):
            return
        raise Refusal("used", "this code was used already; ask the host for another")
    db.execute(
        sa.update(t.establishment_codes)
        .where(t.establishment_codes.c.hash == digest)
        .values(used=tx.now, establishment=establishment, issuer=issuer.issuer_id)
    )
    known = db.scalar(
        sa.select(t.establishments.c.authority).where(t.establishments.c.id == establishment)
    )
    if known is None:
        db.execute(
            sa.insert(t.establishments).values(id=establishment, authority=first, created=tx.now)
        )
    elif known != first:
        raise Refusal("conflict", "the establishment has another certificate of its authority")
    _store_issuer(tx, frame, establishment, issuer)
    opened = int(known is None)
    tx.trace(Act.REGISTRATION, establishment, issuer=issuer.issuer_id, opened=opened)


def _store_issuer(
    tx: Transaction, frame: f.RegisterEstablishment, establishment: bytes, issuer: Issuer
) -> None:
    db = tx.connection
    of_establishment = t.issuers.c.establishment == establishment
    db.execute(
        sa.delete(t.issuers).where(of_establishment, t.issuers.c.issuer_id == issuer.issuer_id)
    )
    count = db.scalar(sa.select(sa.func.count()).where(of_establishment)) or 0
    if count >= MAX_ISSUERS:
        raise Refusal("limit", f"an establishment has at most {MAX_ISSUERS} issuers")
    db.execute(
        sa.insert(t.issuers).values(
            certificate_hash=certificate_hash(frame.issuer),
            establishment=establishment,
            issuer_id=issuer.issuer_id,
            certificate=frame.issuer,
            enrolment_key=frame.enrolment_key,
            created=tx.now,
        )
    )
    tx.establishment_changed(establishment)


async def get_establishment(
    relay: Relay, session: Session, frame: f.GetEstablishment
) -> f.Establishment:
    """What is public of an establishment, to who knows its fingerprint.

    To who has signed in: of one's own and its partners.
    """
    signed_in = session.device is not None or session.issuer is not None

    def read(db: sa.Connection) -> f.Establishment:
        if signed_in:
            may_see(db, session.establishment, frame.establishment, relay.clock())
        found = db.execute(_ESTABLISHMENT, {"id": frame.establishment}).first()
        if found is None:
            raise Refusal("not-found")
        issuers = db.execute(
            sa.select(t.issuers.c.certificate, t.issuers.c.enrolment_key)
            .where(t.issuers.c.establishment == frame.establishment)
            .order_by(t.issuers.c.created, t.issuers.c.issuer_id)
        ).all()
        return f.Establishment(
            frame.rid,
            found.authority,
            tuple(row.certificate for row in issuers),
            tuple(row.enrolment_key for row in issuers),
            _published(found),
        )

    return await relay.readers.run(read)


async def publish_revocations(
    relay: Relay, session: Session, frame: f.PublishRevocations
) -> f.Done:
    """An issuer's newer list, or a person's word about its own device; whom it names is cut off.

    To a restored relay, which may have lost it, anybody brings a newer list: it is signed.
    """
    statement = frame.statement
    brings = session.issuer is not None or relay.timeline != timelines.FIRST
    if not isinstance(statement, f.BlobRef):
        data = statement
    elif brings:
        data = await relay.blobs.run(relay.blobs.read_checked, statement, MAX_STATEMENT)
    else:
        raise Refusal("invalid", "a statement about a device fits a frame")
    try:
        kind = statement_type(data)
        if kind == RevocationList.TYPE and brings:
            await _publish_list(relay, session, statement, data)
        elif kind == DeviceRevocation.TYPE and session.device is not None:
            await _publish_own(relay, session, data)
        else:
            raise Refusal("not-found")
    except IdentityError as error:
        if error.rule in ("older", "fork"):
            raise Refusal("conflict", "another revocation list is known") from None
        raise Refusal("invalid", "the statement does not check") from None
    await cut_revoked(relay)
    return f.Done(frame.rid)


async def _publish_list(relay: Relay, session: Session, payload: f.Payload, data: bytes) -> None:
    establishment = session.establishment
    taken, issuers = await relay.checker.run(relay.checker.revocations, data, establishment)

    def work(tx: Transaction) -> list[bytes]:
        is_blob, packed = pack(payload)
        tx.connection.execute(
            sa.update(t.establishments)
            .where(
                t.establishments.c.id == establishment,
                t.establishments.c.revocations_number < taken.number,
            )
            .values(
                revocations_number=taken.number,
                revocations=data,
                revocations_payload=packed,
                revocations_is_blob=is_blob,
            )
        )
        by_kind = {
            kind: [entry.id for entry in taken.entries if entry.kind == kind]
            for kind in ("device", "person")
        }
        _mark(tx, establishment, by_kind["device"], by_kind["person"], list(issuers))
        tx.establishment_changed(establishment)
        session.trace(tx, Act.REVOCATION, number=taken.number, entries=len(taken.entries))
        return partners_of(tx.connection, establishment, tx.now)

    def then(partners: list[bytes]) -> None:
        for told in (establishment, *partners):
            relay.tell_establishment(told, f.RevocationsChanged(establishment, taken.number))

    await relay.writer.do(
        "revocations",
        work,
        then=then,
        size=len(data),
        owners=(locks.of_establishment(establishment),),
    )


async def _publish_own(relay: Relay, session: Session, data: bytes) -> None:
    assert session.device is not None
    person = session.device.person
    device_id = await relay.checker.run(
        relay.checker.device_revocation,
        data,
        person.person_id,
        person.establishment,
        relay.limits.own_revocations,
    )

    def work(tx: Transaction) -> tuple[int, list[bytes]]:
        _mark(tx, person.establishment, [device_id], [], [], session.account_no)
        session.trace(tx, Act.REVOCATION, revoked=device_id)
        # Anybody may name anybody's device: nobody's word takes the place of another person's.
        subject = person.person_id + device_id
        return add_statement(tx, person.establishment, DeviceRevocation.TYPE, subject, data)

    def then(told: tuple[int, list[bytes]]) -> None:
        tell_statement(relay, person.establishment, told)

    await relay.writer.do(
        "revocations",
        work,
        then=then,
        owners=(*session.owners, locks.of_establishment(person.establishment)),
    )


def _mark(
    tx: Transaction,
    establishment: bytes,
    devices: list[bytes],
    persons: list[bytes],
    issuers: list[bytes],
    account_no: int | None = None,
) -> None:
    """Note what is revoked where rosters and claims look."""
    of_establishment = sa.select(t.accounts.c.no).where(t.accounts.c.establishment == establishment)
    if account_no is not None:
        of_establishment = of_establishment.where(t.accounts.c.no == account_no)
    for chunk in _chunked(devices):
        tx.connection.execute(
            sa.update(t.devices)
            .where(
                t.devices.c.device_id.in_(chunk),
                t.devices.c.account_no.in_(of_establishment),
                t.devices.c.revoked.is_(None),
            )
            .values(revoked=tx.now)
        )
    for column, ids in ((t.accounts.c.person_id, persons), (t.accounts.c.issuer_id, issuers)):
        for chunk in _chunked(ids):
            tx.connection.execute(
                sa.update(t.accounts)
                .where(
                    t.accounts.c.establishment == establishment,
                    column.in_(chunk),
                    t.accounts.c.revoked.is_(None),
                )
                .values(revoked=tx.now)
            )


def _chunked(ids: list[bytes]) -> list[list[bytes]]:
    return [ids[start : start + 500] for start in range(0, len(ids), 500)]


async def cut_revoked(relay: Relay) -> None:
    """Close the connections of everybody who was revoked."""
    online = [
        (session, who)
        for session in (*relay.sessions.values(), *relay.issuers.values())
        if (who := session.device or session.issuer) is not None
    ]
    for session in await relay.checker.run(relay.checker.refused, online):
        relay.drop(session)
        session.refuse(None, Refusal("sign-in-failed"))


async def get_revocations(relay: Relay, session: Session, frame: f.GetRevocations) -> f.Revocations:
    """The newest list of one's own establishment, or of a partner."""

    def read(db: sa.Connection) -> f.Payload | None:
        may_see(db, session.establishment, frame.establishment, relay.clock())
        found = db.execute(_ESTABLISHMENT, {"id": frame.establishment}).first()
        return None if found is None else _published(found)

    return f.Revocations(frame.rid, await relay.readers.run(read))


async def get_directory(relay: Relay, session: Session, frame: f.GetDirectory) -> f.Directory:
    """The people of one's own establishment, or of a partner, by account, a frame full at a time."""
    own = session.establishment
    establishment = frame.establishment or own

    def read(db: sa.Connection) -> f.Directory:
        may_see(db, own, establishment, relay.clock())
        query = (
            sa.select(t.accounts.c.account, t.accounts.c.person, t.accounts.c.issuer)
            .where(
                t.accounts.c.establishment == establishment,
                account_counts(relay.clock()),
                t.accounts.c.account > (frame.after or b""),
            )
            .order_by(t.accounts.c.account)
        )
        people: list[tuple[bytes, bytes]] = []
        size, last = 0, None
        for row in db.execute(query):
            if establishment != own and kind_of(row.person) == "bot":
                continue
            size += len(row.person) + len(row.issuer) + 16
            if size > ROOM:
                return f.Directory(frame.rid, tuple(people), last)
            people.append((row.person, row.issuer))
            last = row.account
        return f.Directory(frame.rid, tuple(people))

    return await relay.readers.run(read)


def _published(found: sa.Row[Any]) -> f.Payload | None:
    if found.revocations_payload is None:
        return None
    return unpack(found.revocations_is_blob, found.revocations_payload)


_ESTABLISHMENT = sa.select(t.establishments).where(t.establishments.c.id == sa.bindparam("id"))
