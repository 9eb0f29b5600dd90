"""A client that is killed again and again, each time at another place, while a team is at work."""

import asyncio
import random

import pytest

import pli_client.client  # noqa: F401  declares the fail points
from pli_protocol.failpoint import declared

from ..system import processes
from ..system.checker import check
from ..system.processes import KILLED
from ..system.world import TITLE, World
from . import victim
from .cast import Cast

pytestmark = pytest.mark.processes

NAMES = ("receive", "seal", "stored", "queue", "token", "engine", "key-packages", "directory")
KILLS = 12


@pytest.mark.parametrize("seed", range(3))
async def test_a_client_that_dies_a_dozen_times_loses_and_doubles_nothing(
    world: World, seed: int
) -> None:
    chance = random.Random(seed)
    points = [point for name in NAMES for point in declared(f"vault.{name}.")]
    await world.relay.start()
    kills = 0
    async with Cast(world) as cast:
        others = asyncio.create_task(_bruno(cast))
        for life in range(4 * KILLS):
            armed = f"{chance.choice(points)}:{chance.randint(1, 3)}" if kills < KILLS else None
            process = processes.start(
                victim.run,
                *(str(world.vault("amelie")), "persisting"),
                output=world.folder / f"life{life}.out",
                failpoint=armed,
            )
            try:
                code = await process.wait()
            finally:
                process.kill()
            cast.acknowledged += victim.acknowledged(process.printed())
            assert code in (0, KILLED), process.printed()
            kills += code == KILLED
            if armed is None:
                break
        await others
        await cast.settled()
    assert kills >= KILLS // 2
    states = await check(world, cast.acknowledged)
    for state in states[:2]:
        texts = [message.text for message in state.messages if message.kind == "post"]
        assert [t for t in texts if t.startswith("Amélie")] == [f"Amélie {n}" for n in range(12)]


async def _bruno(cast: Cast) -> None:
    bruno = await cast.open("bruno")
    await cast.open("chloe")
    conversation = await bruno.conversation(TITLE)
    for number in range(12):
        await cast.say(bruno, conversation, f"Bruno {number}")
        if number % 4 == 1:
            await bruno.add(conversation, cast.name("chloe"))
        if number % 4 == 3:
            await bruno.remove(conversation, cast.name("chloe"))
