"""The engine of one vault: its transactions, its connection, its tasks.

Every transaction goes through `write`, one at a time, so the groups in memory are always those of the
vault; a failure throws the touched ones away. `Inflow` takes what the relay pushes, one
`ConversationWorker` per conversation sends, commits and mends, `housekeeping` follows each sign-in.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pli_protocol.identity import Device
from pli_protocol.identity.chain import CLOCK_TOLERANCE
from pli_protocol.mls.group import Group
from pli_protocol.relay.frames import ClaimKeyPackages, Fetch, Row

from ..connection import Connection, ConnectionState, Disconnected, Online
from ..errors import Offline, PliError, RelayError, VaultWiped
from ..first_done import first_done
from ..i18n import _
from ..payloads import if_there
from ..store import conversations, groups, outbox, people
from ..store.device import DeviceRow, read_device, read_trust, write_relay_name
from ..vault import Database, Vault, transaction
from . import ageing, receiving, refusal, returning
from .conversation_worker import ConversationWorker
from .housekeeping import Housekeeping
from .inflow import Inflow
from .log_watch import LogWatch
from .partners import Partners
from .repair import Repair
from .signing_in import DeviceSigner
from .timing import Timing
from .uploads import Uploads
from .work import Own, Random, Surroundings, Work

T = TypeVar("T")

OTHER: Final = transaction("engine")
RECEIVE: Final = transaction("receive")
PIN: Final = transaction("pin-relay")

log = logging.getLogger("pli_client.engine")
log.addHandler(logging.NullHandler())


class _Strange(Exception):
    """Somebody's chain is of an authority that is not known here."""


