"""Issuers killed while they learn of each other, sign anew, learn of another authority; a person too."""

import asyncio
from pathlib import Path

import pytest

from pli_client.issuer import Issuer
from pli_protocol.failpoint import declared

from ..system import processes
from ..system.actor import Actor, reconnect_quickly
from ..system.processes import KILLED
from ..system.test_authority import pending, two_issuers_sign
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


def accepts(folder: str) -> None:
    """Amélie's process: she confirms the authority that follows."""
    reconnect_quickly()
    asyncio.run(_accepts(Path(folder)))


async def _accepts(folder: Path) -> None:
    async with await Actor.open(folder / "amelie", PASSPHRASE) as amelie:
        await amelie.client.online()
        await amelie.client.trust_authority(await pending(amelie))


@pytest.mark.parametrize("point", declared("vault.trust-authority."))
async def test_a_persons_word_on_an_authority_is_kept_or_asked_for_again(
    world: World, point: str
) -> None:
    await world.relay.start()
    await two_issuers_sign(world)
    output = world.folder / "out"
    killed = processes.start(accepts, str(world.folder), output=output, failpoint=point)
    async with asyncio.timeout(PATIENCE):
        assert await killed.wait() == KILLED, killed.printed()
        async with await Actor.open(world.vault("amelie"), PASSPHRASE) as amelie:
            kept = len(amelie.engine.around.trust.authority_changes)
            assert kept == int(point.endswith(".after"))


def rehearses(folder: str) -> None:
    """The second issuer's process: it learns which authority follows, and signs for another one."""
    reconnect_quickly()
    asyncio.run(_rehearses(Path(folder)))


async def _rehearses(folder: Path) -> None:
    async with await Issuer.open(folder / "admin-2", PASSPHRASE) as issuer:
        await issuer.publish()


@pytest.mark.parametrize("point", declared("vault.lineage."))
async def test_an_issuer_learns_of_an_authority_however_often_it_is_killed(
    world: World, point: str
) -> None:
    await world.relay.start()
    authority = await two_issuers_sign(world)
    async with await Issuer.open(world.folder / "admin-2", PASSPHRASE) as issuer:
        await issuer.vault.write(lambda db: db.execute("DELETE FROM meta WHERE key = 'lineage'"))
    output = world.folder / "out"
    killed = processes.start(rehearses, str(world.folder), output=output, failpoint=point)
    async with asyncio.timeout(PATIENCE):
        assert await killed.wait() == KILLED, killed.printed()
        await _rehearses(world.folder)
    assert authority.exists()
    async with await Issuer.open(world.folder / "admin-2", PASSPHRASE) as issuer:
        assert len(await issuer.issuers()) == 2
