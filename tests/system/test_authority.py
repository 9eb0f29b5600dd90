"""The authority is lost, or handed over: rehearsed from end to end, with who was there and who comes."""

import asyncio
from pathlib import Path

import pytest

from pli_client.enrolment import enrol
from pli_client.issuer import Issuer, NotAChange, add_issuer, open_authority
from pli_client.linking.approving import _letter
from pli_client.store import device as device_store
from pli_client.vault import Vault
from pli_protocol.identity import IdentityError, RevocationList, SigningKey, Trust
from pli_protocol.identity.linking import LinkingRequest, new_key
from pli_protocol.secret import Secret

from ..faults.cast import Cast
from .actor import Actor
from .relay_process import further_code
from .test_issuers import second_issuer, stopped
from .world import AUTHORITY_PASSPHRASE, CHEAP, PASSPHRASE, PATIENCE, PEOPLE, TITLE, World

pytestmark = pytest.mark.processes

NEW_PASSPHRASE = Secret(b"celle du nouveau coffre")


def opened(world: World, name: str) -> "asyncio.Future[Issuer]":
    return asyncio.ensure_future(Issuer.open(world.folder / name, PASSPHRASE))


async def two_issuers_sign(world: World, compromised: bool = False) -> Path:
    """The old authority is lost: one issuer begins, the other signs too and publishes."""
    await second_issuer(world)
    (world.folder / "admin" / "authority.json").unlink()
    new = world.folder / "new-authority.json"
    async with await opened(world, "admin") as first:
        draft = await first.begin_authority(new, NEW_PASSPHRASE, compromised=compromised, kdf=CHEAP)
        with pytest.raises(NotAChange):
            await first.publish_authority(draft)
        with pytest.raises(NotAChange):
            await first.cosign_authority(draft)
    async with await opened(world, "admin-2") as second:
        change = await second.cosign_authority(draft)
        found = await second.publish_authority(change)
    assert found.certificate == open_authority(new, NEW_PASSPHRASE)[1].certificate
    return new


async def third_issuer(world: World, authority: Path) -> None:
    await add_issuer(
        world.folder / "admin-3",
        PASSPHRASE,
        authority,
        NEW_PASSPHRASE,
        relay_url=world.url,
        code=further_code(world.folder / "relay"),
        kdf=CHEAP,
    )


async def pending(actor: Actor) -> int:
    """Until a change of authority waits for the person's word; its number."""
    found = await actor.until(device_store.pending_authority_change)
    return int(found[0])


async def newcomer(world: World) -> Actor:
    """Somebody whom the third issuer, under the new authority, invites and signs."""
    async with await opened(world, "admin-3") as issuer:
        serving = asyncio.create_task(issuer.serve())
        invited = await issuer.invite(name="Élise Petit", profession="Éducatrice")
        async with await Vault.create(world.folder / "elise", PASSPHRASE, kdf=CHEAP) as vault:
            await enrol(vault, invited.invitation, patience=PATIENCE)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    elise = await Actor.open(world.folder / "elise", PASSPHRASE)
    await elise.ready()
    return elise


async def test_authority_lost_two_issuers_sign_and_a_newcomer_talks_to_those_of_before(
    world: World,
) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        await amelie.client.online()
        await bruno.client.online()
        conversation = await amelie.conversation(TITLE)
        own = amelie.engine.own.person_id
        authority = await two_issuers_sign(world)
        await third_issuer(world, authority)
        elise = await newcomer(world)
        try:
            # Nothing under the new authority counts before one has said so.
            number = await pending(amelie)
            found = await amelie.client.pending_authority()
            assert found is not None
            assert found[2].certificate == open_authority(authority, NEW_PASSPHRASE)[1].certificate
            names = {person.name for person in await amelie.client.people(refresh=True)}
            assert "Élise Petit" not in names
            for actor in (amelie, bruno):
                await actor.client.trust_authority(await pending(actor))
            assert await amelie.client.pending_authority() is None
            assert number == 1

            await amelie.person("Élise Petit")
            team = await amelie.client.conversation(conversation)
            await team.add("Élise Petit", timeout=PATIENCE)
            await cast.say(amelie, conversation, "Bienvenue")
            await elise.received("Bienvenue")
            sent = await elise.send(conversation, "Bonjour à tous deux")
            await elise.stored(sent)
            for actor in (amelie, bruno):
                assert (await actor.received("Bonjour à tous deux")).state == "received"
            assert amelie.engine.own.person_id == own
        finally:
            await elise.close()
        await amelie.close()
        # What was said once is kept.
        amelie = await cast.open("amelie")
        await amelie.client.online()
        assert len(amelie.engine.around.trust.authority_changes) == 1


async def test_an_issuer_of_before_goes_on_and_knows_whom_the_new_ones_sign(world: World) -> None:
    await world.relay.start()
    await third_issuer(world, await two_issuers_sign(world))
    elise = await newcomer(world)
    await elise.close()
    async with await opened(world, "admin") as first:
        states = await first.issuers()
        assert [state.people for state in states if not state.own] in ([0, 1], [1, 0])
        assert (await first.find("Élise Petit")).name == "Élise Petit"
        await first.revoke((await first.find("Élise Petit")).account, "left")
        await first.publish()
    async with await opened(world, "admin-3") as third:
        await third.publish()
        entry = (await third.find("Élise Petit")).person_id
        await third.revoke_device(b"\x01" * 16, "lost")
        await third.publish()
    held = world.relay.query("SELECT revocations_number, revocations FROM establishments")
    assert held[0][0] == 2
    assert entry in held[0][1]  # type: ignore[operator]


