"""The administrator killed while it signs somebody anew, the device while it takes a new key."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from pli_client.enrolment import parse_invitation, rejoin
from pli_client.issuer import Issuer
from pli_client.vault import Vault
from pli_protocol.failpoint import declared

from ..system import processes
from ..system.actor import reconnect_quickly
from ..system.processes import KILLED
from ..system.world import PASSPHRASE, PATIENCE, PEOPLE, TITLE, World
from .cast import Cast

pytestmark = pytest.mark.processes

BRUNO = PEOPLE["bruno"].name
STOLEN = b"\x77" * 16


def replaces(folder: str) -> None:
    """The administrator's process."""

    async def work() -> None:
        async with await Issuer.open(Path(folder) / "admin", PASSPHRASE) as issuer:
            account = (await issuer.find(BRUNO)).account
            invited, _ = await issuer.replace(account, stolen=[STOLEN])
            (Path(folder) / "invitation").write_text(invited.invitation.text())

    asyncio.run(work())


def rejoins(folder: str, code: str) -> None:
    """The device's process."""
    reconnect_quickly()

    async def work() -> None:
        async with await Vault.open(Path(folder) / "bruno", PASSPHRASE) as vault:
            await rejoin(vault, parse_invitation(code))

    asyncio.run(work())


@pytest.mark.parametrize("point", declared("vault.replace."))
async def test_a_key_is_revoked_with_its_invitation_or_not_at_all(world: World, point: str) -> None:
    output = world.folder / "out"
    killed = processes.start(replaces, str(world.folder), output=output, failpoint=point)
    async with asyncio.timeout(PATIENCE):
        assert await killed.wait() == KILLED, killed.printed()
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
        row = await issuer.find(BRUNO)
        done = point.endswith(".after")
        assert (row.reason == "stolen", len(await issuer.invitations())) == (done, int(done))
        await issuer.replace(row.account, stolen=[STOLEN])
        assert (await issuer.find(BRUNO)).reason == "stolen"


def certifies(folder: str) -> None:
    """The administrator's process."""

    async def work() -> None:
        async with await Issuer.open(Path(folder) / "admin", PASSPHRASE) as issuer:
            await issuer.change((await issuer.find(BRUNO)).account, profession="Infirmier")

    asyncio.run(work())


@pytest.mark.parametrize("point", declared("vault.certify."))
async def test_a_newer_certificate_is_kept_until_the_relay_has_it_or_was_never_made(
    world: World, point: str
) -> None:
    await world.relay.start()
    output = world.folder / "out"
    killed = processes.start(certifies, str(world.folder), output=output, failpoint=point)
    async with asyncio.timeout(PATIENCE):
        assert await killed.wait() == KILLED, killed.printed()
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
        row = await issuer.find(BRUNO)
        assert (row.profession == "Infirmier") == point.endswith(".after")
        await issuer.publish()
    held = world.relay.query("SELECT person FROM accounts WHERE account = ?", row.account)
    assert held == [(row.certificate,)]


@pytest.mark.parametrize("point", declared("vault.rejoin-"))
async def test_a_device_killed_while_it_takes_a_new_key_goes_on_with_the_old_or_the_new(
    world: World, point: str
) -> None:
    await world.relay.start()
    await asyncio.to_thread(replaces, str(world.folder))
    code = (world.folder / "invitation").read_text()
    async with world.issuer(), asyncio.timeout(PATIENCE):
        output = world.folder / "out"
        killed = processes.start(rejoins, str(world.folder), code, output=output, failpoint=point)
        assert await killed.wait() == KILLED, killed.printed()
        async with await Vault.open(world.vault("bruno"), PASSPHRASE) as vault:
            if not point.startswith("vault.rejoin-finish.after"):
                await rejoin(vault, parse_invitation(code))
            rows = await vault.read(lambda db: db.execute("SELECT * FROM rejoining").fetchall())
            assert rows == []
    async with Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        await bruno.ready()
        new = bruno.engine.own.person_id
        await amelie.until(
            lambda db: db.execute("SELECT 1 FROM people WHERE person_id = ?", (new,)).fetchone()
        )
        conversation = await amelie.conversation(TITLE)
        team = await amelie.client.conversation(conversation)
        with contextlib.suppress(TimeoutError):
            await team.add(BRUNO, timeout=PATIENCE)
        await cast.say(amelie, conversation, "Te revoilà")
        await bruno.received("Te revoilà")