class Engine:
    """Runs between `start` and `stop`. The SDK stands on it; see pli_client.client."""

    def __init__(
        self,
        vault: Vault,
        row: DeviceRow,
        around: Surroundings,
        *,
        connection: Callable[..., Connection] = Connection,
        on_state: Callable[[ConnectionState], None] | None = None,
    ) -> None:
        self.vault, self.row, self.around = vault, row, around
        self.timing = around.timing
        self.own = around.own
        self._memory: dict[bytes, Group] = {}
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._workers: dict[bytes, ConversationWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_state = on_state
        self._running = False
        self.inflow = Inflow(self)
        self.repair = Repair(self)
        self.housekeeping = Housekeeping(self)
        self.log_watch = LogWatch(self)
        self._dial = connection
        self.partners = Partners(self)
        self.uploads = Uploads(self)
        self._signer = DeviceSigner(vault, row.chain, row.key)
        self.connection = connection(
            row.relay_url,
            signer=self._signer,
            relay_name=row.relay_name,
            ca=row.ca,
            proxy=row.proxy if row.proxy is not None else True,
            on_push=self.inflow.push,
            on_state=self._state_changed,
            explain=lambda: refusal.explain(self),
        )

    @classmethod
    async def open(
        cls,
        vault: Vault,
        *,
        timing: Timing | None = None,
        random: Random = os.urandom,
        on_state: Callable[[ConnectionState], None] | None = None,
        connection: Callable[..., Connection] = Connection,
    ) -> Self | None:
        """The engine of an enrolled person's vault; None while nobody is enrolled in it.

        Raises:
            VaultWiped: what the vault knows of its own device says so; a crash came before the wipe.
        """
        row = await vault.read(read_device)
        if row is None:
            return None
        trust = await vault.read(lambda db: read_trust(db, row.authority))
        own = Own(trust.device(row.chain, None), row.key)
        refused = await refusal.settle_vault(vault, trust, own.device)
        if isinstance(refused, VaultWiped):
            raise refused
        around = Surroundings(own, trust, timing or Timing(), random)
        return cls(vault, row, around, on_state=on_state, connection=connection)

    # --- transactions -------------------------------------------------------------------------

    async def write(self, step: Callable[[Work], T], *, name: str = OTHER) -> T:
        """Run a step in one vault transaction; then send and wake what it asks for.

        Raises:
            What the step raises, or the vault: nothing was changed then.
        """
        async with self._lock:
            work: Work | None = None

            def run(db: Database) -> T:
                nonlocal work
                work = Work(db, self.around, self._memory)
                return step(work)

            try:
                result = await self.vault.write(run, name=name)
                if work is not None and work.scrub:
                    # Now that it is known: the deleted keys leave the write-ahead log at once.
                    self.spawn(self._scrub(), "pli scrub")
            except BaseException:
                for group_id in () if work is None else (*work.values, *work.gone):
                    self._memory.pop(group_id, None)
                raise
            if work is None:
                raise AssertionError("the transaction ran")
            for group_id in work.gone:
                self._memory.pop(group_id, None)
            self._memory.update(work.values)
        await self._follow(work)
        return result

    async def write_knowing_partners(self, step: Callable[[Work], T], *, name: str) -> T:
        """Like `write`; a chain of an authority unknown here may be a new partner's.

        Then nothing is kept, partners are asked for, and the step is done once more.
        """

        def warily(work: Work) -> T:
            result = step(work)
            if work.identity.strange:
                raise _Strange
            return result

        with suppress(_Strange):
            return await self.write(warily, name=name)
        with suppress(RelayError):
            await self.partners.refresh()
        return await self.write(step, name=name)

    async def _scrub(self) -> None:
        with suppress(PliError, RuntimeError):
            await self.vault.checkpoint()

    async def read(self, look: Callable[[Database], T]) -> T:
        """Read the vault; never waits for the relay."""
        return await self.vault.read(look)

    async def _follow(self, work: Work) -> None:
        for frame in work.frames:
            with suppress(RelayError):
                await self.connection.send(frame)
        for conversation_id in work.awake:
            self.wake(conversation_id)
        if work.heads:
            self.log_watch.heard_of(work.heads)
        for establishment, number in work.newer_lists.items():
            self.housekeeping.heard_of(establishment, number)
        self.announce()

    # --- telling each other -------------------------------------------------------------------

    def announce(self) -> None:
        """Something changed: whoever waits looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, seconds: float | None = None) -> None:
        """Wait for a change, or so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def next_change(self) -> asyncio.Event:
        """The event that is set at the next change; take it before looking, to miss none."""
        return self._changed

    def wake(self, conversation_id: bytes) -> None:
        """Let the conversation's worker look at what there is to do."""
        if not self._running:
            return
        worker = self._workers.get(conversation_id)
        if worker is None:
            worker = self._workers[conversation_id] = ConversationWorker(self, conversation_id)
            self.spawn(worker.run(), "pli conversation")
        worker.wake()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A task of the engine's own; its failure is logged, never silent."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to connect and to work; returns at once."""
        self._running = True
        self.spawn(self.inflow.run(), "pli inflow")
        self.spawn(ageing.keep_young(self), "pli ageing")
        self.connection.start()

    async def stop(self) -> None:
        """Hang up and end all tasks; transactions under way end first."""
        self._running = False
        await self.connection.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._workers.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def online(self) -> bool:
        """Requests are accepted, and nothing has to be brought to a restored relay first."""
        return isinstance(self.connection.state, Online) and self.repair.ready

    async def until_online(self, timeout: float | None) -> None:
        """Wait until `online`. Raises as `Connection.online` does."""
        try:
            async with asyncio.timeout(timeout):
                while not self.online:
                    change = self.next_change()
                    await self.connection.online()
                    await first_done(self.repair.wait(), change.wait())
        except TimeoutError:
            await self.connection.online(0)
            raise Offline(_("no answer")) from None

    def _state_changed(self, state: ConnectionState) -> None:
        if isinstance(state, Online) and self._running:
            self.spawn(self._signed_in(state), "pli housekeeping")
        if isinstance(state, Disconnected):
            self.inflow.forget()
            self.housekeeping.informed = False
            self.repair.disconnected()
        if self._on_state is not None:
            self._on_state(state)
        self.announce()

    async def _signed_in(self, online: Online) -> None:
        """After each sign-in: what waits is sent, what ran low is refilled."""
        if self.row.relay_name is None:
            name = online.greeting.relay
            await self.vault.write(lambda db: write_relay_name(db, name), name=PIN)
        self._compare_clocks(online.greeting.time)
        if online.signed_in is not None:
            # Beside the rest: a relay that does not answer holds up no message.
            watch = self.log_watch.after_sign_in(online.greeting.relay, online.signed_in)
            self.spawn(watch, "pli log")
        if not await self.repair.after_sign_in(online):
            return
        await self.inflow.catch_up_missed()
        for conversation_id in await self.read(conversations.conversations_with_work):
            self.wake(conversation_id)
        for worker in self._workers.values():
            worker.wake()
        await self.housekeeping.after_sign_in(online)

    def anonymous(self) -> Connection:
        """Another connection to the same relay, on which nobody signs in."""
        row = self.row
        return self._dial(
            row.relay_url,
            relay_name=self.connection.relay_name,
            ca=row.ca,
            proxy=row.proxy if row.proxy is not None else True,
        )

    def adopt(self, device: Device) -> None:
        """This device has a newer certificate, which the vault has by now: it signs in anew with it."""
        self.own = replace(self.own, device=device)
        self.around = replace(self.around, own=self.own)
        self._signer.newest = device.chain
        self.connection.stop(Offline(_("this device has a newer certificate")))

    @property
    def signed_in_as_before(self) -> bool:
        """The relay was last shown an older certificate than this device has by now."""
        return self._signer.shown != self.own.chain

    async def directory_changed(self) -> None:
        """Somebody has a newer certificate, this person perhaps."""
        with suppress(RelayError):
            await self.housekeeping.refresh_directory()

    async def statements_changed(self, establishment: bytes, newest: int) -> None:
        """Somebody stated something about a device of theirs, or follows under another key."""
        await self.housekeeping.fetch_statements(establishment, newest)
        if establishment == self.own.address.establishment:
            with suppress(RelayError):
                await self.housekeeping.refresh_directory()

    def _compare_clocks(self, relay_time: int) -> None:
        apart = abs(relay_time / 1000 - self.timing.clock())
        self.around = replace(self.around, clock_doubtful=apart > CLOCK_TOLERANCE)

    # --- asking the relay ---------------------------------------------------------------------

    async def claim(
        self, accounts: Iterable[people.Account], device: bytes | None = None
    ) -> list[tuple[bytes, bytes, bytes]]:
        """(account, device, key package) of every active device of these accounts, or of one device."""
        by_establishment: dict[bytes, list[bytes]] = {}
        for establishment, account in dict.fromkeys(accounts):
            by_establishment.setdefault(establishment, []).append(account)
        return [
            claimed
            for establishment, waiting in by_establishment.items()
            for claimed in await self._claim(establishment, waiting, device)
        ]

    async def _claim(
        self, establishment: bytes, waiting: list[bytes], device: bytes | None
    ) -> list[tuple[bytes, bytes, bytes]]:
        claimed: list[tuple[bytes, bytes, bytes]] = []
        own = establishment == self.own.address.establishment
        while waiting:
            part = waiting[:16]
            answer = await self.connection.request(
                ClaimKeyPackages(0, tuple(part), None if own else establishment, device)
            )
            claimed += [(c.account, c.device, c.key_package) for c in answer.claimed]
            answered = {c.account for c in answer.claimed}
            # An answer holds a frame full of whole accounts: ask again for those behind the last.
            # Who has no key package answers nothing, so only an empty answer is the end of a part.
            last = max((i for i, a in enumerate(part) if a in answered), default=len(part) - 1)
            waiting = waiting[last + 1 :]
        return claimed

    async def catch_up(self, group_id: bytes) -> int:
        """Fetch and process what the log has beyond the cursor; the log's newest seq.

        Raises:
            RelayRefused("not-found"): this device may not read it (any more).
        """
        before = -1
        await self.repair.mend(group_id)
        while True:
            row = await self.read(lambda db: groups.read(db, group_id))
            if row is None or row.state == "stopped" or row.next_seq - 1 == before:
                return before if row is not None else 0
            after = before = row.next_seq - 1
            answer = await self.connection.request(Fetch(0, group_id, after))
            if answer.rows and await self.take_rows(answer.rows):
                await self.write(lambda work: _rows_are_gone(work, group_id))
                return answer.last
            if not answer.rows or answer.rows[-1].position.seq >= answer.last:
                return answer.last

    async def take_rows(self, rows: "tuple[Row, ...] | list[Row]") -> set[bytes]:
        """Process rows, each atomic, all in one transaction; the groups in which rows are missing."""
        payloads = [await if_there(self.connection, row.message) for row in rows]

        def step(work: Work) -> set[bytes]:
            gaps: set[bytes] = set()
            for row, payload in zip(rows, payloads, strict=True):
                if (
                    row.group not in gaps
                    and receiving.take(work, row, payload) is receiving.Taken.GAP
                ):
                    gaps.add(row.group)
            return gaps

        return await self.write_knowing_partners(step, name=RECEIVE)

    def in_vault(self, name: str) -> Path:
        """A file in the vault's folder for sealed attachments."""
        return self.vault.folder / "files" / name


def _rows_are_gone(work: Work, group_id: bytes) -> None:
    """Retention took rows that this device has not seen: it cannot go on from its state."""
    row = groups.read(work.db, group_id)
    if row is not None and row.state == "active":
        outbox.unseal(work.db, group_id)
        returning.trouble(work, row, "lost", "away-too-long", seq=row.next_seq)
