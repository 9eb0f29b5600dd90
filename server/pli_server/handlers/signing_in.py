"""Greeting, sign-in by challenge, and the token that catches copied vaults (reliability rule 9)."""

import hashlib
import os
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from pli_protocol.identity import Device, IdentityError, Issuer, verify
from pli_protocol.relay import frames as f
from pli_protocol.relay.log import sign_in_challenge
from pli_protocol.transparency import SignedHead

from ..audit.acts import Act, Fact
from ..audit.trail import Trail
from ..delivery import Delivery
from ..errors import Refusal
from ..group_log.roster import change_account
from ..relay import Relay
from ..session import DEVICE, GREETED, ISSUER, Session
from ..settings import Limits
from ..storage import locks, reading, timelines
from ..storage import tables as t
from ..storage.quotas import room_for_account
from ..storage.transaction import Transaction
from .linking import was_linked
from .succession import newest_statement

FORGOTTEN_MS: Final = 60_000
"""When a device that a restored relay may have forgotten is to come again, milliseconds."""


def hello(relay: Relay, session: Session, frame: f.Hello) -> f.Welcomed:
    """Agree on a version; the challenge is of this connection only."""
    common = [version for version in f.PROTOCOL_VERSIONS if version in frame.versions]
    if not common:
        newer = max(frame.versions) > max(f.PROTOCOL_VERSIONS)
        side = "update the relay" if newer else "update the client"
        raise Refusal("unsupported-version", side)
    session.state = GREETED
    session.challenge, session.greeted = os.urandom(32), relay.clock()
    return f.Welcomed(common[0], relay.settings.name, session.challenge, session.greeted)


async def sign_in(relay: Relay, session: Session, frame: f.SignIn) -> None:
    """Check chain and signature, then take or refuse the token; rows follow.

    A few at a time: when all devices come back at once, nobody who is online waits behind them.
    """
    async with relay.signing_in:
        if session.open:
            await _sign_in(relay, session, frame)


async def _sign_in(relay: Relay, session: Session, frame: f.SignIn) -> None:
    challenge = sign_in_challenge(relay.settings.name, session.challenge, frame.token)
    # One try per challenge: another sign-in needs another connection.
    session.challenge = os.urandom(32)
    try:
        if frame.chain:
            await relay.learn_issuer(frame.chain[-1])
        if len(frame.chain) == 1:
            issuer = await relay.checker.run(relay.checker.issuer, frame.chain)
            verify(issuer.key, challenge, frame.signature)
        elif len(frame.chain) == 3:
            device = await relay.checker.run(relay.checker.device, frame.chain)
            verify(device.signature_key, challenge, frame.signature)
        else:
            raise IdentityError("chain-length", "a chain of one or three was expected")
    except IdentityError:
        _trace_failure(relay, None)
        raise Refusal("sign-in-failed") from None
    who: Device | Issuer
    if len(frame.chain) == 1:
        who = issuer
        await _sign_in_issuer(relay, session, frame, issuer)
    else:
        who = device
        await _sign_in_device(relay, session, frame, device)
    # A list that was published meanwhile did not find this connection among those to cut.
    if await relay.checker.run(relay.checker.refused, [(session, who)]):
        relay.drop(session)
        raise Refusal("sign-in-failed")


@dataclass(frozen=True, slots=True)
class _Admitted:
    device_no: int
    account_no: int
    token: bytes
    first: bool
    revocations: int
    key_packages: int
    memberships: list[reading.Membership]
    welcomes: bool
    statements: int
    trail: Trail
    session: int
    revision: int


async def _sign_in_device(relay: Relay, session: Session, frame: f.SignIn, device: Device) -> None:
    def work(tx: Transaction) -> _Admitted | None:
        return _admit(tx, device, frame.token, session.greeted, relay.limits)

    def then(admitted: _Admitted | None) -> None:
        if admitted is None:
            _cut(relay, device.device_id)
        else:
            _begin(relay, session, frame.rid, device, admitted)

    owner = locks.of_account(device.person.establishment, device.person.account)
    try:
        admitted = await relay.writer.do("sign-in", work, then=then, owners=(owner,))
    except Refusal:
        _trace_failure(relay, device)
        raise
    if admitted is None:
        raise Refusal("clone")
    establishment = device.person.establishment
    if relay.follower is not None and admitted.revision != relay.known_revision(establishment):
        # Another node has stored something of which this one was not told yet.
        await relay.follower.catch_up(establishment)


