"""An issuer is lost: another one goes on, signs its people anew, revokes it; nobody loses a conversation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pli_client.connection import Disconnected
from pli_client.enrolment import InvitationRefused, enrol
from pli_client.issuer import Issuer, UnknownIssuer, add_issuer
from pli_client.vault import Vault

from ..faults.cast import Cast
from .actor import Actor
from .relay_process import further_code
from .world import AUTHORITY_PASSPHRASE, CHEAP, PASSPHRASE, PATIENCE, PEOPLE, TITLE, World

pytestmark = pytest.mark.processes


async def second_issuer(world: World) -> None:
    await add_issuer(
        world.folder / "admin-2",
        PASSPHRASE,
        world.folder / "admin" / "authority.json",
        AUTHORITY_PASSPHRASE,
        relay_url=world.url,
        code=further_code(world.folder / "relay"),
        kdf=CHEAP,
    )


@asynccontextmanager
async def at_work(world: World) -> AsyncIterator[Issuer]:
    """The second issuer, serving."""
    async with await Issuer.open(world.folder / "admin-2", PASSPHRASE) as issuer:
        serving = asyncio.create_task(issuer.serve())
        try:
            yield issuer
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def first_id(issuer: Issuer) -> str:
    (first,) = [state for state in await issuer.issuers() if not state.own]
    assert (first.people, first.revoked) == (len(PEOPLE), False)
    return first.issuer_id.hex()


async def test_people_of_a_lost_issuer_are_signed_anew_and_stay_where_they_are(
    world: World,
) -> None:
    await world.relay.start()
    await second_issuer(world)
    async with Cast(world) as cast:
        amelie, bruno, chloe = [await cast.open(who) for who in ("amelie", "bruno", "chloe")]
        conversation = await amelie.conversation(TITLE)
        async with at_work(world) as issuer:
            lost = await first_id(issuer)
            assert len(await issuer.resign(lost)) == len(PEOPLE)
            for actor in (amelie, bruno, chloe):
                before = actor.engine.own.person_id
                while actor.engine.own.device.person.issuer_id.hex() == lost:
                    await actor.engine.changed(1)
                assert actor.engine.own.person_id == before
            await cast.say(bruno, conversation, "Signé de nouveau")
            await amelie.received("Signé de nouveau")
            await cast.settled()
            await issuer.revoke_issuer(lost, "lost")
            await issuer.publish()
            await known_to(amelie, bruno, chloe)
            await cast.say(amelie, conversation, "Après la perte")
            await bruno.received("Après la perte")
            await amelie.members(conversation, cast.name("amelie"), cast.name("bruno"))


async def known_to(*actors: Actor) -> None:
    for actor in actors:
        while not actor.engine.around.trust.head().number:
            await actor.engine.changed(1)


async def test_who_is_signed_by_the_issuer_that_is_left_talks_to_those_of_before(
    world: World,
) -> None:
    await world.relay.start()
    await second_issuer(world)
    async with Cast(world) as cast, at_work(world) as issuer:
        amelie = await cast.open("amelie")
        await new_colleague(world, issuer, cast, amelie, await amelie.conversation(TITLE))


async def new_colleague(
    world: World, issuer: Issuer, cast: Cast, amelie: Actor, conversation: bytes
) -> None:
    invited = await issuer.invite(name="Élise Petit", profession="Éducatrice")
    folder = world.folder / "elise"
    async with await Vault.create(folder, PASSPHRASE, kdf=CHEAP) as vault:
        await enrol(vault, invited.invitation, patience=PATIENCE)
    elise = await Actor.open(folder, PASSPHRASE)
    try:
        await elise.ready()
        team = await amelie.client.conversation(conversation)
        await team.add("Élise Petit", timeout=PATIENCE)
        await cast.say(amelie, conversation, "Bienvenue Élise")
        assert (await elise.received("Bienvenue Élise")).state == "received"
    finally:
        await elise.close()


async def test_a_device_whose_issuer_was_revoked_first_comes_back_once_it_is_signed_anew(
    world: World,
) -> None:
    await world.relay.start()
    await second_issuer(world)
    async with at_work(world) as issuer:
        lost = await first_id(issuer)
        await issuer.revoke_issuer(lost, "stolen")
        await issuer.publish()
        chloe = await world.open("chloe")
        while not stopped(chloe):
            await chloe.engine.changed(1)
        await chloe.close()
        assert (world.vault("chloe") / "vault.json").exists(), "an issuer's end wipes nothing"
        await issuer.resign(lost)
        chloe = await world.open("chloe")
        await chloe.client.online(PATIENCE)
        assert chloe.engine.own.device.person.issuer_id.hex() != lost


def stopped(actor: Actor) -> bool:
    state = actor.engine.connection.state
    return isinstance(state, Disconnected) and state.retry_in is None


async def test_an_invitation_of_a_lost_issuer_is_worth_nothing(world: World) -> None:
    await world.relay.start()
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as first:
        invited = await first.invite(name="Élise Petit", profession="Éducatrice")
    await second_issuer(world)
    async with (
        at_work(world),
        await Vault.create(world.folder / "elise", PASSPHRASE, kdf=CHEAP) as vault,
    ):
        with pytest.raises(InvitationRefused) as caught:
            await enrol(vault, invited.invitation, patience=PATIENCE)
        assert caught.value.refusal == "unknown"


async def test_an_issuer_neither_revokes_itself_nor_one_that_is_not_there(world: World) -> None:
    await world.relay.start()
    await second_issuer(world)
    async with at_work(world) as issuer:
        (own,) = [state for state in await issuer.issuers() if state.own]
        for which in (own.issuer_id.hex(), "0000", ""):
            with pytest.raises(UnknownIssuer):
                await issuer.revoke_issuer(which, "lost")
