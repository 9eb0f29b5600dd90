"""The client killed before, within and after each of its vault's transactions (I1 to I5)."""

import asyncio

import pytest

import pli_client.bots.dui  # noqa: F401  declares the fail points, as does the SDK under it
from pli_protocol.failpoint import declared

from ..system import processes
from ..system.checker import check
from ..system.processes import KILLED
from ..system.world import World
from . import victim
from .cast import Cast
from .scenes import SCENES, SEND, Scene

pytestmark = pytest.mark.processes

ELSEWHERE = (
    *(
        "enrolment-",
        "establish",
        "invite",
        "issuer-token",
        "partner-signed",
        "revoke",
        "replace",
        "rejoin-",
        "certify",
        "learn-people",
        "resign",
        "lineage",
        "trust-authority",
    ),
    *("device-revoke", "linking-"),
    *("wipe", "mend", "timeline", "other"),
)
"""Enrolment is swept in tests/client/issuer, the wipe in tests/client/vault, the rest of the issuer in
test_issuer_killed, test_replaced_killed and test_resign_killed, mending a relay in test_repair_killed,
linking in test_linking_killed; `other` is what a transaction without a name is called, of which the SDK
has none."""

POINTS = [
    (point, scene)
    for point in declared("vault.")
    if not point.split(".")[1].startswith(ELSEWHERE)
    for scene in SCENES.get(point.split(".")[1], (SEND,))
]


@pytest.mark.parametrize(
    ("point", "scene"), POINTS, ids=[f"{point} {scene.script}" for point, scene in POINTS]
)
async def test_nothing_is_lost_or_doubled_when_the_client_is_killed_at(
    world: World, point: str, scene: Scene
) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        await scene.before(cast)
        output = world.folder / "victim.out"
        killed = processes.start(
            victim.run, str(world.vault(scene.victim)), scene.script, output=output, failpoint=point
        )
        others = asyncio.create_task(scene.others(cast))
        try:
            assert await killed.wait() == KILLED, f"{point} was not reached: {killed.printed()}"
        finally:
            killed.kill()
        await cast.open(scene.victim)
        await others
        await cast.settled()
        cast.acknowledged += victim.acknowledged(killed.printed())
    await check(world, cast.acknowledged)
