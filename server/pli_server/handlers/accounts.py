"""Password, second factor, step-up, devices: what accounts and issuers do about themselves."""

import sqlalchemy as sa

from pli_protocol.relay import frames as f

from ..accounts import factors
from ..accounts.factors import Holder
from ..audit.acts import Act
from ..errors import Refusal
from ..relay import Relay
from ..session import ACCOUNT, Session
from ..storage import tables as t
from ..storage.transaction import Transaction

MOST_DEVICES = 256


def require_step_up(relay: Relay, session: Session) -> None:
    """Password and second factor were given on this connection a short while ago.

    Raises:
        Refusal: step-up.
    """
    if session.stepped_up_until <= relay.clock():
        raise Refusal("step-up")


def holder_of(session: Session) -> Holder:
    """Whose credentials a signed-in connection deals with."""
    if session.device is not None:
        return Holder(session.establishment, session.device.person.account)
    assert session.issuer is not None
    return Holder(session.establishment, session.issuer.issuer_id)


async def open_account(relay: Relay, session: Session, frame: f.OpenAccount) -> f.Done:
    """A device that nobody knows shows both factors: it may leave a request to be linked."""
    holder = Holder(frame.establishment, frame.account)

    def note(tx: Transaction, act: Act) -> None:
        known = _active(tx.connection, holder) is not None
        account = frame.account if known else None
        tx.trace(act, frame.establishment if known else None, account=account)

    await factors.check(relay, holder, holder.id, frame.password, frame.code, note)
    number = await relay.readers.run(lambda db: _active(db, holder))
    if number is None:
        raise Refusal("not-accepted")
    session.account_no = number
    session.opened = frame.establishment, frame.account
    session.state = ACCOUNT
    return f.Done(frame.rid)


async def step_up(relay: Relay, session: Session, frame: f.StepUp) -> f.Done:
    """Both factors of who is signed in."""
    holder = holder_of(session)
    await factors.check(relay, holder, holder.signed_in, frame.password, frame.code, session.trace)
    session.stepped_up_until = relay.clock() + relay.settings.accounts.step_up_seconds * 1000
    return f.Done(frame.rid)


async def set_password(relay: Relay, session: Session, frame: f.SetPassword) -> f.Done:
    """Set or change it."""
    holder = holder_of(session)
    await _may_change(relay, session, holder)
    with relay.passwords.place():
        hashed = await relay.passwords.hash(frame.password)

    def work(tx: Transaction) -> None:
        _check_may_change(relay, session, tx.connection, holder)
        factors.set_password(tx, holder, hashed)
        session.trace(tx, Act.CREDENTIALS, what="password")

    await relay.writer.do("password", work, owners=holder.owners)
    return f.Done(frame.rid)


async def begin_second_factor(
    relay: Relay, session: Session, frame: f.BeginSecondFactor
) -> f.SecondFactor:
    """A new secret, which waits for its first code."""
    holder = holder_of(session)

    def work(tx: Transaction) -> bytes:
        _check_may_change(relay, session, tx.connection, holder)
        return bytes(factors.begin_second_factor(tx, relay.secrets, holder))

    secret = await relay.writer.do("totp", work, owners=holder.owners)
    return f.SecondFactor(frame.rid, secret)


async def confirm_second_factor(
    relay: Relay, session: Session, frame: f.ConfirmSecondFactor
) -> f.RecoveryCodes:
    """Its first code: from now on it holds."""
    holder = holder_of(session)

    def work(tx: Transaction) -> tuple[str, ...]:
        _check_may_change(relay, session, tx.connection, holder)
        codes = factors.confirm_second_factor(tx, relay.secrets, holder, frame.code)
        session.trace(tx, Act.CREDENTIALS, what="second-factor")
        return codes

    codes = await relay.writer.do("totp", work, owners=holder.owners)
    return f.RecoveryCodes(frame.rid, codes)


async def renew_recovery_codes(
    relay: Relay, session: Session, frame: f.RenewRecoveryCodes
) -> f.RecoveryCodes:
    """Ten new ones."""
    require_step_up(relay, session)
    holder = holder_of(session)

    def work(tx: Transaction) -> tuple[str, ...]:
        session.trace(tx, Act.CREDENTIALS, what="recovery-codes")
        return factors.renew_recovery_codes(tx, holder)

    codes = await relay.writer.do("recovery-codes", work, owners=holder.owners)
    return f.RecoveryCodes(frame.rid, codes)


async def get_account(relay: Relay, session: Session, frame: f.GetAccount) -> f.Account:
    """What is set up."""
    holder = holder_of(session)
    found = await relay.readers.run(lambda db: factors.state(db, holder))
    return f.Account(frame.rid, *found)


async def reset_credentials(relay: Relay, session: Session, frame: f.ResetCredentials) -> f.Done:
    """The issuer: an account begins anew with password and second factor, on a device it has."""
    require_step_up(relay, session)
    holder = Holder(session.establishment, frame.account)

    def work(tx: Transaction) -> None:
        account_number(tx.connection, holder)
        factors.erase(tx, holder)
        session.trace(tx, Act.CREDENTIALS, what="reset", of=frame.account)

    await relay.writer.do("reset-credentials", work, owners=holder.owners)
    return f.Done(frame.rid)


async def get_devices(relay: Relay, session: Session, frame: f.GetDevices) -> f.Devices:
    """One's own; for the issuer those of an account of the establishment."""
    own = None if session.device is None else session.device.person.account
    if own is not None and frame.account not in (None, own):
        raise Refusal("not-found")
    account = own or frame.account
    if account is None:
        raise Refusal("not-found")
    holder = Holder(session.establishment, account)
    return await relay.readers.run(
        lambda db: f.Devices(frame.rid, _devices(db, account_number(db, holder)))
    )


def _active(db: sa.Connection, holder: Holder) -> int | None:
    """The number of an account that is not revoked."""
    return db.scalar(
        sa.select(t.accounts.c.no).where(
            t.accounts.c.establishment == holder.establishment,
            t.accounts.c.account == holder.id,
            t.accounts.c.revoked.is_(None),
        )
    )


def account_number(db: sa.Connection, holder: Holder) -> int:
    """The number of an account of this establishment. Raises Refusal not-found."""
    number = db.scalar(
        sa.select(t.accounts.c.no).where(
            t.accounts.c.establishment == holder.establishment,
            t.accounts.c.account == holder.id,
        )
    )
    if number is None:
        raise Refusal("not-found")
    return int(number)


def _devices(db: sa.Connection, account_no: int) -> tuple[f.DeviceState, ...]:
    stocked = sa.exists().where(
        t.key_packages.c.device_no == t.devices.c.no, t.key_packages.c.claimed.is_(None)
    )
    found = db.execute(
        sa.select(t.devices, stocked.label("stocked"))
        .where(t.devices.c.account_no == account_no)
        .order_by(t.devices.c.no.desc())
        .limit(MOST_DEVICES)
    )
    return tuple(
        f.DeviceState(
            row.device_id,
            row.created,
            row.last_seen,
            row.revoked,
            row.locked is not None,
            bool(row.stocked),
        )
        for row in found
    )


async def _may_change(relay: Relay, session: Session, holder: Holder) -> None:
    """Before the costly hash: what is set up already guards its own change."""
    await relay.readers.run(lambda db: _check_may_change(relay, session, db, holder))


def _check_may_change(relay: Relay, session: Session, db: sa.Connection, holder: Holder) -> None:
    if factors.complete(db, holder):
        require_step_up(relay, session)
