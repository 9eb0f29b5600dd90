"""Retention: payloads, Welcomes, blobs, enrolments go with time; the chain of a log stays."""

import asyncio
import logging
from functools import partial
from typing import Final

import sqlalchemy as sa

from pli_protocol.relay.frames import BlobRef

from .accounts import attempts
from .audit import heads, reading
from .audit import retention as trace_retention
from .errors import Refusal, StorageFailed
from .group_log.roster import end_membership
from .handlers.establishments import cut_revoked
from .nodes import lease
from .relay import Relay
from .storage import tables as t
from .storage.blobs import GIVEN_UP
from .storage.faults import describe
from .storage.groups import MemberState
from .storage.transaction import Transaction, unpack

log = logging.getLogger(__name__)

DAY: Final = 86_400_000
STEP: Final = 500
"""Rows that one transaction clears, so that nobody waits long behind it."""


async def run(relay: Relay) -> None:
    """Sweep for ever; a sweep that fails is tried again at the next one."""
    seconds, before = relay.settings.retention.sweep_seconds, relay.clock()
    while True:
        await asyncio.sleep(seconds)
        now = relay.clock()
        leapt, before = leaps(before, now, seconds), now
        if leapt:
            log.error("the clock leapt: nothing is swept for once; see that it is right")
            continue
        try:
            if await relay.writer.do("sweep", partial(_turn, relay), owners=()):
                await sweep(relay)
            # Each node has figures of its own to write, and connections of its own to close.
            await keep_head(relay)
            # Who signed in before the account or the device's certificate ended may be online still.
            await cut_revoked(relay)
        except (Refusal, StorageFailed):
            log.warning("a sweep could not be written; it is tried again later")
        except Exception as error:
            # It must go on for years: what failed is told, and tried again.
            log.error("a sweep failed: %s", describe(error))


def leaps(before: int, now: int, seconds: int) -> bool:
    """Whether the clock (milliseconds) went by a day more or less than these seconds.

    What retention takes is gone: a clock that is wrong for an hour must not make it take everything.
    """
    return abs(now - before - seconds * 1000) > DAY


def _turn(relay: Relay, tx: Transaction) -> bool:
    """Whether this node sweeps for all. One that was stopped in the middle goes on, and does no harm."""
    return lease.take(tx, "sweep", relay.node, relay.settings.retention.sweep_seconds)


async def sweep(relay: Relay) -> None:
    """Clear everything that is past its time now."""
    retention, now = relay.settings.retention, relay.clock()
    old, settled = now - retention.days * DAY, now - retention.repair_days * DAY
    enrolments = now - retention.enrolment_days * DAY
    traced = now - trace_retention.age_ms(retention.trace_months)
    for name, work in {
        "rows": lambda tx: _clear_rows(tx, sa.and_(t.rows.c.time < old)),
        "acknowledged": lambda tx: _clear_rows(
            tx, sa.and_(t.rows.c.time < settled, _acknowledged_by_all())
        ),
        "enrolments": lambda tx: _delete(tx, t.enrolments, t.enrolments.c.created < enrolments),
        "claims": lambda tx: _delete(tx, t.claims, t.claims.c.time < now - DAY),
        "key-packages": lambda tx: _delete(
            tx,
            t.key_packages,
            sa.and_(t.key_packages.c.claimed.is_not(None), t.key_packages.c.claimed < old),
        ),
        "attempts": lambda tx: attempts.forget_old(tx, now),
        "usage": lambda tx: _forget_usage(tx, old),
        "linkings": lambda tx: _delete(tx, t.linkings, t.linkings.c.created < now - DAY),
        "welcomes": lambda tx: _clear_welcomes(tx, old),
        "memberships": lambda tx: _end_removed(tx, settled),
        "trace": lambda tx: trace_retention.clear_bodies(tx, traced, STEP),
    }.items():
        cleared = STEP
        while cleared >= STEP:
            cleared = await relay.writer.do("sweep", work)
            relay.metrics.swept[name] += cleared
    await _clear_blobs(relay, old, now - DAY)
    relay.metrics.swept_at = now / 1000


async def keep_head(relay: Relay) -> None:
    """Note the newest head, signed, for `audit verify`; what the tally holds is written with it."""

    def work(tx: Transaction) -> None:
        committed = reading.tree(tx.connection, relay.timeline)
        heads.keep(tx.connection, relay.heads.sign(relay.timeline, committed, tx.now))

    await relay.writer.do("head", work)


