"""What clients bring to a restored relay: devices, rows of an older timeline, Welcomes."""

import contextlib

import sqlalchemy as sa

from pli_protocol.identity import IdentityError
from pli_protocol.relay import frames as f
from pli_protocol.transparency import SignedHead, TreeHead, verify_head

from ..audit import reading
from ..audit.acts import Act, Fact
from ..errors import Refusal
from ..group_log.appending import announce
from ..group_log.bringing import NUMBERS, Brought, Mended, bring
from ..group_log.bringing_welcomes import bring_welcome
from ..group_log.header import read_header, roster_change
from ..group_log.roster import RosterEffects
from ..relay import Relay
from ..session import Session
from ..storage import tables as t
from ..storage import timelines
from ..storage.transaction import COMMIT, RETURN, Appended, Transaction
from .signing_in import note_device


async def bring_devices(relay: Relay, session: Session, frame: f.BringDevices) -> f.Done:
    """Note devices by their chains, as at their first sign-in: rows of theirs are brought next.

    Who approved a further device the relay may have forgotten, so for a while another's word will do.
    One that cannot be noted keeps out no other; its rows are refused.
    """
    _only_restored(relay)
    try:
        devices = [
            await relay.checker.run(relay.checker.refusable, chain) for chain in frame.chains
        ]
    except IdentityError:
        raise Refusal("invalid", "a chain that does not check") from None
    gone = await relay.checker.run(relay.checker.refused, [(d.device_id, d) for d in devices])

    def work(tx: Transaction) -> None:
        forgotten = timelines.read(tx.connection).mending(tx.now)
        for device in devices:
            with contextlib.suppress(Refusal):
                revoked = device.device_id in gone
                note_device(tx, device, relay.limits, revoked=revoked, approved=forgotten)

    await relay.writer.do("bring", work)
    return f.Done(frame.rid)


async def bring_rows(relay: Relay, session: Session, frame: f.BringRows) -> f.LogHeld:
    """Append the rows that the relay lacks; who is online gets them like any others."""
    _only_restored(relay)
    if frame.head is not None and _own_head(relay, frame.head).timeline != frame.timeline:
        raise Refusal("invalid", "a head of another timeline")
    rows = [await _read(relay, row) for row in frame.rows]
    size = sum(len(row.message) for row in frame.rows if isinstance(row.message, bytes))

    def work(tx: Transaction) -> Mended:
        return bring(tx, session, frame, rows, relay.limits)

    def then(mended: Mended) -> None:
        for row, effects in mended.rows:
            if row.position.seq == 1:
                _enter_creator(relay, row)
            announce(relay, row, effects)

    groups = (frame.group, *(() if frame.predecessor is None else (frame.predecessor,)))
    return (await relay.writer.do("bring", work, then=then, size=256 + size, groups=groups)).held


def _enter_creator(relay: Relay, row: Appended) -> None:
    for session in relay.sessions.values():
        if session.device is not None and session.device.device_id == row.sender:
            assert session.delivery is not None
            session.delivery.created(row.group_no, row.group_id)


async def _read(relay: Relay, row: f.BroughtRow) -> Brought:
    """The row with what its payload says; raises Refusal."""
    number = NUMBERS.get(row.kind)
    if number is None:
        raise Refusal("invalid", "no kind of row")
    if number == RETURN:
        return Brought(row, None, None)
    message = row.message
    if isinstance(message, f.BlobRef):
        if number != COMMIT:
            raise Refusal("invalid", "only a commit may be a blob")
        data = await relay.blobs.run(
            relay.blobs.read_checked, message, relay.limits.handshake_bytes
        )
        header = await relay.blobs.run(read_header, data)
    else:
        header = read_header(message)
    change = None
    if header.kind == COMMIT:
        change = roster_change(header, relay.limits.members_per_group)
    return Brought(row, header, change)


async def bring_welcome_of(relay: Relay, session: Session, frame: f.BringWelcome) -> f.Done:
    """The Welcome of the device's own commit, for those that it added."""
    _only_restored(relay)
    if isinstance(frame.welcome, f.BlobRef):
        await relay.blobs.run(relay.blobs.read_checked, frame.welcome, relay.limits.handshake_bytes)

    def work(tx: Transaction) -> tuple[int, RosterEffects]:
        return bring_welcome(tx, session, frame, relay.limits)

    def then(done: tuple[int, RosterEffects]) -> None:
        group_no, effects = done
        for device_no, welcome in effects.welcomed:
            other = relay.sessions.get(device_no)
            if other is not None and other.delivery is not None:
                other.delivery.ended(frame.group, 0)
                other.delivery.added(group_no, welcome)

    await relay.writer.do("bring", work, then=then, groups=(frame.group,))
    return f.Done(frame.rid)


async def brought_all(relay: Relay, session: Session, frame: f.BroughtAll) -> f.Done:
    """The device has nothing more: its groups need not wait for it."""
    _only_restored(relay)
    lost = None if frame.head is None else _own_head(relay, frame.head)

    def work(tx: Transaction) -> None:
        of_device = t.returned.c.device_no == session.device_no
        tx.connection.execute(t.returned.delete().where(of_device))
        tx.connection.execute(
            t.returned.insert().values(device_no=session.device_no, timeline=tx.timeline)
        )
        if lost is not None:
            _note_lost(tx, session, lost)

    await relay.writer.do("bring", work)
    return f.Done(frame.rid)


def _own_head(relay: Relay, signed: SignedHead) -> TreeHead:
    """Raises Refusal: this relay never signed it."""
    try:
        return verify_head(relay.settings.name, signed, relay.heads.public)
    except IdentityError:
        raise Refusal("invalid", "not a head that this relay signed") from None


def _note_lost(tx: Transaction, session: Session, head: TreeHead) -> None:
    """How many entries the log of before had that the backup lacked: the highest head brought says it."""
    key = f"brought head {head.timeline}"
    noted = tx.connection.scalar(sa.select(t.meta.c.value).where(t.meta.c.key == key))
    held = reading.tree(tx.connection, head.timeline).size
    if head.timeline >= tx.timeline or head.size <= max(held, int(noted or 0)):
        return
    tx.connection.execute(sa.delete(t.meta).where(t.meta.c.key == key))
    tx.connection.execute(sa.insert(t.meta).values(key=key, value=str(head.size)))
    facts: dict[str, Fact] = {"before": head.timeline, "size": head.size, "root": head.root}
    session.trace(tx, Act.TIMELINE, **facts, lost=head.size - held)


def _only_restored(relay: Relay) -> None:
    if relay.timeline == timelines.FIRST:
        raise Refusal("not-found")
