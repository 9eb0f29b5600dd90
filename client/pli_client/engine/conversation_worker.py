"""One conversation's worker: sends, commits, creates, re-founds, forwards, one step at a time.

Each step looks at the vault, does the first thing that is due, and looks again; so a crash anywhere
leaves nothing that the next run would not take up.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pli_protocol.identity import LeaveStatement, sign
from pli_protocol.relay.frames import LeaveGroup

from ..errors import Offline, PliError, RelayRefused
from ..store import conversations, groups, messages, mls_state, outbox
from ..vault import transaction
from . import ageing, candidates, committing, founding, parting, returning, sending
from .coming_back import ComingBack
from .flights import Flights
from .forwarding import forward
from .pending_commits import PendingCommits
from .suite_change import SuiteChange
from .uploads import UploadCancelled
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

SEAL: Final = transaction("seal")
COMMIT: Final = transaction("commit")
CLAIM: Final = transaction("claim")
CREATE: Final = transaction("create")
LEAVE: Final = transaction("leave")
UPLOADED: Final = transaction("uploaded")
OUTCOME: Final = transaction("outcome")

AGAIN: Final = 0.0
"""A step did something: look again at once."""


class ConversationWorker:
    """Runs for as long as the engine does."""

    def __init__(self, engine: Engine, conversation_id: bytes) -> None:
        self._engine = engine
        self._id = conversation_id
        self._woken = asyncio.Event()
        self._flights = Flights(engine, conversation_id, self.wake)
        self._coming_back = ComingBack(engine, conversation_id)
        self._pending = PendingCommits(engine, self._coming_back)
        self._suite_change = SuiteChange(engine)
        self._patience: tuple[bytes, int, float] | None = None
        self.idle = False

    def wake(self) -> None:
        self.idle = False
        self._woken.set()

    async def run(self) -> None:
        try:
            while True:
                self._woken.clear()
                wait = await self._guarded_step()
                if wait == AGAIN:
                    continue
                self.idle = not self._woken.is_set()
                self._engine.announce()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
        finally:
            await self._flights.abandon()

    async def _guarded_step(self) -> float | None:
        """Seconds to wait; None: until woken."""
        timing = self._engine.timing
        try:
            return await self._step() if self._engine.online else None
        except RelayRefused as refused:
            if refused.retry_after is not None:
                return refused.retry_after / 1000
            return timing.trouble
        except Offline:
            return None if not self._engine.online else timing.between(timing.retry)
        except PliError:
            return timing.trouble
        except Exception as error:
            from .engine import log

            log.error("a conversation's work failed", exc_info=error)
            return timing.trouble

    async def _step(self) -> float | None:
        if await self._flights.collect():
            return AGAIN
        rows = await self._engine.read(lambda db: groups.of_conversation(db, self._id))
        if await self._drain_older(rows):
            return AGAIN
        if not rows:
            return await self._create()
        current = rows[0]
        if current.state == "creating":
            return await self._pending.send(current)
        if current.state in ("refused", "lost", "closed"):
            return await self._coming_back.step(current)
        if current.state != "active":
            return await self._end(current)
        if not await self._engine.repair.admitted(current.group_id):
            return self._engine.timing.trouble
        pending = await self._engine.read(lambda db: mls_state.pending(db, current.group_id))
        if pending is not None and not self._held:
            open_sends = await self._engine.read(lambda db: outbox.unfinished(db, current.group_id))
            if open_sends or self._flights:
                return await self._fly(None)
            return await self._pending.send(current)
        return await self._go_on(current)

    @property
    def _held(self) -> bool:
        """A restored relay takes no commit yet; messages go on."""
        return self._engine.timing.clock() < self._pending.held_until

    # --- an active group ----------------------------------------------------------------------

    async def _go_on(self, row: groups.GroupRow) -> float | None:
        engine = self._engine
        if await forward(self._engine, self._id):
            return AGAIN
        needs = await engine.write(lambda work: self._needs(work, row))
        if needs is None:
            return AGAIN
        open_sends = await engine.read(lambda db: outbox.unfinished(db, row.group_id))
        held = self._held
        if needs.commit and not held:
            if open_sends or self._flights:
                return await self._fly(needs.look_again)
            if await self._claim() or await self._commit(row, needs):
                return AGAIN
        if await self._leave(row):
            return AGAIN
        if needs.leave:
            await engine.write(lambda work: parting.leave(work, self._id))
        if needs.refound and not held:
            if open_sends or self._flights:
                return await self._fly(needs.look_again)
            await self._suite_change.make(row)
            return AGAIN
        if open_sends < sending.IN_FLIGHT:
            await self._upload(row)
            room = sending.IN_FLIGHT - open_sends
            await engine.write(lambda work: self._seal(work, row, room), name=SEAL)
        return await self._fly(needs.look_again)

    def _needs(self, work: Work, row: groups.GroupRow) -> committing.Needs | None:
        """None: the group's state turned out to be unreadable."""
        now = groups.read(work.db, row.group_id)
        if now is None or now.state != "active":
            return None
        if work.load(row.group_id) is None:
            returning.lost_state(work, now)
            return None
        key = (now.group_id, now.epoch)
        if self._patience is None or self._patience[:2] != key:
            until = work.now / 1000 + work.timing.between(work.timing.others_wait)
            self._patience = (*key, until)
        ageing.forget_past(work, now.group_id)
        found = committing.needs(work, now, self._patience[2])
        if not found.revoked and found.look_again is None:
            self._patience = None
        return found

    def _seal(self, work: Work, row: groups.GroupRow, room: int) -> int:
        now = groups.read(work.db, row.group_id)
        if now is None or now.state != "active":
            return 0
        if mls_state.pending(work.db, row.group_id) and not self._held:
            return 0
        return sending.seal_waiting(work, now, room)

    async def _commit(self, row: groups.GroupRow, needs: committing.Needs) -> bool:
        """False: what was wanted had come about already."""

        def step(work: Work) -> bool:
            now = groups.read(work.db, row.group_id)
            if now is None or now.epoch != row.epoch or now.state != "active":
                return True
            return committing.make(work, now, needs.revoked)

        return await self._engine.write(step, name=COMMIT)

    async def _claim(self) -> bool:
        """Fetch the key packages that an add or a creation needs."""
        engine = self._engine
        wanted = await engine.write(lambda work: candidates.accounts_to_claim(work, self._id))
        for intent_id, accounts, device in wanted:
            claimed = await engine.claim(accounts, device)
            await engine.write(
                lambda work, i=intent_id, c=claimed: candidates.keep_claimed(work, self._id, i, c),  # type: ignore[misc]
                name=CLAIM,
            )
        return bool(wanted)

    async def _leave(self, row: groups.GroupRow) -> bool:
        """The proposal to remove us stands: tell the relay to deliver no more."""
        engine = self._engine
        intents = await engine.read(lambda db: conversations.intents(db, self._id, "leave"))
        if not intents:
            return False
        own = engine.own
        statement = LeaveStatement(row.group_id, own.device_id, int(engine.timing.clock()))
        with suppress(RelayRefused):
            await engine.connection.request(
                LeaveGroup(0, row.group_id, sign(statement, own.key, own.chain))
            )

        def step(work: Work) -> None:
            conversations.end_intents(work.db, [intent.id for intent in intents])
            mls_state.drop_pending(work.db, row.group_id)
            work.forget(row.group_id)
            groups.set_state(work.db, row.group_id, "left")
            conversations.set_state(work.db, self._id, "left")
            work.db.execute(
                "DELETE FROM outbox WHERE conversation_id = ? AND kind = 'leave'", (self._id,)
            )
            sending.fail_all(work, self._id, "left")
            work.event(self._id, "left")

        await engine.write(step, name=LEAVE)
        return True

    async def _fly(self, look_again: float | None) -> float | None:
        """Send what is sealed; in how many seconds to look again, if nothing wakes us before."""
        timing = self._engine.timing
        await self._flights.start()
        longest = timing.look_for_bot if self._engine.housekeeping.bots_away else timing.ask_again
        if self._held:
            longest = min(longest, self._pending.held_until - timing.clock())
        if look_again is None:
            return max(0.01, longest)
        return min(longest, max(0.01, look_again - timing.clock()))

    async def _upload(self, row: groups.GroupRow) -> None:
        """Attachments go up before their message is sealed."""
        engine = self._engine
        waiting = await engine.read(lambda db: outbox.in_state(db, self._id, "waiting", 1))
        for item in waiting:
            files = await engine.read(lambda db, i=item: messages.to_upload(db, i.message_id))  # type: ignore[misc]
            for file in files:
                path = engine.in_vault(file.sealed_file or "")
                try:
                    await engine.uploads.run(item.message_id, file, path)
                except UploadCancelled:
                    break
                await engine.write(
                    lambda work, f=file: messages.mark_uploaded(work.db, f.blob),  # type: ignore[misc]
                    name=UPLOADED,
                )

    # --- beginnings and ends ------------------------------------------------------------------

    async def _create(self) -> float | None:
        engine = self._engine
        intents = await engine.read(lambda db: conversations.intents(db, self._id, "create"))
        if not intents:
            return None
        if await self._claim():
            return AGAIN
        await engine.write(lambda work: founding.create(work, intents[0]), name=CREATE)
        return AGAIN

    async def _end(self, row: groups.GroupRow) -> float | None:
        """Removed, left or stopped: nothing more can be sent here, but proofs go to the bot still."""
        if await forward(self._engine, self._id):
            return AGAIN
        waiting = await self._engine.read(lambda db: outbox.in_state(db, self._id, "waiting", 1))
        if waiting and row.state in ("removed", "left", "stopped"):

            def step(work: Work) -> None:
                now = groups.read(work.db, row.group_id)
                if now is not None and now.state == row.state:  # nobody let us in again meanwhile
                    sending.fail_all(work, self._id, row.state)

            await self._engine.write(step)
        return None

    async def _drain_older(self, rows: list[groups.GroupRow]) -> bool:
        """Sends of unknown outcome in a group that was re-founded: its log knows."""
        engine = self._engine
        for old in rows[1:]:
            open_sends = await engine.read(lambda db, o=old: outbox.unfinished(db, o.group_id))  # type: ignore[misc]
            if not open_sends:
                continue
            with suppress(RelayRefused):
                await engine.catch_up(old.group_id)
            await engine.write(lambda work, o=old: founding.drained(work, o), name=OUTCOME)  # type: ignore[misc]
            return True
        return False