def _acknowledged_by_all() -> sa.ColumnElement[bool]:
    """No device that still receives lacks the row."""
    return ~sa.exists().where(
        t.members.c.group_no == t.rows.c.group_no,
        t.members.c.since < t.rows.c.seq,
        t.members.c.acked < t.rows.c.seq,
        sa.or_(
            t.members.c.state.in_([MemberState.ACTIVE, MemberState.REMOVED]),
            sa.and_(t.members.c.state == MemberState.ENDED, t.members.c.until >= t.rows.c.seq),
        ),
    )


def _clear_rows(tx: Transaction, condition: sa.ColumnElement[bool]) -> int:
    chosen = sa.select(t.rows.c.no).where(t.rows.c.payload.is_not(None), condition).limit(STEP)
    return tx.connection.execute(
        sa.update(t.rows).where(t.rows.c.no.in_(chosen)).values(payload=None)
    ).rowcount


def _delete(tx: Transaction, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    key = next(iter(table.primary_key.columns))
    chosen = sa.select(key).where(condition).limit(STEP)
    return tx.connection.execute(sa.delete(table).where(key.in_(chosen))).rowcount


def _forget_usage(tx: Transaction, old: int) -> int:
    """What was counted goes with what it counts."""
    return tx.connection.execute(sa.delete(t.usage).where(t.usage.c.day < old // DAY)).rowcount


def _clear_welcomes(tx: Transaction, old: int) -> int:
    chosen = list(
        tx.connection.scalars(sa.select(t.welcomes.c.no).where(t.welcomes.c.time < old).limit(STEP))
    )
    tx.connection.execute(
        sa.delete(t.welcome_items).where(t.welcome_items.c.welcome_no.in_(chosen))
    )
    tx.connection.execute(sa.delete(t.welcomes).where(t.welcomes.c.no.in_(chosen)))
    return len(chosen)


def _end_removed(tx: Transaction, settled: int) -> int:
    """Nobody said what became of their removal: after the repair window it holds."""
    removal = sa.and_(
        t.rows.c.group_no == t.members.c.group_no, t.rows.c.seq == t.members.c.removed_at
    )
    found = tx.connection.execute(
        sa.select(t.groups.c.group_id, t.members.c.device_no)
        .join(t.rows, removal)
        .join(t.groups, t.groups.c.no == t.members.c.group_no)
        .where(t.members.c.state == MemberState.REMOVED, t.rows.c.time < settled)
        .order_by(t.groups.c.no)
        .limit(STEP)
    ).all()
    for group_id, device_no in found:
        group = tx.group(group_id)
        member = None if group is None else group.members.get(device_no)
        if group is not None and member is not None and member.state is MemberState.REMOVED:
            end_membership(tx, group, member)
    tx.devices_changed(device_no for _, device_no in found)
    return len(found)


async def _clear_blobs(relay: Relay, old: int, abandoned: int) -> None:
    lists = await relay.readers.run(_published_lists)
    await relay.writer.do("sweep", partial(_give_up_uploads, abandoned), owners=())
    condition = sa.and_(t.blobs.c.created < old, t.blobs.c.blob.not_in(lists))
    while True:
        chosen = await relay.readers.run(
            lambda db: list(db.scalars(sa.select(t.blobs.c.blob).where(condition).limit(STEP)))
        )
        if not chosen:
            return
        # The file first: a note without a file is cleared by the next sweep, a file without a note never.
        for blob in chosen:
            await relay.blobs.run(relay.blobs.remove, blob)
        await relay.writer.do("sweep", partial(_forget_blobs, chosen))
        relay.metrics.swept["blobs"] += len(chosen)


def _give_up_uploads(abandoned: int, tx: Transaction) -> None:
    """Before their bytes go: none of them is completed, and answered, meanwhile."""
    begun = (t.blobs.c.complete == 0, t.blobs.c.created < abandoned)
    tx.connection.execute(sa.update(t.blobs).where(*begun).values(created=GIVEN_UP))


def _published_lists(db: sa.Connection) -> list[bytes]:
    """The blobs of the newest revocation lists: they stay, however old."""
    found = db.execute(
        sa.select(t.establishments.c.revocations_payload).where(
            t.establishments.c.revocations_is_blob == 1
        )
    )
    references = (unpack(1, row.revocations_payload) for row in found)
    return [reference.blob for reference in references if isinstance(reference, BlobRef)]


def _forget_blobs(chosen: list[bytes], tx: Transaction) -> None:
    tx.connection.execute(sa.delete(t.blobs).where(t.blobs.c.blob.in_(chosen)))
