"""Checking password and second factor together, and changing them.

A *holder* is an account, or an issuer by its id: both have their credentials in the same table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pli_protocol.secret import Secret

from ..audit.acts import Act
from ..errors import Refusal
from ..storage import locks
from ..storage import tables as t
from ..storage.transaction import Transaction
from . import attempts
from .second_factor import (
    SealedSecrets,
    new_recovery_codes,
    new_secret,
    recovery_hash,
    step_of,
)

if TYPE_CHECKING:
    from ..relay import Relay


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose password and second factor."""

    establishment: bytes
    id: bytes = field(repr=False)

    def of(self, table: sa.Table) -> Sequence[sa.ColumnElement[bool]]:
        """The condition for this holder's rows."""
        return (table.c.establishment == self.establishment, table.c.holder == self.id)

    @property
    def signed_in(self) -> bytes:
        """Under what name attempts of who is signed in are counted.

        Anybody may fail to open an account from outside: that locks nobody out who is inside. Longer
        than any name that a stranger can give.
        """
        return self.id + b"signed in"

    @property
    def owners(self) -> tuple[int, ...]:
        """Under whose name acts on these rows are kept apart between nodes."""
        return (locks.of_account(self.establishment, self.id),)


Note = Callable[[Transaction, Act], None]
"""Traces an act for the holder."""


async def check(
    relay: "Relay", holder: Holder, tried: bytes, password: bytes, code: str, note: Note
) -> None:
    """Both are right, and the code is spent; counted per account.

    Args:
        tried: The name under which attempts are counted: the holder's id, or its `signed_in`.

    Raises:
        Refusal: not-accepted, in the same bytes and after the same work whatever was wrong, also for
            who does not exist; try-later.
    """
    limits = relay.settings.accounts

    def begin(tx: Transaction) -> tuple[attempts.Counted, str | None]:
        counted = attempts.count(tx, holder.establishment, tried, limits)
        found = _credentials(tx.connection, holder)
        return counted, None if found is None else found.password

    def end(tx: Transaction) -> bool:
        right = kept is not None and not counted.locked
        if not right or not _is_still(tx, holder, stored):
            return False
        if not _spend(tx, relay.secrets, holder, code):
            return False
        for name in (holder.id, holder.signed_in):
            attempts.forget(tx, holder.establishment, name)
        note(tx, Act.FACTORS)
        tx.connection.execute(
            sa.update(t.credentials).where(*holder.of(t.credentials)).values(password=kept)
        )
        return True

    with relay.passwords.place(stranger=tried == holder.id):
        counted, stored = await relay.writer.do("attempt", begin, owners=holder.owners)
        kept = await relay.passwords.check(stored, password)
    if not await relay.writer.do("second-factor", end, owners=holder.owners):
        if not counted.locked:
            # After the answer, so that it takes no longer for who is known.
            relay.writer.note("sign-in-failed", lambda tx: note(tx, Act.SIGN_IN_FAILED))
        raise Refusal("not-accepted", retry_after=counted.retry_after)


def _is_still(tx: Transaction, holder: Holder, stored: str | None) -> bool:
    """The password was not changed while it was checked."""
    found = _credentials(tx.connection, holder)
    return found is not None and found.password == stored


def _spend(tx: Transaction, secrets: SealedSecrets, holder: Holder, code: str) -> bool:
    """Whether the code is good; it is never good again, on any node."""
    found = _credentials(tx.connection, holder)
    if found is None or found.totp is None:
        return False
    secret = secrets.open(found.totp, holder.establishment, holder.id)
    step = None if secret is None else step_of(secret, code, tx.now)
    if step is not None:
        spent = tx.connection.execute(
            sa.update(t.credentials)
            .where(*holder.of(t.credentials), t.credentials.c.totp_step < step)
            .values(totp_step=step)
        )
        return spent.rowcount == 1
    used = tx.connection.execute(
        sa.delete(t.recovery_codes).where(
            *holder.of(t.recovery_codes), t.recovery_codes.c.hash == recovery_hash(code)
        )
    )
    return used.rowcount == 1


