"""Following the other nodes: what they changed is looked up in the database, told of or not.

    hint ──> what to look at ─┐
    every few seconds: all ───┴──> look: database ──> rooms, deliveries, trust, sessions of this node

A hint says only where to look first. Whatever hints do, each node looks at all that it holds in memory
every `look_seconds` (each second while the bus is down), by key and some hundreds of keys at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pli_protocol.relay import frames as f

from ..errors import Refusal
from ..handlers.establishments import cut_revoked
from ..session import Session
from ..storage import reading
from ..storage.changes import Changes
from ..storage.faults import describe
from . import looking
from .bus import Bus
from .hint import BadHint, decode_hint, encode_hints
from .telling import tell_changes

if TYPE_CHECKING:
    from ..relay import Relay

log = logging.getLogger(__name__)

Look = Callable[[], Awaitable[None]]

DOWN_SECONDS: Final = 1
"""Between two looks while the bus is down, or there is none."""

MOST_WANTED: Final = 20_000
"""Things to look at that are remembered one by one; above, everything is looked at."""


class Follower:
    """One node's view of the others. Everything runs on the loop."""

    def __init__(self, relay: "Relay", bus: Bus, node: bytes) -> None:
        """`node` is this node's number: 16 random bytes of this process."""
        self._relay = relay
        self._bus = bus
        self._node = node
        self._wanted = Changes()
        self._everything = True
        self._complained = False
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.joined = asyncio.Event()
        """The bus was up once."""
        self.heard = 0
        """Hints from other nodes."""
        self.dropped = 0
        """Messages on the bus that were no hints."""

        metrics = relay.metrics
        metrics.gauge("bus_up", "1: hints reach the other nodes.", lambda: float(bus.up))
        metrics.counter("hints", "Hints heard from other nodes.", lambda: self.heard)
        metrics.counter("bad_hints", "What came over the bus and is no hint.", lambda: self.dropped)

    def start(self) -> None:
        """Look at everything once, and from then on."""
        self._bus.start(self._hear, self._joined)
        self._tasks = [
            asyncio.create_task(self._look_for_ever(), name="pli follower"),
            asyncio.create_task(self._tick(), name="pli follower's clock"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bus.close()

    def committed(self, changes: Changes) -> None:
        """This node changed something: the others are told where to look."""
        # Trust is built from the database on every node, this one too; its people were told already.
        self._want(Changes(establishments=changes.establishments))
        if self._bus.up:
            for data in encode_hints(self._node, changes):
                self._bus.say(data)

    # --- what to look at ----------------------------------------------------------------------

    def _hear(self, data: bytes) -> None:
        try:
            hint = decode_hint(data)
        except BadHint:
            self.dropped += 1
            return
        if hint.sender == self._node:
            return
        self.heard += 1
        relay = self._relay
        self._want(
            Changes(
                {group: last for group, last in hint.groups if relay.rooms.get(group) is not None},
                {no for no in hint.devices if no in relay.sessions},
                dict.fromkeys(hint.establishments, 0),
                set(hint.enrolments) if relay.waiting or relay.issuers else set(),
            )
        )

    def _joined(self) -> None:
        """The bus is up, or up again: what was said meanwhile is lost."""
        self.joined.set()
        self._look_at_everything()

    def _want(self, changes: Changes) -> None:
        if changes:
            self._wanted.add(changes)
            if len(self._wanted) > MOST_WANTED:
                self._wanted, self._everything = Changes(), True
            self._woken.set()

    def _look_at_everything(self) -> None:
        self._everything = True
        self._woken.set()

    async def _tick(self) -> None:
        while True:
            seconds = self._relay.settings.bus.look_seconds if self._bus.up else DOWN_SECONDS
            await asyncio.sleep(seconds)
            self._look_at_everything()

    async def _look_for_ever(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            wanted, self._wanted = self._wanted, Changes()
            everything, self._everything = self._everything, False
            try:
                for look in self._looks(wanted, everything):
                    await look()
                self._complained = False
            except Exception as error:
                # The next look is of everything again.
                if not self._complained:
                    log.warning("other nodes' changes cannot be read: %s", describe(error))
                self._complained = self._everything = True

    def _looks(self, wanted: Changes, everything: bool) -> list[Look]:
        relay = self._relay
        rooms = (
            list(relay.rooms)
            if everything
            else [room for group in wanted.groups if (room := relay.rooms.get(group)) is not None]
        )
        devices = list(relay.sessions) if everything else list(wanted.devices)
        enrolments = list(relay.waiting) if everything else list(wanted.enrolments)
        linkings = [each for each in enrolments if each in relay.waiting]
        return [
            # Who may not be here any more, first.
            partial(self._look_at_establishments, wanted.establishments, everything),
            partial(self._look_at_devices, devices, everything),
            partial(self._look_at_groups, [room.no for room in rooms]),
            partial(self._look_at_enrolments, enrolments),
            partial(self._look_at_linkings, linkings),
            *([self._look_at_waiting] if everything else []),
        ]

    # --- looking ------------------------------------------------------------------------------

    async def _read(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._relay.readers.run(lambda db: function(db, *arguments))

    async def _look_at_establishments(self, wanted: dict[bytes, int], everything: bool) -> None:
        """`wanted` says how often this node itself has changed each: that was told where it was done."""
        if not wanted and not everything:
            return
        revisions: dict[bytes, int] = await self._read(looking.revisions)
        for each, revision in revisions.items():
            if (everything or each in wanted) and revision != self._relay.known_revision(each):
                await self.catch_up(each, wanted.get(each, 0))

    async def catch_up(self, establishment: bytes, own: int = 0) -> None:
        """Learn what is stored of an establishment, tell its people here, cut off who was revoked.

        Args:
            own: How many of the changes are this node's, which has told of them.
        """
        relay = self._relay
        before = relay.known.get(establishment)
        now = await relay.learn_establishment(establishment)
        if now is None:
            return
        if before is not None and now.revision > before.revision + own:
            await tell_changes(relay, before, now)
        await cut_revoked(relay)

    async def _look_at_devices(self, numbers: list[int], everything: bool) -> None:
        for chunk in looking.chunks(numbers):
            for now in await self._read(looking.devices, chunk):
                self._check_session(now)
            waiting = await self._read(looking.welcomes, chunk)
            for number in chunk:
                session = self._relay.sessions.get(number)
                if session is None or session.delivery is None:
                    continue
                welcomed = waiting.get(number, (0, 0))
                if not everything or welcomed != session.delivery.welcomed:
                    await self._refresh(session, welcomed)

    def _check_session(self, now: looking.DeviceNow) -> None:
        session = self._relay.sessions.get(now.no)
        if session is None:
            return
        if now.locked is not None:
            refusal = Refusal("clone")
        elif now.session > session.sign_in:
            refusal = Refusal("replaced")
        elif now.revoked is not None:
            refusal = Refusal("sign-in-failed")
        else:
            return
        self._relay.drop(session)
        session.refuse(None, refusal)

    async def _refresh(self, session: Session, welcomed: tuple[int, int]) -> None:
        """Read the memberships again, unless this node changed them meanwhile: then the next look does."""
        delivery = session.delivery
        assert delivery is not None
        before = delivery.changes
        memberships = await self._read(reading.memberships, session.device_no)
        if session.open and session.delivery is delivery and delivery.changes == before:
            delivery.welcomed = welcomed
            delivery.refresh(memberships, welcomed[0] > 0)

    async def _look_at_groups(self, numbers: list[int]) -> None:
        rooms = self._relay.rooms
        for chunk in looking.chunks(numbers):
            for now in await self._read(looking.groups, chunk):
                room = rooms.get(now.group_id)
                if room is None:
                    continue
                rooms.look(room, now.last, now.roster)
                if now.successor is not None:
                    rooms.refound(room, now.successor)

    async def _look_at_enrolments(self, requests: list[bytes]) -> None:
        for chunk in looking.chunks(requests):
            for now in await self._read(looking.enrolments, chunk):
                if now.answer is not None:
                    waiter = self._relay.waiting.pop(now.request_id, None)
                    if waiter is not None:
                        waiter.answer(f.EnrolmentAnswer(now.request_id, now.answer))
                else:
                    self._relay.tell_issuers(now.establishment, now.request_id, now.sealed)

    async def _look_at_linkings(self, requests: list[bytes]) -> None:
        for chunk in looking.chunks(requests):
            for request_id, answer in (await self._read(looking.linkings, chunk)).items():
                waiter = self._relay.waiting.pop(request_id, None)
                if waiter is not None:
                    waiter.answer(f.LinkingAnswer(request_id, answer))

    async def _look_at_waiting(self) -> None:
        """Requests that came at another node, for the issuers that are online here."""
        issuers = [issuer for issuer in self._relay.issuers.values() if issuer.listed is not None]
        for establishment in {issuer.establishment for issuer in issuers}:
            told = [issuer.listed or set() for issuer in issuers]
            found = await self._read(looking.waiting, establishment)
            new = [each for each in found if not all(each in listed for listed in told)]
            await self._look_at_enrolments(new)