def _begin(relay: Relay, session: Session, rid: int, device: Device, admitted: _Admitted) -> None:
    """On the loop, in the order of the log: nothing is pushed before SignedIn."""
    older = relay.sessions.get(admitted.device_no)
    if older is not None:
        relay.drop(older)
        older.refuse(None, Refusal("replaced"))
    if not session.open:
        return
    session.device = device
    session.sign_in = admitted.session
    session.device_no = admitted.device_no
    session.account_no = admitted.account_no
    _signed_in(session, DEVICE)
    relay.sessions[admitted.device_no] = session
    relay.note_end(device)
    session.answer(
        f.SignedIn(
            rid,
            admitted.token,
            relay.timeline,
            admitted.revocations,
            admitted.key_packages,
            relay.heads.public,
            _head(relay, admitted.trail),
            admitted.first,
            admitted.statements,
        )
    )
    for m in admitted.memberships:
        if m.successor is not None:
            session.answer(f.GroupRefounded(m.group_id, m.successor))
    session.delivery = Delivery(relay, session, admitted.device_no)
    session.delivery.begin(admitted.memberships, admitted.welcomes)


async def _sign_in_issuer(relay: Relay, session: Session, frame: f.SignIn, issuer: Issuer) -> None:
    def work(tx: Transaction) -> tuple[int, Trail]:
        tx.trace(Act.SIGN_IN, issuer.establishment, issuer=issuer.issuer_id)
        tx.trail.want_tree()
        return _revocations(tx.connection, issuer.establishment), tx.trail

    number, trail = await relay.writer.do("sign-in", work, owners=())
    older = relay.issuers.get(issuer.issuer_id)
    if older is not None:
        relay.drop(older)
        older.refuse(None, Refusal("replaced"))
    session.issuer = issuer
    _signed_in(session, ISSUER)
    relay.issuers[issuer.issuer_id] = session
    # An issuer's copy is harmless to MLS, so its token is not checked.
    token, key, head = os.urandom(16), relay.heads.public, _head(relay, trail)
    session.answer(f.SignedIn(frame.rid, token, relay.timeline, number, 0, key, head))


def _signed_in(session: Session, state: str) -> None:
    session.state = state
    session.signed_in()


async def confirm_token(relay: Relay, session: Session, frame: f.ConfirmToken) -> f.Done:
    """The device has stored the token of its sign-in: the one before is dead."""
    if session.device is None:
        return f.Done(frame.rid)
    shown = _hash(frame.token)

    def work(tx: Transaction) -> None:
        found = tx.connection.execute(
            sa.select(t.devices.c.token, t.devices.c.next_token).where(
                t.devices.c.no == session.device_no
            )
        ).one()
        if shown == found.next_token:
            _store_tokens(tx, session.device_no, shown, None)
        elif shown != found.token:
            raise Refusal("invalid", "not the token of the last sign-in")

    await relay.writer.do("confirm-token", work, owners=session.owners)
    return f.Done(frame.rid)


# --- in the transaction -----------------------------------------------------------------------


def _admit(
    tx: Transaction, device: Device, token: bytes | None, greeted: int, limits: Limits
) -> _Admitted | None:
    """The device's place here; None: a clone, which locked the device (a Refusal would undo that)."""
    account_no = _account(tx, device, limits.accounts_per_establishment)
    _claim(tx, device, account_no, limits.devices_per_account)
    known = tx.connection.execute(
        sa.select(t.devices).where(t.devices.c.device_id == device.device_id)
    ).first()
    if known is None:
        device_no = _new_device(tx, device, account_no, limits.devices_per_account)
        confirmed, unconfirmed = None, None
        shown = None
    else:
        if known.account_no != account_no or known.revoked is not None:
            raise Refusal("sign-in-failed")
        if known.locked is not None:
            raise Refusal("clone")
        if known.signed_in > greeted:
            # It waited at a node that was stopped, and the device has signed in since: its token is
            # old, but no copy's (decision 12).
            raise Refusal("try-later", "the device has signed in meanwhile", retry_after=1000)
        device_no, confirmed, unconfirmed = known.no, known.token, known.next_token
        shown = None if token is None else _hash(token)
        # A restored relay knows no token: the first one shown is taken.
        first_shown = confirmed is None and unconfirmed is None
        if not first_shown and shown != confirmed and (shown is None or shown != unconfirmed):
            tx.connection.execute(
                sa.update(t.devices).where(t.devices.c.no == device_no).values(locked=tx.now)
            )
            tx.devices_changed([known.no])
            _trace(tx, Act.CLONE, device)
            return None
    tx.trail.want_tree()
    fresh = os.urandom(16)
    _store_tokens(tx, device_no, shown, _hash(fresh))
    _trace(tx, Act.SIGN_IN, device, first=known is None)
    return _admitted(tx, device, device_no, account_no, fresh, known is None)