# --- setting up -------------------------------------------------------------------------------


def complete(db: sa.Connection, holder: Holder) -> bool:
    """Password and second factor are both there: from now on they guard their own change."""
    found = _credentials(db, holder)
    return found is not None and found.password is not None and found.totp is not None


def set_password(tx: Transaction, holder: Holder, hashed: str) -> None:
    """Store the hash of a password."""
    _ensure(tx, holder)
    tx.connection.execute(
        sa.update(t.credentials)
        .where(*holder.of(t.credentials))
        .values(password=hashed, changed=tx.now)
    )


def begin_second_factor(tx: Transaction, secrets: SealedSecrets, holder: Holder) -> Secret:
    """A new TOTP secret, which waits for its first code."""
    _ensure(tx, holder)
    secret = new_secret()
    sealed = secrets.seal(secret, holder.establishment, holder.id)
    tx.connection.execute(
        sa.update(t.credentials).where(*holder.of(t.credentials)).values(totp_new=sealed)
    )
    return secret


def confirm_second_factor(
    tx: Transaction, secrets: SealedSecrets, holder: Holder, code: str
) -> tuple[str, ...]:
    """The new secret holds from now on; new recovery codes. Raises Refusal not-accepted."""
    found = _credentials(tx.connection, holder)
    if found is None or found.totp_new is None:
        raise Refusal("not-found", "no second factor waits to be confirmed")
    secret = secrets.open(found.totp_new, holder.establishment, holder.id)
    step = None if secret is None else step_of(secret, code, tx.now)
    if step is None:
        raise Refusal("not-accepted", "not a code of the new second factor")
    tx.connection.execute(
        sa.update(t.credentials)
        .where(*holder.of(t.credentials))
        .values(totp=found.totp_new, totp_new=None, totp_step=step, changed=tx.now)
    )
    return renew_recovery_codes(tx, holder)


def renew_recovery_codes(tx: Transaction, holder: Holder) -> tuple[str, ...]:
    """Ten new codes in the place of those before."""
    codes = new_recovery_codes()
    tx.connection.execute(sa.delete(t.recovery_codes).where(*holder.of(t.recovery_codes)))
    tx.connection.execute(
        sa.insert(t.recovery_codes),
        [
            {
                "establishment": holder.establishment,
                "holder": holder.id,
                "hash": recovery_hash(code),
            }
            for code in codes
        ],
    )
    return codes


def erase(tx: Transaction, holder: Holder) -> None:
    """Nothing of them is left, nor of failed attempts."""
    for table in (t.credentials, t.recovery_codes):
        tx.connection.execute(sa.delete(table).where(*holder.of(table)))
    for name in (holder.id, holder.signed_in):
        attempts.forget(tx, holder.establishment, name)


def state(db: sa.Connection, holder: Holder) -> tuple[bool, bool, int]:
    """(a password, a second factor, how many recovery codes)."""
    found = _credentials(db, holder)
    codes = sa.select(sa.func.count()).where(*holder.of(t.recovery_codes))
    if found is None:
        return False, False, 0
    return found.password is not None, found.totp is not None, db.scalar(codes) or 0


def _credentials(db: sa.Connection, holder: Holder) -> "sa.Row[Any] | None":
    return db.execute(sa.select(t.credentials).where(*holder.of(t.credentials))).first()


def _ensure(tx: Transaction, holder: Holder) -> None:
    values = {"establishment": holder.establishment, "holder": holder.id, "changed": tx.now}
    tx.connection.execute(_NEW, values)


_NEW = sa.text(
    "INSERT INTO credentials (establishment, holder, totp_step, changed)"
    " VALUES (:establishment, :holder, 0, :changed) ON CONFLICT DO NOTHING"
)
