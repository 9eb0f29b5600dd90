"""Two and three devices that commit at the same moment, again and again (I1 to I5)."""

import asyncio
import random

import pytest

from ..system.actor import Actor
from ..system.checker import check
from ..system.world import TITLE, World
from .cast import Cast, Refusals

pytestmark = pytest.mark.processes

ROUNDS = 15


async def test_two_devices_that_commit_at_once_both_get_what_they_wanted(world: World) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        await cast.open("chloe")
        await (await cast.open("david")).ready()
        lost = Refusals(amelie, bruno)
        conversation = await amelie.conversation(TITLE)
        pair = cast.name("amelie"), cast.name("bruno")
        everybody = (*pair, cast.name("chloe"), cast.name("david"))
        for number in range(ROUNDS):
            await asyncio.gather(
                amelie.add(conversation, cast.name("chloe")),
                bruno.add(conversation, cast.name("david")),
                cast.say(amelie, conversation, f"Amélie {number}"),
                cast.say(bruno, conversation, f"Bruno {number}"),
            )
            await _agreed(cast, conversation, everybody)
            await asyncio.gather(
                amelie.remove(conversation, cast.name("chloe")),
                bruno.remove(conversation, cast.name("david")),
                cast.say(amelie, conversation, f"Amélie encore {number}"),
            )
            await _agreed(cast, conversation, pair)
        await cast.settled()
        assert lost.codes["stale-epoch"] > 0, "the commits never met"
        epochs = world.relay.query("SELECT epoch FROM groups")
        assert epochs == [(1 + 4 * ROUNDS,)], "each change is one commit, and none stands twice"
    await check(world, cast.acknowledged)


async def test_commits_race_while_the_relay_is_killed_again_and_again(world: World) -> None:
    seed = 20261122
    chance = random.Random(seed)
    await world.relay.start()
    async with Cast(world) as cast:
        amelie, bruno, chloe = [await cast.open(who) for who in ("amelie", "bruno", "chloe")]
        conversation = await amelie.conversation(TITLE)
        await amelie.add(conversation, cast.name("chloe"))
        await chloe.conversation(TITLE)
        crew = {"amelie": amelie, "bruno": bruno, "chloe": chloe}
        working = asyncio.gather(
            *(_work(cast, who, actor, conversation) for who, actor in crew.items()),
            amelie.add(conversation, cast.name("david")),
            bruno.add(conversation, cast.name("david")),
        )
        while not working.done():
            await asyncio.wait([working], timeout=chance.uniform(0.05, 0.3))
            await world.relay.restart()
        await working
        await cast.settled()
    await check(world, cast.acknowledged)


async def _work(cast: Cast, who: str, actor: Actor, conversation: bytes) -> None:
    for number in range(15):
        await cast.say(actor, conversation, f"{who} {number}")


async def _agreed(cast: Cast, conversation: bytes, names: tuple[str, ...]) -> None:
    for who in ("amelie", "bruno"):
        await cast.actors[who].members(conversation, *names)