def _trace(tx: Transaction, act: Act, device: Device, **facts: Fact) -> None:
    person = device.person
    tx.trace(act, person.establishment, account=person.account, device=device.device_id, **facts)


def _account(tx: Transaction, device: Device, limit: int) -> int:
    """The account's number; the account is noted when the relay has never seen it."""
    person = device.person
    found = tx.connection.execute(
        sa.select(t.accounts).where(
            t.accounts.c.establishment == person.establishment,
            t.accounts.c.account == person.account,
        )
    ).first()
    if found is None:
        room_for_account(tx.connection, person.establishment, limit)
        made = tx.connection.execute(
            sa.insert(t.accounts).values(
                establishment=person.establishment,
                account=person.account,
                person_id=person.person_id,
                issuer_id=person.issuer_id,
                person=person.certificate,
                issuer=device.chain[2],
                created=tx.now,
                ends=None if person.not_after is None else person.not_after * 1000,
            )
        )
        assert made.inserted_primary_key is not None
        return int(made.inserted_primary_key[0])
    if found.person_id != person.person_id or found.revoked is not None:
        raise Refusal("sign-in-failed")
    if found.ends is not None and tx.now > found.ends:
        # A newer certificate brought the end forward: an older one shown here does not undo that.
        raise Refusal("sign-in-failed")
    return int(found.no)


def note_device(
    tx: Transaction, device: Device, limits: Limits, *, revoked: bool, approved: bool
) -> None:
    """Note a device that the relay forgot, as its first sign-in would; a revoked one as such.

    Args:
        approved: A further device of its account is taken by its chain alone.

    Raises Refusal: its account is another person's by now, or has too many devices, or none approved it.
    """
    person = device.person
    known = sa.select(t.devices.c.no).where(t.devices.c.device_id == device.device_id)
    if tx.connection.execute(known).first() is not None:
        return
    account = tx.connection.execute(
        sa.select(t.accounts.c.no, t.accounts.c.person_id).where(
            t.accounts.c.establishment == person.establishment,
            t.accounts.c.account == person.account,
        )
    ).first()
    if account is None:
        account_no = _account(tx, device, limits.accounts_per_establishment)
    elif account.person_id != person.person_id:
        raise Refusal("conflict", "the account is another person's by now")
    else:
        account_no = account.no
    device_no = _new_device(tx, device, account_no, limits.devices_per_account, approved)
    if revoked:
        tx.connection.execute(
            sa.update(t.devices).where(t.devices.c.no == device_no).values(revoked=tx.now)
        )


def _claim(tx: Transaction, device: Device, account_no: int, limit: int) -> None:
    """A device that was only brought is of the account under which its key signs in.

    Anybody can sign a certificate for another's key; who brought it proved to have none.
    """
    d = t.devices.c
    brought = tx.connection.execute(
        sa.select(d.no, d.created).where(
            d.device_id == device.device_id,
            d.account_no != account_no,
            d.last_seen.is_(None),
            d.session == 0,
        )
    ).first()
    if brought is None:
        return
    approved = timelines.read(tx.connection).mending(brought.created)
    _check_room(tx, device, account_no, limit, approved)
    tx.connection.execute(
        sa.update(t.devices)
        .where(d.no == brought.no)
        .values(account_no=account_no, revoked=None, created=tx.now)
    )
    change_account(tx, brought.no, account_no)


