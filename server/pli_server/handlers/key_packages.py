"""Key packages: published by their device, each handed out once, the last resort again and again."""

import hashlib

import sqlalchemy as sa

from pli_protocol.relay import frames as f

from ..audit.acts import Act
from ..errors import Refusal
from ..nodes.sign_ins import require_newest
from ..relay import Relay
from ..session import Session
from ..settings import Limits
from ..storage import tables as t
from ..storage.partners import sees
from ..storage.reading import account_counts
from ..storage.transaction import Transaction

MAX_KEY_PACKAGE = 6 * 1024
"""Bytes of a key package: those of one account's devices must fit one frame."""

ROOM = f.MAX_FRAME - 1024
HOUR = 3_600_000


async def publish(relay: Relay, session: Session, frame: f.PublishKeyPackages) -> f.Done:
    """Add to the device's stock; what was published before is not added again."""
    last_resort = frame.last_resort
    everything = (*frame.key_packages, *(() if last_resort is None else (last_resort,)))
    if any(len(key_package) > MAX_KEY_PACKAGE for key_package in everything):
        raise Refusal("too-large", f"a key package has at most {MAX_KEY_PACKAGE} bytes")

    def work(tx: Transaction) -> None:
        # Late, it would drop what the device has published since elsewhere.
        require_newest(tx, session)
        if frame.replace:
            _drop_unclaimed(tx, session.device_no)
        for key_package in frame.key_packages:
            _add(tx, session.device_no, key_package, last_resort=0)
        if last_resort is not None and _unknown(tx, last_resort):
            tx.connection.execute(
                sa.delete(t.key_packages).where(
                    t.key_packages.c.device_no == session.device_no,
                    t.key_packages.c.last_resort == 1,
                )
            )
            _add(tx, session.device_no, last_resort, last_resort=1)
        held = tx.connection.scalar(
            sa.select(sa.func.count()).where(
                t.key_packages.c.device_no == session.device_no,
                t.key_packages.c.claimed.is_(None),
            )
        )
        if (held or 0) > relay.limits.key_packages_per_device:
            raise Refusal("limit", "too many key packages of this device wait")

    await relay.writer.do(
        "key-packages", work, size=sum(map(len, everything)), owners=session.owners
    )
    return f.Done(frame.rid)


async def claim(relay: Relay, session: Session, frame: f.ClaimKeyPackages) -> f.KeyPackages:
    """One of every active device of these accounts, but one's own device; at most a frame full."""
    own = session.establishment
    establishment = frame.establishment or own

    def work(tx: Transaction) -> tuple[f.ClaimedKeyPackage, ...]:
        claimed: list[f.ClaimedKeyPackage] = []
        if not sees(tx.connection, own, establishment, tx.now):
            return ()
        size = 0
        for account in dict.fromkeys(frame.accounts):
            found = _claim_account(tx, session, establishment, account, frame.device, relay.limits)
            size += sum(len(package.key_package) + 64 for package, _ in found)
            if size > ROOM:
                # Whole accounts only; the client asks again for those after the last one answered.
                break
            for package, take in found:
                take()
                claimed.append(package)
        if claimed:
            session.trace(tx, Act.KEY_PACKAGES_CLAIMED, devices=len(claimed))
        return tuple(claimed)

    return f.KeyPackages(frame.rid, await relay.writer.do("claim", work, owners=session.owners))


def _add(tx: Transaction, device_no: int, key_package: bytes, *, last_resort: int) -> None:
    if _unknown(tx, key_package):
        tx.connection.execute(
            sa.insert(t.key_packages).values(
                device_no=device_no,
                hash=hashlib.sha256(key_package).digest(),
                key_package=key_package,
                last_resort=last_resort,
                created=tx.now,
            )
        )


def _drop_unclaimed(tx: Transaction, device_no: int) -> None:
    tx.connection.execute(
        sa.delete(t.key_packages).where(
            t.key_packages.c.device_no == device_no, t.key_packages.c.claimed.is_(None)
        )
    )