async def test_the_key_of_before_hands_over_alone_and_is_no_authority_any_more(
    world: World,
) -> None:
    await world.relay.start()
    old_file = world.folder / "admin" / "authority.json"
    old_key, _ = open_authority(old_file, AUTHORITY_PASSPHRASE)
    new = world.folder / "new-authority.json"
    async with await opened(world, "admin") as issuer:
        change = await issuer.begin_authority(new, NEW_PASSPHRASE, before=old_key, kdf=CHEAP)
        await issuer.publish_authority(change)
    await third_issuer(world, new)
    from pli_client.issuer import RegistrationRefused

    with pytest.raises(RegistrationRefused):
        await second_issuer(world)


async def test_a_compromised_authority_takes_all_its_issuers_with_it(world: World) -> None:
    await world.relay.start()
    bruno = await world.open("bruno")
    await bruno.client.online()
    authority = await two_issuers_sign(world, compromised=True)
    await third_issuer(world, authority)
    while bruno.engine.online:
        await bruno.engine.changed(0.2)
    await bruno.close()
    assert (world.vault("bruno") / "vault.json").exists()
    counts = world.relay.query("SELECT count(*) FROM accounts WHERE revoked IS NULL")
    assert counts != [(0,)], "people are signed anew by an issuer of the new authority"


async def test_who_was_away_while_a_stolen_authority_was_replaced_learns_of_it_and_comes_back(
    world: World,
) -> None:
    await world.relay.start()
    authority = await two_issuers_sign(world, compromised=True)
    await third_issuer(world, authority)
    bruno = await world.open("bruno")
    number = await pending(bruno)  # without signing in: it is refused
    while not stopped(bruno):
        await bruno.engine.changed(1)
    before = bruno.engine.own.person_id
    await bruno.client.trust_authority(number)
    await bruno.close()
    bruno = await world.open("bruno")
    while not stopped(bruno):
        await bruno.engine.changed(1)
    await bruno.close()
    assert (world.vault("bruno") / "vault.json").exists(), "an authority's end wipes nothing"

    async with await opened(world, "admin-3") as third:
        for state in await third.issuers():
            if not state.own:
                await third.resign(state.issuer_id.hex())
    bruno = await world.open("bruno")
    await bruno.client.online(PATIENCE)
    trust, own = bruno.engine.around.trust, bruno.engine.own
    assert own.device.person.root == trust.authority.fingerprint
    assert own.person_id == before


async def test_who_has_not_said_that_it_trusts_the_new_authority_takes_no_certificate_of_it(
    world: World,
) -> None:
    await world.relay.start()
    await third_issuer(world, await two_issuers_sign(world, compromised=True))
    async with await opened(world, "admin-3") as third:
        for state in await third.issuers():
            if not state.own:
                await third.resign(state.issuer_id.hex())
    bruno = await world.open("bruno")
    await pending(bruno)
    while not stopped(bruno):
        await bruno.engine.changed(1)
    assert bruno.engine.own.device.person.root == bruno.engine.around.trust.own.fingerprint
    assert bruno.engine.around.trust.authority_changes == ()


async def test_a_further_device_of_a_newcomer_trusts_the_new_authority_by_its_letter(
    world: World,
) -> None:
    await world.relay.start()
    await third_issuer(world, await two_issuers_sign(world))
    elise = await newcomer(world)
    try:
        asked = LinkingRequest(
            1,
            elise.engine.own.device.person.establishment,
            elise.engine.own.account,
            SigningKey.generate().public,
            new_key().public,
            bytes(16),
            0,
        )
        letter = await elise.engine.read(lambda db: _letter(db, elise.engine, asked, "portable"))
        trust = Trust(letter.authority, authority_changes=letter.changes)
        assert trust.device(letter.chain, None).person == elise.engine.own.device.person
        with pytest.raises(IdentityError):
            Trust(letter.authority).device(letter.chain, None)
    finally:
        await elise.close()


async def test_a_list_of_a_stolen_authoritys_issuer_is_signed_anew_with_all_that_it_holds(
    world: World,
) -> None:
    await world.relay.start()
    async with await opened(world, "admin") as first:
        chloe = await first.find(PEOPLE["chloe"].name)
        await first.revoke(chloe.account, "left")
        await first.publish()
    await third_issuer(world, await two_issuers_sign(world, compromised=True))
    elise = await newcomer(world)
    try:
        trust = elise.engine.around.trust
        while trust.head().number < 2:
            await elise.engine.changed(1)
        ((number, held),) = world.relay.query(
            "SELECT revocations_number, revocations FROM establishments"
        )
        assert (number, trust.revocations()) == (2, held)
        entries = trust.verify_own(held, RevocationList).statement.entries  # type: ignore[arg-type]
        assert chloe.person_id in {entry.id for entry in entries}
    finally:
        await elise.close()