def _check_room(
    tx: Transaction, device: Device, account_no: int, limit: int, approved: bool
) -> None:
    count = tx.connection.scalar(
        sa.select(sa.func.count()).where(
            t.devices.c.account_no == account_no,
            t.devices.c.locked.is_(None),
            t.devices.c.revoked.is_(None),
        )
    )
    if (count or 0) >= limit:
        raise Refusal("limit", f"an account has at most {limit} devices")
    # The first one shows by its chain that the issuer signed its person; a further one was linked.
    if count and not approved and not was_linked(tx, account_no, device.device_id):
        if timelines.read(tx.connection).mending(tx.now):
            # Perhaps it was linked after the backup: those who know it bring it (repair.bring_devices).
            raise Refusal("try-later", retry_after=FORGOTTEN_MS)
        raise Refusal("sign-in-failed")


def _new_device(
    tx: Transaction, device: Device, account_no: int, limit: int, approved: bool = False
) -> int:
    _check_room(tx, device, account_no, limit, approved)
    made = tx.connection.execute(
        sa.insert(t.devices).values(
            device_id=device.device_id, account_no=account_no, created=tx.now
        )
    )
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])


def _store_tokens(
    tx: Transaction, device_no: int, confirmed: bytes | None, unconfirmed: bytes | None
) -> None:
    tx.connection.execute(
        sa.update(t.devices)
        .where(t.devices.c.no == device_no)
        .values(token=confirmed, next_token=unconfirmed, last_seen=tx.now)
    )


def _count_session(tx: Transaction, device_no: int) -> int:
    """The number of this sign-in: connections of before are replaced, on all nodes."""
    tx.connection.execute(
        sa.update(t.devices)
        .where(t.devices.c.no == device_no)
        .values(session=t.devices.c.session + 1, signed_in=tx.now)
    )
    tx.devices_changed([device_no])
    number = sa.select(t.devices.c.session).where(t.devices.c.no == device_no)
    return int(tx.connection.scalar(number) or 0)


def _admitted(
    tx: Transaction, device: Device, device_no: int, account_no: int, token: bytes, first: bool
) -> _Admitted:
    db = tx.connection
    packages = db.scalar(
        sa.select(sa.func.count()).where(
            t.key_packages.c.device_no == device_no,
            t.key_packages.c.claimed.is_(None),
            t.key_packages.c.last_resort == 0,
        )
    )
    return _Admitted(
        device_no,
        account_no,
        token,
        first,
        _revocations(db, device.person.establishment),
        packages or 0,
        reading.memberships(db, device_no),
        reading.welcomes_wait(db, device_no),
        newest_statement(db, device.person.establishment),
        tx.trail,
        _count_session(tx, device_no),
        _revision(db, device.person.establishment),
    )


def _revision(db: sa.Connection, establishment: bytes) -> int:
    chosen = t.establishments.c.revision
    return db.scalar(sa.select(chosen).where(t.establishments.c.id == establishment)) or 0


def _head(relay: Relay, trail: Trail) -> SignedHead:
    """The head after the sign-in's own transaction: none that was given before it is newer."""
    assert trail.tree is not None
    return relay.heads.sign(relay.timeline, trail.tree, relay.clock())


def _revocations(db: sa.Connection, establishment: bytes) -> int:
    """The number of the establishment's newest list; 0: none."""
    chosen = t.establishments.c.revocations_number
    return db.scalar(sa.select(chosen).where(t.establishments.c.id == establishment)) or 0


def _trace_failure(relay: Relay, device: Device | None) -> None:
    """After the answer, so that refusing takes no longer for who is known."""

    def work(tx: Transaction) -> None:
        if device is None:
            tx.trace(Act.SIGN_IN_FAILED, None)
        else:
            _trace(tx, Act.SIGN_IN_FAILED, device)

    relay.writer.note("sign-in-failed", work)


def _cut(relay: Relay, device_id: bytes) -> None:
    """Both copies stop."""
    for session in tuple(relay.sessions.values()):
        if session.device is not None and session.device.device_id == device_id:
            relay.drop(session)
            session.refuse(None, Refusal("clone"))


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(b"pli token v1" + token).digest()
