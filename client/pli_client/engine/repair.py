"""A relay in a new timeline was restored from a backup: bring what it lacks, then go on there.

Before anything else is done on the connection, for each group: ask how far the relay holds the old log,
bring the rows behind it and the Welcomes of own commits, then enter the new timeline in one vault
transaction. Only ciphertext is brought that the relay had carried before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from pli_protocol.mls.errors import MLSError
from pli_protocol.mls.message import peek
from pli_protocol.relay.frames import (
    MAX_INLINE,
    BringDevices,
    BringRows,
    BringWelcome,
    BroughtAll,
    BroughtRow,
    LogHeld,
    PublishRevocations,
)
from pli_protocol.relay.log import RosterChange
from pli_protocol.transparency import SignedHead

from ..errors import FileUnreadable, Offline, PliError, RelayRefused
from ..files import upload
from ..payloads import as_payload
from ..store import groups, log_heads, messages, outbox, people, repair
from ..store.device import newest_list
from ..vault import Database, transaction
from . import old_logs, returning
from .work import Work

if TYPE_CHECKING:
    from ..connection import Online
    from .engine import Engine

MEND: Final = transaction("mend")
TIMELINE: Final = transaction("timeline")

LOST_COMMIT: Final = "lost-commit"
"""Why a device cannot go on whose commits came too late to a restored relay."""

WINDOW: Final = 8 * 86_400_000
"""Milliseconds for which rows, Welcomes and ciphertexts of attachments are kept."""
FIRST: Final = 1
"""The timeline of a relay that was never restored; the others are the time of restoring, in milliseconds."""
LONGEST: Final = 72 * 3_600_000
"""Milliseconds after which nobody is awaited any more."""
_OVERHEAD: Final = 256
"""Bytes of a row in a frame besides its payload, at most."""
_ROWS: Final = 64
_DEVICES: Final = 8


class Repair:
    """One engine's. `ready` while nothing has to be brought on this connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ready = asyncio.Event()
        self.timeline = 0
        """The relay's, at the last sign-in."""

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    async def wait(self) -> None:
        """Until nothing has to be brought."""
        await self._ready.wait()

    def disconnected(self) -> None:
        """The relay of the next connection may be another one."""
        self._ready.clear()

    async def after_sign_in(self, online: Online) -> bool:
        """Bring everything, if the relay is in a new timeline; False: the connection was lost."""
        signed_in = online.signed_in
        if signed_in is None:
            return True
        self.timeline = signed_in.timeline
        engine = self._engine
        while await engine.read(repair.relay_timeline) != signed_in.timeline:
            try:
                await self._mend_all(signed_in.revocations)
                await engine.write(
                    lambda work: repair.note_timeline(work.db, signed_in.timeline), name=TIMELINE
                )
            except Offline:
                return False
            except PliError:
                await engine.timing.pause(engine.timing.trouble)
            if engine.connection.state is not online:
                return False
        self._ready.set()
        return True

    async def _mend_all(self, revocations: int) -> None:
        engine = self._engine
        if self.timeline <= FIRST:
            return
        await self._bring_revocations(revocations)
        for row in await engine.read(groups.all_groups):
            with _unless_later():
                await self.mend(row.group_id)
        await self._bring_files()
        head = await engine.read(lambda db: _newest_before(db, self.timeline))
        with _unless_later():
            await engine.connection.request(BroughtAll(0, head))

    async def _bring_revocations(self, held: int) -> None:
        engine = self._engine
        head = engine.around.trust.head()
        if head.number <= held:
            return
        data = await engine.read(lambda db: newest_list(db, engine.around.trust.own.establishment))
        if data is not None:
            payload = await as_payload(engine.connection, data, engine.around.random)
            with suppress(RelayRefused):
                await engine.connection.request(PublishRevocations(0, payload))

    async def _bring_files(self) -> None:
        """Attachments that went up lately go up again, where the relay has lost them."""
        engine = self._engine
        since = int(engine.timing.clock() * 1000) - WINDOW
        for blob, name in await engine.read(lambda db: messages.sealed_since(db, since)):
            with suppress(RelayRefused, FileUnreadable):
                await upload(engine.connection, blob, engine.in_vault(name))

    # --- one group ----------------------------------------------------------------------------

    async def mend(self, group_id: bytes) -> None:
        """Bring what the relay lacks of a group, and enter its timeline. Does nothing the second time."""
        engine, timeline = self._engine, self.timeline
        if timeline <= FIRST:
            return
        row = await engine.read(lambda db: groups.read(db, group_id))
        done = await engine.read(lambda db: repair.mended(db, group_id))
        if row is None or done >= timeline or not 0 < row.timeline < timeline:
            return
        if row.state == "stopped":
            return
        held: LogHeld | None = None
        for older in await engine.read(lambda db: repair.timelines(db, group_id)):
            if older < timeline:
                held = await self._bring_log(row, older)
        if held is None and (held := await self._ask(row, row.timeline)) is None:
            return  # not a member as far as the relay knows: it may learn better from others
        await self._bring_welcomes(row, held)
        await engine.write(lambda work: _enter(work, row, held, timeline), name=MEND)

    async def admitted(self, group_id: bytes) -> bool:
        """Whether the relay knows this device as a member; if not yet, others may bring what says so."""
        timeline, clock = self.timeline, self._engine.timing.clock
        if timeline <= FIRST or clock() * 1000 > timeline + LONGEST:
            return True
        await self.mend(group_id)

        def look(db: Database) -> bool:
            row = groups.read(db, group_id)
            older = row is not None and 0 < row.timeline < timeline
            return not older or repair.mended(db, group_id) >= timeline

        return await self._engine.read(look)

    async def _ask(self, row: groups.GroupRow, timeline: int) -> LogHeld | None:
        with suppress(RelayRefused):
            return await self._engine.connection.request(BringRows(0, row.group_id, timeline))
        return None

    async def _bring_log(self, row: groups.GroupRow, timeline: int) -> LogHeld | None:
        """Bring what follows of one timeline; None: the relay does not let this device."""
        engine = self._engine
        held = await self._ask(row, timeline)
        while True:
            after = 0 if held is None else held.last
            kept = await engine.read(
                lambda db, a=after: repair.rows_after(db, row.group_id, timeline, a, _ROWS)  # type: ignore[misc]
            )
            follows = bool(kept) and (after == 0 or kept[0].seq == after + 1)
            if not follows or (held is None and kept[0].seq != 1):
                return held
            answer = await self._bring(row, timeline, kept)
            if answer is None or answer.last <= after:
                return held  # a relay that takes nothing would be brought the same for ever
            held = answer

    async def _bring(
        self, row: groups.GroupRow, timeline: int, kept: list[repair.KeptRow]
    ) -> LogHeld | None:
        """A frame full of rows. None: the relay has another log, or refuses."""
        engine = self._engine
        rows: list[BroughtRow] = []
        room = MAX_INLINE
        for item in kept:
            payload = await as_payload(engine.connection, item.message, engine.around.random)
            size = _OVERHEAD + (len(payload) if isinstance(payload, bytes) else 0)
            if rows and size > room:
                break
            room -= size
            rows.append(
                BroughtRow(
                    item.seq,
                    item.epoch,
                    item.kind,
                    item.sender,
                    item.send_id,
                    item.time,
                    payload,
                    item.chain,
                )
            )
        # A relay that was restored twice from one backup does not know that it lived in between.
        head = await engine.read(lambda db: log_heads.head_of(db, timeline))
        frame = BringRows(0, row.group_id, timeline, tuple(rows), row.predecessor, head)
        for introduced in (False, True):
            try:
                return await engine.connection.request(frame)
            except RelayRefused as refused:
                if refused.retry_after is not None:
                    raise
                if introduced or refused.refusal not in ("roster", "not-found"):
                    return None
            await self._introduce(kept)
        return None

    async def _introduce(self, kept: list[repair.KeptRow]) -> None:
        """Tell the relay of the devices in these rows: it may have forgotten some."""
        wanted: dict[bytes, None] = {}
        for item in kept:
            wanted[item.sender] = None
            for device_id in _added(item):
                wanted[device_id] = None
        chains = await self._engine.read(lambda db: people.chains(db, list(wanted)))
        for start in range(0, len(chains), _DEVICES):
            with suppress(RelayRefused):
                await self._engine.connection.request(
                    BringDevices(0, tuple(chains[start : start + _DEVICES]))
                )

    async def _bring_welcomes(self, row: groups.GroupRow, held: LogHeld) -> None:
        engine = self._engine
        for position, welcome in await engine.read(lambda db: repair.welcomes(db, row.group_id)):
            payload = await as_payload(engine.connection, welcome, engine.around.random)
            with suppress(RelayRefused):
                await engine.connection.request(BringWelcome(0, row.group_id, position, payload))


