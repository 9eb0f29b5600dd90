"""The administrator killed before, within and after each transaction but those of an enrolment's answer."""

import asyncio
from pathlib import Path

import pytest

import pli_client.issuer  # noqa: F401  declares the fail points
from pli_client.issuer import Issuer
from pli_protocol.failpoint import declared

from ..system import processes
from ..system.partnering import ELSEWHERE
from ..system.processes import KILLED
from ..system.world import PASSPHRASE, PATIENCE, World, new
from . import admin
from .cast import Cast

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("point", declared("vault.establish"))
async def test_founding_goes_on_where_it_was_killed(
    template: tuple[Path, int], tmp_path: Path, point: str
) -> None:
    port = template[1]
    async with asyncio.timeout(PATIENCE), new(tmp_path / "world", port) as world:
        await world.relay.start()
        await _killed(world, point)
        await admin.work(world)
        async with world.issuer() as issuer:
            await world.enrol(issuer, "amelie")
        assert world.relay.query("SELECT count(*) FROM establishments") == [(1,)]


@pytest.mark.parametrize(
    "point",
    [
        point
        for kind in ("invite", "issuer-token", "partner-signed", "revoke")
        for point in declared(f"vault.{kind}.")
    ],
)
async def test_what_the_administrator_did_is_done_once_or_not_at_all(
    world: World, point: str
) -> None:
    await world.relay.start()
    await _killed(world, point)
    async with Cast(world) as cast:
        cast.revoked.add("chloe")
        async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
            assert len(await issuer.invitations()) <= 1
            assert len(await issuer.partners.all()) <= 1
        await admin.work(world)
        await cast.settled()
        amelie = cast.actors["amelie"].client
        lists = amelie.trust.head().number
        assert lists in (1, 2)
        (chloe,) = [p for p in await amelie.people() if p.name == cast.name("chloe")]
        assert chloe.revoked
        assert [p.name for p in await amelie.partners()] == [ELSEWHERE]


async def _killed(world: World, point: str) -> None:
    output = world.folder / "admin.out"
    killed = processes.start(
        admin.run, str(world.folder), world.relay.port, output=output, failpoint=point
    )
    async with asyncio.timeout(PATIENCE):
        assert await killed.wait() == KILLED, f"{point} was not reached: {killed.printed()}"