def _unknown(tx: Transaction, key_package: bytes) -> bool:
    digest = hashlib.sha256(key_package).digest()
    known = sa.select(t.key_packages.c.no).where(t.key_packages.c.hash == digest)
    return tx.connection.execute(known).first() is None


def _claim_account(
    tx: Transaction,
    session: Session,
    establishment: bytes,
    account: bytes,
    only: bytes | None,
    limits: Limits,
) -> "list[tuple[f.ClaimedKeyPackage, Take]]":
    devices = tx.connection.execute(
        sa.select(t.devices.c.no, t.devices.c.device_id, t.devices.c.account_no)
        .join(t.accounts, t.accounts.c.no == t.devices.c.account_no)
        .where(
            t.accounts.c.establishment == establishment,
            t.accounts.c.account == account,
            account_counts(tx.now),
            t.devices.c.locked.is_(None),
            t.devices.c.revoked.is_(None),
            t.devices.c.no != session.device_no,
            *(() if only is None else (t.devices.c.device_id == only,)),
        )
        .order_by(t.devices.c.no)
    ).all()
    found: list[tuple[f.ClaimedKeyPackage, Take]] = []
    for device in devices:
        chosen = {"device": device.no}
        package = (
            tx.connection.execute(_NEXT, chosen).first()
            or tx.connection.execute(_LAST_RESORT, chosen).first()
        )
        if package is None:
            continue
        _check_claims(tx, session.account_no, device.account_no, device.no, limits)
        frame = f.ClaimedKeyPackage(
            account, device.device_id, package.key_package, bool(package.last_resort)
        )
        found.append(
            (frame, Take(tx, session.account_no, device.no, package.no, package.last_resort))
        )
    return found


class Take:
    """Hands one key package out: called once it is sure that it fits the answer."""

    def __init__(
        self, tx: Transaction, claimant: int, device_no: int, number: int, last_resort: int
    ) -> None:
        self._tx = tx
        self._claimant = claimant
        self._device_no = device_no
        self._number = number
        self._last_resort = last_resort

    def __call__(self) -> None:
        db, now = self._tx.connection, self._tx.now
        db.execute(
            sa.insert(t.claims).values(claimant=self._claimant, device_no=self._device_no, time=now)
        )
        if not self._last_resort:
            db.execute(
                sa.update(t.key_packages)
                .where(t.key_packages.c.no == self._number)
                .values(claimed=now, key_package=None)
            )


def _check_claims(
    tx: Transaction, claimant: int, account_no: int, device_no: int, limits: Limits
) -> None:
    recent = (t.claims.c.claimant == claimant, t.claims.c.time > tx.now - HOUR)
    count = sa.select(sa.func.count())
    if (tx.connection.scalar(count.where(*recent)) or 0) >= limits.claims_per_hour:
        raise Refusal("limit", "this account claimed too many key packages; wait an hour")
    if account_no == claimant:
        # A device that one has linked comes into all conversations of its person at once.
        return
    of_device = count.where(*recent, t.claims.c.device_no == device_no)
    if (tx.connection.scalar(of_device) or 0) >= limits.claims_per_target_hour:
        raise Refusal("limit", "too many key packages of one device were claimed; wait an hour")


_LEFT = sa.select(
    t.key_packages.c.no, t.key_packages.c.key_package, t.key_packages.c.last_resort
).where(t.key_packages.c.device_no == sa.bindparam("device"), t.key_packages.c.claimed.is_(None))
# One that another node is handing out just now is skipped: nobody gets it twice, nobody waits.
_NEXT = (
    _LEFT.where(t.key_packages.c.last_resort == 0)
    .order_by(t.key_packages.c.no)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_LAST_RESORT = _LEFT.where(t.key_packages.c.last_resort == 1).limit(1)
