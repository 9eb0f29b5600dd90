"""Client or relay killed while a restored relay is brought what it lacks: nothing is lost or doubled."""

import asyncio

import pytest

import pli_server.storage.writer  # noqa: F401  declares the fail points
from pli_protocol.failpoint import declared

from ..system import processes
from ..system.checker import check
from ..system.processes import KILLED
from ..system.test_restored_relay import Story, back_up, restore
from ..system.world import TITLE, World
from . import victim

pytestmark = pytest.mark.processes

POINTS = [
    f"vault.{what}.{when}"
    for what in ("mend", "timeline")
    for when in ("before", "within", "after")
]


@pytest.mark.parametrize("point", POINTS)
async def test_a_client_killed_while_it_mends_the_relay_does_it_again(
    world: World, point: str
) -> None:
    await world.relay.start()
    story = Story(world)
    await story.come("amelie", "bruno")
    archive = back_up(world.relay)
    await story.say("amelie", TITLE, "après la sauvegarde")
    await story.settle()
    await story.leave()
    await restore(world.relay, archive)
    output = world.folder / "victim.out"
    killed = processes.start(
        victim.run, str(world.vault("amelie")), "receiving", output=output, failpoint=point
    )
    try:
        assert await killed.wait() == KILLED, f"{point} was not reached: {killed.printed()}"
    finally:
        killed.kill()
    await story.come("amelie", "bruno")
    await story.say("amelie", TITLE, "me revoilà")
    await story.settle()
    await story.leave()
    await check(world, story.acknowledged)


@pytest.mark.parametrize("point", declared("relay.bring."))
async def test_a_relay_killed_while_it_is_mended_is_mended_again(world: World, point: str) -> None:
    await world.relay.start()
    story = Story(world)
    await story.come("amelie", "bruno")
    archive = back_up(world.relay)
    await story.say("amelie", TITLE, "après la sauvegarde")
    await story.settle()
    await story.leave()
    await restore(world.relay, archive, failpoint=point)
    coming = asyncio.create_task(story.come("amelie", "bruno"))
    assert await world.relay.died() == KILLED
    await world.relay.start()
    await coming
    await story.say("bruno", TITLE, "me revoilà")
    await story.settle()
    await story.leave()
    await check(world, story.acknowledged)
