"""A stolen device: the person's key is replaced, all under the old one ends, members add the new one."""

import asyncio

import pytest

from pli_client.engine.engine import Engine
from pli_client.enrolment import NotYourAccount, rejoin
from pli_client.errors import DeviceRevoked, VaultWiped
from pli_client.events import PersonReplaced
from pli_client.issuer import Invited, Issuer
from pli_client.store import people
from pli_client.vault import Vault
from pli_protocol.identity import Device

from ..faults.cast import Cast
from .actor import Actor
from .test_devices import second_device
from .test_revocation import devices_in, refusal_of, wiped
from .world import PASSPHRASE, PEOPLE, TITLE, World

pytestmark = pytest.mark.processes

BRUNO = PEOPLE["bruno"].name


async def replaced(world: World, stolen: bytes | None = None, *, at_hand: bool = True) -> Invited:
    """The establishment ends Bruno's key; his new invitation."""
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
        account = (await issuer.find(BRUNO)).account
        named = () if stolen is None else (stolen,)
        invited, _ = await issuer.replace(account, stolen=named, at_hand=at_hand)
        await issuer.publish()
    return invited


async def rejoined(world: World, invited: Invited) -> Device:
    async with (
        world.issuer(),
        await Vault.open(world.vault("bruno"), PASSPHRASE) as vault,
    ):
        return (await rejoin(vault, invited.invitation)).device


async def test_the_device_at_hand_keeps_its_history_and_the_stolen_one_loses_everything(
    world: World,
) -> None:
    await world.relay.start()
    stolen_folder = await second_device(world, "bruno", "bruno-2")
    async with Cast(world) as cast:
        amelie, bruno, stolen = [await cast.open(who) for who in ("amelie", "bruno", "bruno-2")]
        conversation = await amelie.conversation(TITLE)
        await devices_in(amelie, conversation, 3)
        before = await amelie.person(BRUNO)
        await amelie.client.mark_verified(before)

        invited = await replaced(world, stolen.engine.own.device_id)
        assert isinstance(await refusal_of(stolen), VaultWiped)
        await stolen.close()
        assert wiped(stolen_folder)
        error = await refusal_of(bruno)
        assert isinstance(error, DeviceRevoked)
        assert error.reason == "stolen"
        await bruno.close()
        await devices_in(amelie, conversation, 1)

        device = await rejoined(world, invited)
        assert device.person.account == before.account
        assert device.person.person_id != before.person_id
        bruno = await cast.open("bruno")
        await bruno.ready()
        assert (await bruno.received("Bonjour à tous")).state == "received"

        def known(db: object) -> bool:
            found = {p.person_id: p for p in people.all_people(db)}  # type: ignore[arg-type]
            old, new = found[before.person_id], found.get(device.person.person_id)
            return bool(old.revoked and not old.verified and new and not new.verified)

        await amelie.until(known)
        await amelie.client.settled()
        assert await members(amelie, conversation) == [PEOPLE["amelie"].name]
        team = await amelie.client.conversation(conversation)
        told = [m.change.replaced for m in await team.page() if m.change and m.change.replaced]
        assert told == [(before.person_id, device.person.person_id)]

        await team.add(BRUNO, timeout=30)
        await cast.say(amelie, conversation, "Te revoilà")
        assert (await bruno.received("Te revoilà")).state == "received"
        await cast.say(bruno, conversation, "Oui, avec une autre clé")
        await amelie.received("Oui, avec une autre clé")


async def test_a_vault_that_the_first_choice_left_is_wiped_by_its_correction(world: World) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        bruno = await cast.open("bruno")
        await replaced(world)
        assert isinstance(await refusal_of(bruno), DeviceRevoked)
        await bruno.close()
        await replaced(world, at_hand=False)
        bruno = await Actor.open(world.vault("bruno"), PASSPHRASE)
        assert isinstance(await refusal_of(bruno), VaultWiped)
        await bruno.close()
    assert wiped(world.vault("bruno"))


async def members(actor: Actor, conversation: bytes) -> list[str]:
    team = await actor.client.conversation(conversation)
    return sorted(member.person.name for member in await team.members())


async def test_contacts_are_told_in_each_conversation_that_they_share(world: World) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        conversation = await amelie.conversation(TITLE)
        old = bruno.engine.own.person_id
        await bruno.close()
        device = await rejoined(world, await replaced(world))

        async def told() -> list[PersonReplaced]:
            found: list[PersonReplaced] = []
            async for event in amelie.client.events("test"):
                if isinstance(event, PersonReplaced):
                    found.append(event)
                    if len(found) == 2:
                        return found
            return found

        events = await asyncio.wait_for(told(), 30)
        assert {e.conversation_id for e in events} == {conversation, bytes(16)}
        assert {(e.person, e.successor) for e in events} == {(old, device.person.person_id)}
        await bruno_is_back(cast)


async def bruno_is_back(cast: Cast) -> None:
    bruno = await cast.open("bruno")
    await bruno.ready()


async def test_the_old_key_signs_in_no_more_even_where_its_vault_was_copied(world: World) -> None:
    await world.relay.start()
    async with await Vault.open(world.vault("bruno"), PASSPHRASE) as vault:
        engine = await Engine.open(vault)
        assert engine is not None
        thief = engine.own
    await rejoined(world, await replaced(world))
    bruno = await world.open("bruno")
    await bruno.client.online()
    assert bruno.engine.own.device_id != thief.device_id
    revoked = "SELECT count(*) FROM accounts JOIN devices ON account_no = accounts.no"
    assert world.relay.query(
        f"{revoked} WHERE accounts.revoked IS NOT NULL AND devices.revoked IS NOT NULL"
    ) == [(1,)]
    assert bruno.engine.around.trust.refuses(thief.device) is not None


async def test_an_invitation_for_somebody_else_changes_nothing_of_a_vault(world: World) -> None:
    await world.relay.start()
    async with world.issuer() as issuer:
        invited = await issuer.invite(name="Élise Petit", profession="Éducatrice")
        async with await Vault.open(world.vault("bruno"), PASSPHRASE) as vault:
            with pytest.raises(NotYourAccount):
                await rejoin(vault, invited.invitation)
    bruno = await world.open("bruno")
    await bruno.client.online()


async def test_an_account_whose_key_was_replaced_is_enrolled_once(world: World) -> None:
    await world.relay.start()
    invited = await replaced(world)
    first = await rejoined(world, invited)
    async with world.issuer() as issuer:
        row = await issuer.find(BRUNO)
    assert (row.person_id, row.revoked_at) == (first.person.person_id, None)
