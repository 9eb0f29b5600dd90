"""A further issuer killed while it learns of the others' people, and while it signs them anew."""

import asyncio
from pathlib import Path

import pytest

from pli_client.issuer import Issuer
from pli_protocol.failpoint import declared

from ..system import processes
from ..system.actor import reconnect_quickly
from ..system.processes import KILLED
from ..system.test_issuers import second_issuer
from ..system.world import PASSPHRASE, PATIENCE, PEOPLE, World

pytestmark = pytest.mark.processes

POINTS = (*declared("vault.learn-people."), *declared("vault.resign."))


def resigns(folder: str) -> None:
    """The process."""
    reconnect_quickly()
    asyncio.run(work(Path(folder)))


async def work(folder: Path) -> None:
    async with await Issuer.open(folder / "admin-2", PASSPHRASE) as issuer:
        (lost,) = [state for state in await issuer.issuers() if not state.own]
        await issuer.resign(lost.issuer_id.hex())


@pytest.mark.parametrize("point", POINTS)
async def test_everybody_is_signed_anew_however_often_it_is_begun(world: World, point: str) -> None:
    await world.relay.start()
    await second_issuer(world)
    output = world.folder / "out"
    killed = processes.start(resigns, str(world.folder), output=output, failpoint=point)
    async with asyncio.timeout(PATIENCE):
        assert await killed.wait() == KILLED, killed.printed()
        await work(world.folder)
        async with await Issuer.open(world.folder / "admin-2", PASSPHRASE) as issuer:
            await issuer.publish()
            (lost,) = [state for state in await issuer.issuers() if not state.own]
            rows = await issuer.people()
    assert (len(rows), lost.people) == (len(PEOPLE), 0)
    held = world.relay.query("SELECT person FROM accounts ORDER BY person")
    assert held == sorted((row.certificate,) for row in rows)
