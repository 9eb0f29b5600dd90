"""The client killed while a conversation of the suite before is brought to today's (decision 10)."""

import pytest

from pli_client.engine.profile import SUITE
from pli_protocol.failpoint import declared
from pli_protocol.mls.codec import decode
from pli_protocol.mls.key_package import KeyPackage

from ..system import processes
from ..system.checker import check
from ..system.processes import KILLED
from ..system.world import PATIENCE, TITLE, World
from . import victim
from .cast import Cast

pytestmark = pytest.mark.processes

STEPS = ("key-packages", "want", "refound", "outcome", "claim", "commit")
POINTS = [point for point in declared("vault.") if point.split(".")[1] in STEPS]


@pytest.mark.parametrize("point", POINTS)
async def test_who_was_to_be_added_comes_in_when_the_client_is_killed_at(
    old_world: World, point: str
) -> None:
    await old_world.relay.start()
    async with Cast(old_world) as cast:
        for who in ("bruno", "chloe"):
            actor = await cast.open(who)
            await actor.client.until(actor.client.stocked, PATIENCE)
        output = old_world.folder / "victim.out"
        killed = processes.start(
            victim.run, str(old_world.vault("amelie")), "committing", output=output, failpoint=point
        )
        try:
            assert await killed.wait() == KILLED, f"{point} was not reached: {killed.printed()}"
        finally:
            killed.kill()
        amelie = await cast.open("amelie")
        await amelie.client.until(amelie.client.stocked, PATIENCE)
        team = await amelie.conversation(TITLE)
        if point == "vault.want.after" or point.split(".")[1] not in ("key-packages", "want"):
            everybody = [cast.name(who) for who in ("amelie", "bruno", "chloe")]
            for actor in cast.actors.values():
                await actor.members(team, *everybody)
            now = await amelie.group(team)
            number = await amelie.engine.write(lambda work: work.suite_of(now.group_id))
            assert number == SUITE.number
        await cast.settled()
        cast.acknowledged += victim.acknowledged(killed.printed())
        rows = old_world.relay.query(
            """SELECT key_package FROM key_packages JOIN devices ON devices.no = device_no
               WHERE claimed IS NULL AND device_id = ?""",
            amelie.engine.own.device_id,
        )
        assert {decode(KeyPackage, row[0]).cipher_suite for row in rows} == {SUITE.number}
    await check(old_world, cast.acknowledged)
