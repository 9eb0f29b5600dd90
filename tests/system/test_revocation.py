"""A device that counts no more: cut, removed by the others, refused in what it says, its vault wiped."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pli_client.connection import Disconnected
from pli_client.engine.engine import Engine
from pli_client.errors import DeviceRevoked, PliError, SignInRefused, VaultWiped
from pli_client.store.device import add_device_revocation
from pli_client.vault import Vault
from pli_client.vault.header import HEADER_FILE
from pli_client.vault.wiping import WIPED_FILE

from ..faults.cast import Cast
from .actor import Actor
from .revocations import declare, list_revokes
from .test_devices import second_device
from .world import PASSPHRASE, TITLE, World

pytestmark = pytest.mark.processes


async def refusal_of(actor: Actor) -> PliError:
    """Why the connection stopped for good."""
    while True:
        change = actor.engine.next_change()
        state = actor.engine.connection.state
        if isinstance(state, Disconnected) and state.retry_in is None:
            return state.error
        await change.wait()


def wiped(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} == {WIPED_FILE, "vault.lock"}


async def devices_in(actor: Actor, conversation: bytes, count: int) -> None:
    """Until so many devices are in the conversation's group."""
    sql = """SELECT count(*) FROM members JOIN groups USING (group_id)
             WHERE conversation_id = ? AND successor IS NULL"""
    await actor.until(lambda db: db.execute(sql, (conversation,)).fetchall()[0][0] == count)


async def test_a_persons_own_word_cuts_the_device_and_removes_its_leaf_the_issuers_wipes_its_vault(
    world: World,
) -> None:
    """A thief with another device of the person's could say the own word of all of them."""
    await world.relay.start()
    folder = await second_device(world, "bruno", "bruno-2")
    async with Cast(world) as cast:
        amelie, bruno, lost = [await cast.open(who) for who in ("amelie", "bruno", "bruno-2")]
        conversation = await amelie.conversation(TITLE)
        await devices_in(amelie, conversation, 3)
        await lost.conversation(TITLE)
        async with asyncio.timeout(5):
            await declare(bruno, lost.engine.own.device_id, "stolen")
            error = await refusal_of(lost)
        assert isinstance(error, DeviceRevoked)
        assert (error.reason, wiped(folder)) == ("stolen", False)
        device = lost.engine.own.device_id.hex()
        await lost.close()
        await list_revokes(world, "device", device, "lost")
        lost = await Actor.open(folder, PASSPHRASE)
        assert isinstance(await refusal_of(lost), VaultWiped)
        await lost.close()
        assert wiped(folder)
        for actor in (amelie, bruno):
            await devices_in(actor, conversation, 2)
        await cast.say(amelie, conversation, "Sans le téléphone perdu")
        await bruno.received("Sans le téléphone perdu")


async def test_a_message_of_a_device_that_its_person_disowned_is_shown_as_refused(
    world: World,
) -> None:
    """It lies in the log when Chloé comes back, who has the statement by then."""
    await world.relay.start()
    await second_device(world, "bruno", "bruno-2")
    async with Cast(world) as cast:
        amelie, bruno, lost, chloe = [
            await cast.open(who) for who in ("amelie", "bruno", "bruno-2", "chloe")
        ]
        conversation = await amelie.conversation(TITLE)
        await lost.conversation(TITLE)
        await amelie.add(conversation, cast.name("chloe"))
        await chloe.conversation(TITLE)
        await devices_in(chloe, conversation, 4)
        await chloe.close()
        await lost.stored(await lost.send(conversation, "Du voleur"))
        assert (await amelie.received("Du voleur")).state == "received"
        own, word = lost.engine.own, await declare(bruno, lost.engine.own.device_id, "stolen")
        async with await Vault.open(world.vault("chloe"), PASSPHRASE) as vault:
            await vault.write(
                lambda db: add_device_revocation(db, own.device_id, own.person_id, word, 0)
            )
        chloe = await Actor.open(world.vault("chloe"), PASSPHRASE)
        assert (await chloe.received("Du voleur")).state == "refused"
        await chloe.close()


async def test_a_person_who_left_loses_the_vault_when_it_next_connects(world: World) -> None:
    await world.relay.start()
    await list_revokes(world, "person", "Chloé Martin", "left")
    chloe = await world.open("chloe")
    assert isinstance(await refusal_of(chloe), VaultWiped)
    await chloe.close()
    assert wiped(world.vault("chloe"))
    with pytest.raises(VaultWiped):
        await Vault.open(world.vault("chloe"), PASSPHRASE)


@pytest.mark.parametrize("reason", ["retired", "stolen"])
async def test_a_vault_whose_devices_are_in_their_owners_hands_stays(
    world: World, reason: str
) -> None:
    """A device taken out of service; a person whose key is to be replaced (decision 15)."""
    await world.relay.start()
    chloe = await world.open("chloe")
    device = chloe.engine.own.device_id.hex()
    await chloe.client.online()
    await chloe.close()
    if reason == "retired":
        await list_revokes(world, "device", device, reason)
    else:
        await list_revokes(world, "person", "Chloé Martin", reason)
    chloe = await world.open("chloe")
    error = await refusal_of(chloe)
    assert isinstance(error, DeviceRevoked)
    assert (error.reason, wiped(world.vault("chloe"))) == (reason, False)
    await chloe.close()
    async with await Vault.open(world.vault("chloe"), PASSPHRASE):
        pass


async def test_a_device_that_is_online_when_it_is_listed_is_cut_and_wiped_within_five_seconds(
    world: World,
) -> None:
    await world.relay.start()
    chloe = await world.open("chloe")
    await chloe.client.online()
    async with asyncio.timeout(5):
        await list_revokes(world, "device", chloe.engine.own.device_id.hex(), "lost")
        assert isinstance(await refusal_of(chloe), VaultWiped)
    await chloe.close()
    assert wiped(world.vault("chloe"))


async def test_a_crash_between_the_statement_and_the_wipe_is_made_good_without_the_relay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.relay.start()
    await list_revokes(world, "person", "Chloé Martin", "lost")

    async def crashes(_self: Vault, _reason: str) -> None:
        raise SignInRefused()

    with monkeypatch.context() as patched:
        patched.setattr(Vault, "wipe", crashes)
        chloe = await world.open("chloe")
        await refusal_of(chloe)
        await chloe.close()
    assert (world.vault("chloe") / HEADER_FILE).exists()
    await world.relay.stop()
    async with await Vault.open(world.vault("chloe"), PASSPHRASE) as vault:
        with pytest.raises(VaultWiped):
            await Engine.open(vault)
    assert wiped(world.vault("chloe"))


def test_only_these_reasons_wipe() -> None:
    from pli_protocol.identity import RevocationEntry

    reasons: tuple[Any, ...] = ("lost", "retired", "stolen", "left")
    found = {
        (kind, reason)
        for kind in ("device", "person", "issuer")
        for reason in reasons
        if RevocationEntry(kind, bytes(16), reason, 0).wipes  # type: ignore[arg-type]
    }
    assert found == {
        ("device", "lost"),
        ("device", "stolen"),
        ("device", "left"),
        ("person", "lost"),
        ("person", "left"),
    }
