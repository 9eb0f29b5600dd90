"""What the relay holds of somebody goes: of a closed account, or of who had it under another key."""

import sqlalchemy as sa

from ..storage import tables as t
from ..storage.transaction import Transaction
from . import factors
from .factors import Holder


def erase(tx: Transaction, holder: Holder, account_no: int) -> list[int]:
    """Certificates, password, second factor, key packages, tokens; the row counts no more.

    Returns:
        The numbers of the account's devices, which are to be cut.
    """
    db = tx.connection
    devices = list(
        db.scalars(sa.select(t.devices.c.no).where(t.devices.c.account_no == account_no))
    )
    factors.erase(tx, holder)
    for table, column, keys in (
        (t.key_packages, t.key_packages.c.device_no, devices),
        (t.welcome_items, t.welcome_items.c.device_no, devices),
        (t.claims, t.claims.c.claimant, [account_no]),
        (t.linkings, t.linkings.c.account_no, [account_no]),
    ):
        db.execute(sa.delete(table).where(column.in_(keys)))
    # Others' messages name complete blobs, unseen here: they go with retention, as nobody's.
    db.execute(sa.update(t.blobs).where(t.blobs.c.account_no == account_no).values(account_no=None))
    db.execute(
        sa.update(t.devices)
        .where(t.devices.c.account_no == account_no)
        .values(token=None, next_token=None, last_seen=None, revoked=_once(t.devices, tx.now))
    )
    db.execute(
        sa.update(t.accounts)
        .where(t.accounts.c.no == account_no)
        .values(person=b"", issuer=b"", revoked=_once(t.accounts, tx.now))
    )
    tx.devices_changed(devices)
    return devices


def _once(table: sa.Table, now: int) -> sa.ColumnElement[int]:
    return sa.func.coalesce(table.c.revoked, now)
