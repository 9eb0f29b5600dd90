"""The people of a test at work, with what the relay acknowledged to them."""

import asyncio
from collections import Counter
from types import TracebackType
from typing import Any, Self

from pli_client.engine.timing import Timing
from pli_client.errors import RelayRefused

from ..system.actor import QUICK, Actor
from ..system.processes import KILLED
from ..system.world import PATIENCE, PEOPLE, World


class Cast:
    """Actors of one world, closed together. Within the block everything ends in PATIENCE seconds."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.actors: dict[str, Actor] = {}
        self.acknowledged: list[bytes] = []
        self.revoked: set[str] = set()
        self._timeout = asyncio.timeout(PATIENCE)
        self._reviving: asyncio.Task[int] | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            for who, actor in self.actors.items():
                if not actor.closed:
                    error.add_note(f"{who}: {await actor.described()}")
        try:
            if self._reviving is not None:
                self._reviving.cancel()
                await asyncio.gather(self._reviving, return_exceptions=True)
            for actor in self.actors.values():
                await actor.close()
        finally:
            await self._timeout.__aexit__(kind, error, traceback)

    async def open(self, who: str, timing: Timing = QUICK) -> Actor:
        """Somebody comes to work (again)."""
        self.actors[who] = await self.world.open(who, timing)
        return self.actors[who]

    async def say(self, actor: Actor, conversation: bytes, *texts: str) -> None:
        """Send, and wait until the relay has acknowledged all of it."""
        sent = [await actor.send(conversation, text) for text in texts]
        for message_id in sent:
            await actor.stored(message_id)
            self.acknowledged.append(message_id)

    def name(self, who: str) -> str:
        return PEOPLE[who].name

    # --- a relay that is killed ---------------------------------------------------------------

    async def start_relay(self, failpoint: str) -> None:
        """Start the relay with a fail point armed; when it has died there, start it again."""
        await self.world.relay.start(failpoint)
        self._reviving = asyncio.create_task(self._revive())

    async def _revive(self) -> int:
        code = await self.world.relay.died(PATIENCE)
        await self.world.relay.start()
        return code

    async def relay_was_killed(self) -> None:
        """Wait until the fail point was reached and the relay is back."""
        assert self._reviving is not None
        assert await self._reviving == KILLED

    async def settled(self) -> None:
        """Everybody who may comes to work, and nothing is left to do."""
        for who in set(self.world.vaults()) - self.revoked:
            if who not in self.actors or self.actors[who].closed:
                await self.open(who)
        for _ in range(2):  # one's settling may give another something to do
            for actor in self.actors.values():
                await actor.settled()


class Refusals:
    """What the relay refused to these people from now on, counted by code."""

    def __init__(self, *actors: Actor) -> None:
        self.codes: Counter[str] = Counter()
        self._changed = asyncio.Event()
        for actor in actors:
            self._watch(actor.engine.connection)

    async def seen(self, code: str) -> None:
        """Until something was refused with this code."""
        while not self.codes[code]:
            self._changed.clear()
            await self._changed.wait()

    def _watch(self, connection: Any) -> None:
        request = connection.request

        async def watched(frame: object) -> object:
            try:
                return await request(frame)
            except RelayRefused as refused:
                self.codes[refused.refusal] += 1
                self._changed.set()
                raise

        connection.request = watched
