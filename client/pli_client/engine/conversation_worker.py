"""One conversation's worker: sends, commits, creates, re-founds, forwards, one step at a time.

Each step looks at the vault, does the first thing that is due, and looks again; so a crash anywhere
leaves nothing that the next run would not take up.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pli_protocol.content import Forward
from pli_protocol.identity import LeaveStatement, sign
from pli_protocol.relay.frames import (
    Accepted,
    CreateGroup,
    GetCommitReports,
    LeaveGroup,
    Send,
)

from ..errors import Offline, PliError, RelayError, RelayRefused, VaultError
from ..files import upload
from ..payloads import as_payload
from ..store import conversations, groups, messages, outbox, people
from ..vault import transaction
from . import committing, decisions, founding, records, returning, sending
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

SEAL: Final = transaction("seal")
STORED: Final = transaction("stored")
COMMIT: Final = transaction("commit")
CLAIM: Final = transaction("claim")
CREATE: Final = transaction("create")
REFOUND: Final = transaction("refound")
FORWARD: Final = transaction("forward")
LEAVE: Final = transaction("leave")
UPLOADED: Final = transaction("uploaded")
OUTCOME: Final = transaction("outcome")

DAY_MS: Final = 86_400_000

AGAIN: Final = 0.0
"""A step did something: look again at once."""

_HOPELESS: Final = ("invalid", "too-large", "limit")


class ConversationWorker:
    """Runs for as long as the engine does."""

    def __init__(self, engine: Engine, conversation_id: bytes) -> None:
        self._engine = engine
        self._id = conversation_id
        self._woken = asyncio.Event()
        self._flights: dict[bytes, asyncio.Task[Accepted]] = {}
        self._patience: tuple[bytes, int, float] | None = None
        self._refound_at: tuple[bytes, float] | None = None
        self._misfits = 0
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
            flights = list(self._flights.values())
            for task in flights:
                task.cancel()
            await asyncio.gather(*flights, return_exceptions=True)

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
        except RelayError:
            return timing.trouble
        except VaultError:
            return timing.trouble
        except PliError:
            return timing.trouble
        except Exception as error:
            from .engine import log

            log.error("a conversation's work failed", exc_info=error)
            return timing.trouble

    async def _step(self) -> float | None:
        if await self._collect():
            return AGAIN
        rows = await self._engine.read(lambda db: groups.of_conversation(db, self._id))
        if await self._drain_older(rows):
            return AGAIN
        if not rows:
            return await self._create()
        current = rows[0]
        if current.state == "creating":
            return await self._send_pending(current)
        if current.state in ("refused", "lost", "closed"):
            return await self._come_back(current)
        if current.state != "active":
            return await self._end(current)
        pending = await self._engine.read(lambda db: groups.pending(db, current.group_id))
        if pending is not None:
            return await self._send_pending(current)
        return await self._go_on(current)

    # --- an active group ----------------------------------------------------------------------

    async def _go_on(self, row: groups.GroupRow) -> float | None:
        engine = self._engine
        if await self._forward():
            return AGAIN
        needs = await engine.write(lambda work: self._needs(work, row))
        if needs is None:
            return AGAIN
        open_sends = await engine.read(lambda db: outbox.unfinished(db, row.group_id))
        if needs.commit:
            if open_sends or self._flights:
                return await self._fly(row, needs.look_again)
            if await self._claim() or await self._commit(row, needs):
                return AGAIN
        if await self._leave(row):
            return AGAIN
        if open_sends < sending.IN_FLIGHT:
            await self._upload(row)
            room = sending.IN_FLIGHT - open_sends
            await engine.write(lambda work: self._seal(work, row, room), name=SEAL)
        return await self._fly(row, needs.look_again)

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
        self._forget_past(work, now)
        found = committing.needs(work, now, self._patience[2])
        if not found.revoked and found.look_again is None:
            self._patience = None
        return found

    def _forget_past(self, work: Work, row: groups.GroupRow) -> None:
        """Keys of past epochs open late messages for a day, also where no new epoch begins."""
        group = work.load(row.group_id)
        since = groups.epoch_since(work.db, row.group_id, row.epoch)
        if group is not None and group.past and since is not None and work.now - since > DAY_MS:
            changed = group.forget_past()
            work.keep(changed.group, changed.changes)
            work.scrub = True

    def _seal(self, work: Work, row: groups.GroupRow, room: int) -> int:
        now = groups.read(work.db, row.group_id)
        if now is None or now.state != "active" or groups.pending(work.db, row.group_id):
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
        wanted = await engine.write(lambda work: committing.accounts_to_claim(work, self._id))
        for intent_id, accounts in wanted:
            claimed = await engine.claim(accounts)
            await engine.write(
                lambda work, i=intent_id, c=claimed: committing.keep_claimed(work, self._id, i, c),  # type: ignore[misc]
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
            groups.drop_pending(work.db, row.group_id)
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

    # --- sends under way ----------------------------------------------------------------------

    async def _fly(self, row: groups.GroupRow, look_again: float | None) -> float | None:
        """Put what is sealed on its way, in order; the same bytes as before, after a reconnection."""
        items = await self._engine.read(lambda db: outbox.in_state(db, self._id, "sealed"))
        for item in items:
            if item.send_id is None or item.ciphertext is None or item.send_id in self._flights:
                continue
            frame = Send(0, item.send_id, item.previous, item.ciphertext)
            task = asyncio.create_task(self._engine.connection.request(frame), name="pli send")
            task.add_done_callback(lambda _: self.wake())
            self._flights[item.send_id] = task
        timing = self._engine.timing
        longest = timing.look_for_bot if self._engine.housekeeping.bots_away else timing.ask_again
        if look_again is None:
            return longest
        return min(longest, max(0.01, look_again - self._engine.timing.clock()))

    async def _collect(self) -> bool:
        """What became of the sends that ended."""
        accepted: list[tuple[bytes, Accepted]] = []
        refused: list[tuple[bytes, RelayRefused]] = []
        for send_id, task in list(self._flights.items()):
            if not task.done():
                continue
            del self._flights[send_id]
            error = None if task.cancelled() else task.exception()
            if task.cancelled() or isinstance(error, Offline):
                continue  # unknown: the same bytes go again
            if isinstance(error, RelayRefused):
                refused.append((send_id, error))
            elif error is not None:
                raise error
            else:
                accepted.append((send_id, task.result()))
        if accepted:
            self._misfits = 0
            await self._engine.write(lambda work: _note_stored(work, accepted), name=STORED)
        if refused:
            await self._mend(refused)
        return bool(accepted or refused)

    async def _mend(self, refused: list[tuple[bytes, RelayRefused]]) -> None:
        """Sends that the relay refused: process what moved the epoch, send again in order, or fail."""
        engine, timing = self._engine, self._engine.timing
        codes = {error.refusal for _, error in refused}
        items = {
            send_id: await engine.read(lambda db, s=send_id: outbox.by_send_id(db, s))  # type: ignore[misc]
            for send_id, _ in refused
        }
        hopeless = [i for s, e in refused if e.refusal in _HOPELESS and (i := items[s]) is not None]
        if hopeless:
            reasons = {send_id: error.refusal for send_id, error in refused}

            def give_up(work: Work) -> None:
                for item in hopeless:
                    sending.fail(work, item, reasons[item.send_id or b""])

            await engine.write(give_up, name=OUTCOME)
            return
        if "try-later" in codes:
            waits = [error.retry_after or 1000 for _, error in refused]
            await timing.pause(max(waits) / 1000)
            return
        if self._flights:
            # Those behind a refused one end the same way; then all go again in order.
            await asyncio.wait(self._flights.values())
        for item in items.values():
            if item is not None and item.group_id is not None:
                await self._look_again(item.group_id)
                break
        if codes & {"not-found", "conflict"} or self._misfits > 3:
            await timing.pause(timing.between(timing.retry))
        self._misfits += 1

    async def _look_again(self, group_id: bytes) -> None:
        """Read the log: a commit in it unseals what was sealed for the epoch before."""
        with suppress(RelayRefused):
            await self._engine.catch_up(group_id)

    async def _upload(self, row: groups.GroupRow) -> None:
        """Attachments go up before their message is sealed."""
        engine = self._engine
        waiting = await engine.read(lambda db: outbox.in_state(db, self._id, "waiting", 1))
        for item in waiting:
            files = await engine.read(lambda db, i=item: messages.to_upload(db, i.message_id))  # type: ignore[misc]
            for file in files:
                path = engine.in_vault(file.sealed_file or "")
                await self._upload_one(file, path)
                await engine.write(
                    lambda work, f=file: messages.mark_uploaded(work.db, f.blob),  # type: ignore[misc]
                    name=UPLOADED,
                )
                path.unlink(missing_ok=True)

    async def _upload_one(self, file: messages.FileRow, path: Path) -> None:
        """Go on where an earlier try stopped; what the relay took by then is noted."""
        held = file.uploaded

        def progress(done: int, _total: int) -> None:
            nonlocal held
            held = done

        try:
            await upload(self._engine.connection, file.blob, path, held=held, progress=progress)
        except RelayError:
            await self._engine.write(
                lambda work: messages.note_uploaded(work.db, file.blob, held), name=UPLOADED
            )
            raise

    # --- commits under way --------------------------------------------------------------------

    async def _send_pending(self, row: groups.GroupRow) -> float | None:
        """Send the commit that waits (again): its outcome stands in the log, nowhere else."""
        engine, timing = self._engine, self._engine.timing
        pending = await engine.read(lambda db: groups.pending(db, row.group_id))
        if pending is None:
            if row.state == "creating":
                await engine.write(lambda work: founding.abandon(work, row, "internal"))
            return AGAIN
        connection, random = engine.connection, engine.around.random
        predecessor = await self._predecessor(row)
        message = await as_payload(connection, pending.message, random)
        welcome = None
        if pending.welcome is not None:
            welcome = await as_payload(connection, pending.welcome, random)
        frame = (
            CreateGroup(0, row.group_id, pending.send_id, message, welcome, predecessor)
            if pending.creates
            else Send(0, pending.send_id, pending.previous, message, welcome)
        )
        try:
            accepted = await connection.request(frame)
        except RelayRefused as refused:
            return await self._commit_refused(row, pending, refused)
        if pending.creates and row.timeline == 0:
            timeline = accepted.position.timeline
            await engine.write(
                lambda work: groups.set_timeline(work.db, row.group_id, timeline), name=OUTCOME
            )
        await engine.catch_up(row.group_id)
        still = await engine.read(lambda db: groups.pending(db, row.group_id))
        if still is not None and still.send_id == pending.send_id:
            return timing.trouble  # accepted, yet not in the log: a relay that errs
        return AGAIN

    async def _predecessor(self, row: groups.GroupRow) -> bytes | None:
        """The group whose one successor this is; None where that place was taken wrongly."""
        predecessor = row.predecessor
        if predecessor is None:
            return None
        old = await self._engine.read(lambda db: groups.read(db, predecessor))
        return None if old is not None and old.successor is not None else predecessor

    async def _commit_refused(
        self, row: groups.GroupRow, pending: groups.PendingCommit, refused: RelayRefused
    ) -> float | None:
        engine, timing = self._engine, self._engine.timing
        if refused.refusal == "try-later":
            return (refused.retry_after or 1000) / 1000
        if pending.creates:
            await engine.write(
                lambda work: founding.abandon(work, row, refused.refusal), name=OUTCOME
            )
            if row.predecessor is not None:
                await engine.housekeeping.note_successors()
                self._refound_at = (row.predecessor, timing.clock() + timing.trouble)
            return timing.between(timing.retry)
        await self._look_again(row.group_id)
        still = await engine.read(lambda db: groups.pending(db, row.group_id))
        if still is None or still.send_id != pending.send_id:
            return timing.between(timing.retry)  # another commit won; try again with jitter
        if refused.refusal in ("stale-epoch", "predecessor-missing", "conflict", "not-found"):
            self._misfits += 1
            if self._misfits < 3 or refused.refusal in ("conflict", "stale-epoch"):
                return timing.trouble
        self._misfits = 0
        await engine.write(
            lambda work: committing.refused(work, row, refused.refusal), name=OUTCOME
        )
        return timing.between(timing.retry)

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
        if await self._forward():
            return AGAIN
        waiting = await self._engine.read(lambda db: outbox.in_state(db, self._id, "waiting", 1))
        if waiting and row.state in ("removed", "left", "stopped"):
            await self._engine.write(lambda work: sending.fail_all(work, self._id, row.state))
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

    # --- coming back --------------------------------------------------------------------------

    async def _come_back(self, row: groups.GroupRow) -> float | None:
        """Ask to be added again; after a minute without an answer, re-found the conversation."""
        engine, timing = self._engine, self._engine.timing
        now = timing.clock()
        if row.successor is not None:
            successor = row.successor
            await timing.pause(timing.welcome_grace)
            known = await engine.read(lambda db: groups.read(db, successor))
            why = await engine.read(lambda db: groups.refused_welcome(db, successor))
            if known is None and why == "successor-members":
                return await self._refound_beside(row)
            if known is None:
                refusal = await engine.housekeeping.ask_return(successor, "successor")
                if refusal == "not-found":
                    await engine.write(lambda work: self._left_out(work, row), name=OUTCOME)
                return timing.ask_again
            return AGAIN if self._woken.is_set() else timing.trouble
        if row.asked_at is None or now - row.asked_at / 1000 > timing.ask_again:
            engine.housekeeping.may_ask_again(row.group_id)
            await engine.housekeeping.ask_return(row.group_id, row.detail or row.state)
            return AGAIN
        if self._refound_at is None or self._refound_at[0] != row.group_id:
            began = (row.trouble_at or int(now * 1000)) / 1000
            due = decisions.refound_due(began, timing.refound_after, timing.chance())
            self._refound_at = (row.group_id, due)
        if now < self._refound_at[1]:
            return self._refound_at[1] - now
        return await self._refound(row)

    async def _refound_beside(self, row: groups.GroupRow) -> float | None:
        """Somebody who is no member, or who adds others, was first to re-found: go on without them.

        The relay takes one successor, so this one is a group of its own; members take it by the same
        rule as a successor.
        """
        timing = self._engine.timing
        if not await self._engine.write(lambda work: work.load(row.group_id) is not None):
            return timing.ask_again  # whoever kept the group's state will found it
        if self._refound_at is None or self._refound_at[0] != row.successor:
            own = self._engine.own.device_id
            rows = await self._engine.read(lambda db: groups.members(db, row.group_id))
            lowest = min((m.leaf, m.device_id) for m in rows)[1] == own
            delay = 0.0 if lowest else timing.between(timing.others_wait)
            self._refound_at = (row.successor or b"", timing.clock() + delay)
        wait = self._refound_at[1] - timing.clock()
        return wait if wait > 0 else await self._refound(row)

    def _left_out(self, work: Work, row: groups.GroupRow) -> None:
        """The conversation goes on without this device's person."""
        groups.set_state(work.db, row.group_id, "removed", row.detail)
        conversations.set_state(work.db, self._id, "removed")
        sending.fail_all(work, self._id, "removed")
        own = work.own.person_id
        work.event(self._id, "refounded", by=None, left_out=[own], culprit=None)

    async def _refound(self, row: groups.GroupRow) -> float | None:
        engine, timing = self._engine, self._engine.timing
        await self._look_again(row.group_id)
        culprit = await self._culprit(row)
        if culprit is None and await self._removed_by_refused(row):
            return AGAIN
        members = await engine.read(lambda db: groups.members(db, row.group_id))

        def accounts(work: Work) -> list[bytes]:
            persons = (people.read_person(work.db, m.person_id) for m in members)
            return [p.account for p in persons if p is not None and not p.revoked]

        wanted = await engine.write(accounts)
        claimed = await engine.claim([*wanted, engine.own.account])

        def step(work: Work) -> bool:
            now = groups.read(work.db, row.group_id)
            if now != row:
                return False
            return founding.refound(work, row, claimed, culprit)

        made = await engine.write(step, name=REFOUND)
        return AGAIN if made else timing.between(timing.retry)

    async def _removed_by_refused(self, row: groups.GroupRow) -> bool:
        """Others applied the commit that this device refused, and it removes this device."""
        seq = row.trouble_seq
        if row.state != "refused" or seq is None:
            return False

        def step(work: Work) -> bool:
            commit = groups.kept_row(work.db, row.group_id, row.timeline, seq)
            if commit is not None:
                returning.note_removals(work, row, commit)
            now = groups.read(work.db, row.group_id)
            return now is not None and now.state == "removed"

        return await self._engine.write(step, name=OUTCOME)

    async def _culprit(self, row: groups.GroupRow) -> bytes | None:
        if row.trouble_seq is None or row.culprit is None:
            return None
        engine = self._engine
        try:
            answer = await engine.connection.request(
                GetCommitReports(0, row.group_id, row.trouble_seq)
            )
        except RelayRefused:
            return row.culprit

        def persons(work: Work) -> dict[bytes, bytes]:
            devices = [report.device for report in answer.reports] + [row.culprit or b""]
            found = {d: people.person_of_device(work.db, d) for d in devices}
            return {d: p for d, p in found.items() if p is not None}

        owners = await engine.write(persons)
        return decisions.culprit_of(answer.reports, owners, row.culprit)

    # --- records ------------------------------------------------------------------------------

    async def _forward(self) -> bool:
        """Hand proofs to the DUI's bot, in the service conversation with it."""
        engine = self._engine
        if not await engine.read(lambda db: conversations.intents(db, self._id, "forward")):
            return False
        found = await engine.read(people.bots)
        if not found:
            return False
        bot = found[0]
        claimed: list[tuple[bytes, bytes, bytes]] | None = None
        if await engine.read(lambda db: conversations.service_with(db, bot.person_id)) is None:
            if not engine.housekeeping.may_look_for(bot.person_id):
                return False
            # The bot's own devices are needed alone; what of ours is added comes by itself.
            claimed = await engine.claim([bot.account, engine.own.account])
            if not any(account == bot.account for account, _device, _package in claimed):
                engine.housekeeping.bot_is_away(bot.person_id)
                return False
        return await engine.write(lambda work: self._forward_step(work, bot, claimed), name=FORWARD)

    def _forward_step(
        self,
        work: Work,
        bot: people.KnownPerson,
        claimed: list[tuple[bytes, bytes, bytes]] | None,
    ) -> bool:
        done = False
        for intent in conversations.intents(work.db, self._id, "forward"):
            body: Forward | None = records.forward_body(work, intent)
            conversations.end_intents(work.db, [intent.id])
            done = True
            if body is None:
                continue
            service = conversations.service_with(work.db, bot.person_id)
            if service is None:
                service = founding.start(
                    work,
                    "",
                    [bot.account],
                    "service",
                    service_with=bot.person_id,
                    persons=[bot.person_id],
                    claimed=claimed,
                )
            sending.queue(work, service, body)
        return done


def _note_stored(work: Work, accepted: list[tuple[bytes, Accepted]]) -> None:
    for send_id, answer in accepted:
        item = outbox.by_send_id(work.db, send_id)
        if item is not None:
            sending.note_stored(work, item, answer.position, answer.time)
