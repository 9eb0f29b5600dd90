"""Linking a device, with either side killed before, within and after each of its transactions."""

import asyncio
import contextlib
from pathlib import Path

import pytest

import pli_client
from pli_client import Client
from pli_client.enrolment import AlreadyEnrolled
from pli_client.linking import NothingToLink
from pli_protocol.failpoint import declared
from pli_protocol.identity.linking import linking_code
from pli_protocol.identity.password import Cost, derive

from ..server.credentials import Authenticator
from ..system import processes
from ..system.actor import QUICK, Actor, reconnect_quickly
from ..system.checker import check
from ..system.processes import KILLED
from ..system.test_devices import second_device
from ..system.world import CHEAP, PASSPHRASE, TITLE, World
from .cast import Cast

pytestmark = pytest.mark.processes

PASSWORD = "cinq mots au hasard"
COST = Cost(memory=1024, passes=1, lanes=1)
NEW, ENROLLED = "amelie-2", "amelie"


def points(*names: str) -> list[str]:
    return [point for name in names for point in declared(f"vault.{name}.")]


# --- what is killed -----------------------------------------------------------------------------


def new_device(folder: str, address: str, code: str) -> None:
    """The process of the new device."""
    reconnect_quickly()
    asyncio.run(links(Path(folder), address, code))


async def links(folder: Path, address: str, code: str) -> None:
    await pli_client.link(
        address, folder, PASSPHRASE, PASSWORD, code, kdf=CHEAP, cost=COST, timing=QUICK
    )


def enrolled_device(folder: str) -> None:
    """The process of the device that approves."""
    reconnect_quickly()
    asyncio.run(_enrolled(Path(folder)))


async def _enrolled(folder: Path) -> None:
    async with pli_client.connect(folder, PASSPHRASE, timing=QUICK) as me:
        await approves(me)


def revoking_device(folder: str, device: str) -> None:
    """The process of the device that declares another one lost."""
    reconnect_quickly()
    asyncio.run(_revoking(Path(folder), device))


async def _revoking(folder: Path, device: str) -> None:
    async with pli_client.connect(folder, PASSPHRASE, timing=QUICK) as me:
        await me.online()
        await me.own_devices.revoke(await me.own_devices.find(device), "lost")


async def approves(me: Client) -> None:
    """Approve whatever asks, until the conversations are asked to add it."""
    await me.online()
    while True:
        with contextlib.suppress(NothingToLink):
            found = await me.own_devices.asking()
            await me.own_devices.approve(found, linking_code(found.request), "bureau")
            break
        await me.engine.changed(0.05)
    assert await me.own_devices.added(60)


# --- around it ----------------------------------------------------------------------------------


async def set_up(cast: Cast) -> tuple[str, Authenticator]:
    """Amélie's factors, and her account's address; she has gone again."""
    amelie = await cast.open(ENROLLED)
    await amelie.engine.connection.online()
    own = amelie.engine.own.device.person
    factors = Authenticator(bytes(derive(PASSWORD, own.establishment, own.account, COST)))
    await factors.set_up(amelie.engine.connection.request)  # type: ignore[arg-type]
    address = amelie.client.own_devices.address.text()
    await amelie.close()
    return address, factors


async def goes_on(cast: Cast, address: str, factors: Authenticator) -> None:
    """Both begin again, to the end; then both devices read and write."""
    amelie = await cast.open(ENROLLED)
    approving = asyncio.create_task(approves(amelie.client))
    with contextlib.suppress(AlreadyEnrolled):
        await links(cast.world.vault(NEW), address, factors.code())
    approving.cancel()
    await asyncio.gather(approving, return_exceptions=True)
    new = await cast.open(NEW)
    await new.ready()
    assert await amelie.client.own_devices.added(60)
    await both_have_it(cast, amelie, new)


async def both_have_it(cast: Cast, amelie: Actor, new: Actor) -> None:
    conversation = await amelie.conversation(TITLE)
    assert await new.conversation(TITLE) == conversation
    await cast.say(amelie, conversation, "Aux deux appareils")
    await new.received("Aux deux appareils")
    await cast.say(new, conversation, "Du nouveau")
    await amelie.received("Du nouveau")
    await amelie.engine.connection.online()
    listed = await amelie.client.own_devices.list()
    assert [device.this for device in listed] == [False, True], "one further device, not two"


@pytest.mark.parametrize("point", points("linking-begin", "linking-ask", "linking-finish"))
async def test_the_new_device_takes_it_up_or_begins_again(world: World, point: str) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        address, factors = await set_up(cast)
        amelie = await cast.open(ENROLLED)
        approving = asyncio.create_task(approves(amelie.client))
        killed = processes.start(
            new_device,
            str(world.vault(NEW)),
            address,
            factors.code(),
            output=world.folder / "victim.out",
            failpoint=point,
        )
        assert await killed.wait() == KILLED, killed.printed()
        approving.cancel()
        await asyncio.gather(approving, return_exceptions=True)
        await amelie.close()
        await goes_on(cast, address, factors)
        await cast.settled()
    await check(world, cast.acknowledged)


@pytest.mark.parametrize("point", points("linking-approve", "linking-add"))
async def test_the_enrolled_device_takes_it_up_or_begins_again(world: World, point: str) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        address, factors = await set_up(cast)
        linking = asyncio.create_task(links(world.vault(NEW), address, factors.code()))
        killed = processes.start(
            enrolled_device,
            str(world.vault(ENROLLED)),
            output=world.folder / "victim.out",
            failpoint=point,
        )
        assert await killed.wait() == KILLED, killed.printed()
        if "linking-approve" in point:
            linking.cancel()
        await asyncio.gather(linking, return_exceptions=True)
        await goes_on(cast, address, factors)
        await cast.settled()
    await check(world, cast.acknowledged)


@pytest.mark.parametrize("point", points("device-revoke"))
async def test_a_device_that_was_declared_lost_stays_so(world: World, point: str) -> None:
    await second_device(world, ENROLLED, NEW)
    await world.relay.start()
    async with Cast(world) as cast:
        new = await cast.open(NEW)
        await new.engine.connection.online()
        device = new.engine.own.device_id
        await new.close()
        del cast.actors[NEW]
        killed = processes.start(
            revoking_device,
            str(world.vault(ENROLLED)),
            device.hex(),
            output=world.folder / "victim.out",
            failpoint=point,
        )
        assert await killed.wait() == KILLED, killed.printed()
        cast.revoked.add(NEW)
        amelie = await cast.open(ENROLLED)
        await amelie.until(
            lambda db: db.execute("SELECT 1 FROM device_revocations").fetchone() is not None
        )
        await amelie.engine.connection.online()
        states = {d.device_id: d.relay.revoked for d in await amelie.client.own_devices.list()}
        assert states[device] is not None
        await cast.settled()
    await check(world, cast.acknowledged)
