"""Everybody at once, by seed: messages, renames, adds, removes, clients that stop or
lose their state, a relay that dies.

When all is quiet again the checker compares all vaults with the relay's log (I1 to I5).
"""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

import pli_client
from pli_client import Client, PliError, SentMessage
from pli_client.vault import Vault

from .actor import QUICK
from .checker import check
from .team import settle
from .world import PASSPHRASE, PATIENCE, PEOPLE, World

WHO = ("amelie", "bruno", "chloe")


class Crew:
    """Three people doing things in one conversation, in an order that the seed decides."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.clients: dict[str, Client] = {}
        self._open: dict[str, AsyncExitStack] = {}
        self.returned: set[str] = set()
        self.sent: list[tuple[str, SentMessage]] = []

    async def open(self, who: str) -> None:
        stack = AsyncExitStack()
        connecting = pli_client.connect(self.world.vault(who), PASSPHRASE, timing=QUICK)
        self.clients[who] = await stack.enter_async_context(connecting)
        self._open[who] = stack

    async def close(self, who: str) -> None:
        del self.clients[who]
        await self._open.pop(who).aclose()

    async def _damage(self, who: str) -> None:
        """The device loses the state of all its groups."""
        self.returned.add(who)
        async with await Vault.open(self.world.vault(who), PASSPHRASE) as vault:
            await vault.write(lambda db: db.execute("DELETE FROM mls_state"))

    async def act(self, step: int) -> None:
        who = self.random.choice(sorted(self.clients))
        client = self.clients[who]
        kind = self.random.choices(
            ["send", "rename", "add", "remove", "restart", "kill", "rest", "damage"],
            [14, 2, 2, 2, 2, 1, 5, 1],
        )[0]
        others = [PEOPLE[name].name for name in WHO if name != who]
        try:
            conversation = await client.conversation(self.team)
            match kind:
                case "send":
                    for i in range(self.random.randrange(1, 5)):
                        sent = await conversation.send(f"{who} {step} {i}")
                        self.sent.append((who, sent))
                case "rename":
                    await conversation.rename(f"Étage {step}")
                case "add":
                    await conversation.add(self.random.choice(others), timeout=0)
                case "remove":
                    await conversation.remove(self.random.choice(others), timeout=0)
                case "restart":
                    await self.close(who)
                    await self.open(who)
                case "damage":
                    await self.close(who)
                    await self._damage(who)
                    await self.open(who)
                case "kill":
                    await self.world.relay.kill()
                    await self.world.relay.start()
                case _:
                    await client.engine.changed(0.05)
        except PliError:
            pass  # not a member now, not known yet: part of the disorder

    async def run(self, steps: int) -> None:
        for who in WHO:
            await self.open(who)
        first = self.clients["amelie"]
        await first.online(PATIENCE)
        conversation = await first.start("Étage", [PEOPLE[name].name for name in WHO[1:]])
        self.team = conversation.id
        await settle(*self.clients.values())
        for step in range(steps):
            await self.act(step)
        await settle(*self.clients.values())
        await settle(*self.clients.values())

    async def acknowledged(self) -> list[bytes]:
        """Ids of what was reported as stored."""
        found = []
        for who, sent in self.sent:
            message = await self.clients[who].message(sent.message_id)
            assert message is not None
            assert message.state in ("stored", "failed"), f"{message.state}: {message.text}"
            if message.state == "stored":
                found.append(sent.message_id)
        return found


@pytest.mark.parametrize("seed", range(4))
async def test_disorder_loses_nothing_doubles_nothing_and_ends_in_one_state(
    world: World, seed: int
) -> None:
    await world.relay.start()
    crew = Crew(world, seed)
    async with asyncio.timeout(2 * PATIENCE):
        await crew.run(40)
        acknowledged = await crew.acknowledged()
        for who in list(crew.clients):
            await crew.close(who)
    assert acknowledged
    await check(world, acknowledged, returned=crew.returned)
