"""The relay killed before, within and after each kind of its write transactions (I1 to I5)."""

import asyncio

import pytest

import pli_server.storage.writer  # noqa: F401  declares the fail points
from pli_protocol.failpoint import declared

from ..system.checker import check
from ..system.processes import KILLED
from ..system.world import PATIENCE, World, new
from .cast import Cast
from .relay_scripts import SCRIPTS, everyday

pytestmark = pytest.mark.processes

ELSEWHERE = {"register", "bring"}
"""Kinds of write for which a test of their own stands below, or in test_repair_killed."""

POINTS = [point for point in declared("relay.") if point.split(".")[1] not in ELSEWHERE]


@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_or_doubled_when_the_relay_is_killed_at(
    world: World, point: str
) -> None:
    kind = point.split(".")[1]
    if kind in ("sweep", "head"):
        world.relay.configure("# sweep_seconds = 3600", "sweep_seconds = 1")
    async with Cast(world) as cast:
        await cast.start_relay(point)
        await SCRIPTS.get(kind, everyday)(cast)
        await cast.relay_was_killed()
        await cast.settled()
    await check(world, cast.acknowledged)


@pytest.mark.parametrize("point", declared("relay.register."))
async def test_an_establishment_can_be_founded_when_the_relay_is_killed_at(
    template: tuple[object, int], tmp_path_factory: pytest.TempPathFactory, point: str
) -> None:
    folder = tmp_path_factory.mktemp("founding") / "world"
    async with asyncio.timeout(PATIENCE), new(folder, template[1]) as world:
        await world.relay.start(point)
        with pytest.raises(Exception, match=r".") as failed:
            await world.found()
        assert await world.relay.died() == KILLED, failed
        await world.relay.start()
        await world.found()
        async with world.issuer() as issuer:
            await world.enrol(issuer, "amelie")