@contextmanager
def _unless_later() -> Iterator[None]:
    """What a relay refuses for good holds up nothing else; what it puts off is tried again."""
    try:
        yield
    except RelayRefused as refused:
        if refused.retry_after is not None:
            raise


def _newest_before(db: Database, timeline: int) -> SignedHead | None:
    """The newest head of the relay's audit log in a timeline of before."""
    return next((h for h in log_heads.heads(db) if h.head.timeline < timeline), None)


def _added(item: repair.KeptRow) -> tuple[bytes, ...]:
    if item.kind != "commit":
        return ()
    try:
        return RosterChange.decode(peek(item.message).authenticated_data).added
    except (MLSError, ValueError):
        return ()


# --- entering the new timeline ----------------------------------------------------------------


def _enter(work: Work, before: groups.GroupRow, held: LogHeld, timeline: int) -> None:
    """What the relay holds is known now: seal again what it lacks, and go on in its timeline."""
    row = groups.read(work.db, before.group_id)
    done = repair.mended(work.db, before.group_id) >= timeline
    if row is None or done or row.timeline != before.timeline:
        return
    unbrought = repair.rows_after(work.db, row.group_id, row.timeline, held.last, -1)
    lost = [item for item in unbrought if item.kind == "commit"]
    _seal_again(work, row, unbrought)
    groups.set_last_send(work.db, row.group_id, held.last_send)
    repair.set_mended(work.db, row.group_id, timeline)
    if held.joined is not None:
        old_logs.enter_at(work, row, timeline, held.began + 1, held.joined)
    elif row.next_seq > held.began + 1:
        old_logs.enter_at(work, row, timeline, held.began + 1)
    if row.state == "active" and (lost or row.epoch > held.epoch):
        first = min((item.epoch for item in lost), default=held.epoch)
        for member in groups.members(work.db, row.group_id):
            if member.joined_epoch > first:
                # Not a member as far as the others know: to be added again by who wants it.
                groups.drop_member(work.db, row.group_id, member.device_id)
        returning.trouble(work, row, "lost", LOST_COMMIT)
    work.wake(row.conversation_id)


def _seal_again(work: Work, row: groups.GroupRow, unbrought: list[repair.KeptRow]) -> None:
    """Own sends that the relay may not hold wait again, under the same message ids."""
    for item in outbox.under_way(work.db, row.group_id):
        if item.send_id is not None:
            repair.note_sealed_again(work.db, row.group_id, item.send_id, item.message_id, work.now)
        if item.state == "stored" and item.kind == "message":
            messages.unplace(work.db, item.message_id)
        outbox.seal_again(work.db, item.id)
    for kept in unbrought:
        if kept.sender == work.own.device_id and kept.kind == "application":
            _queue_again(work, row, kept)


def _queue_again(work: Work, row: groups.GroupRow, kept: repair.KeptRow) -> None:
    message_id = repair.own_message_at(work.db, row.group_id, row.timeline, kept.seq)
    held = None if message_id is None else messages.read(work.db, message_id)
    if held is None or outbox.by_message_id(work.db, held.message_id) is not None:
        return
    repair.note_sealed_again(work.db, row.group_id, kept.send_id, held.message_id, work.now)
    messages.unplace(work.db, held.message_id)
    outbox.add(work.db, row.conversation_id, held.message_id, held.content, work.now)
