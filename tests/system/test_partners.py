"""Two establishments at one relay: strangers, then partners, then strangers again."""

from pathlib import Path

import pytest

from pli_client import Client
from pli_client.engine.errors import NotAllPartners, NotPartner, UnknownPartner, UnknownPerson
from pli_client.issuer import Issuer
from pli_client.store import groups
from pli_client.vault import Vault
from pli_protocol.relay.frames import GetDirectory, GetEstablishment, GetRevocations

from .neighbours import (
    BOT,
    ESTABLISHMENT,
    GUESTS,
    HOUSES,
    NAME,
    THIRD,
    ends,
    partners,
    settle_in,
    signs,
)
from .team import history, member_names, posts, settle, together
from .world import PASSPHRASE, PATIENCE, PEOPLE, World

AMELIE, BRUNO = PEOPLE["amelie"].name, PEOPLE["bruno"].name
GASTON, HELENE = GUESTS["gaston"], GUESTS["helene"]


async def opened(client: Client) -> None:
    """Until the client knows that the partnership is open."""

    async def look() -> bool | None:
        return bool(client.engine.partners.open) or None

    await client.until(look, PATIENCE)


async def has(client: Client, title: str, text: str) -> None:
    """Until somebody's conversation of this title has this message."""

    async def look() -> bool | None:
        for conversation in await client.conversations():
            if conversation.title == title and text in await posts(conversation):
                return True
        return None

    await client.until(look, PATIENCE)


async def code_of(client: Client, frame: object) -> str:
    from pli_client.errors import RelayRefused

    with pytest.raises(RelayRefused) as caught:
        await client.engine.connection.request(frame)  # type: ignore[call-overload]
    return str(caught.value.refusal)


async def sees_nothing(client: Client, other: bytes) -> None:
    """Whatever is asked of the other establishment is answered like an unknown one's."""
    for establishment in (other, bytes(16)):
        for frame in (
            GetDirectory(0, None, establishment),
            GetEstablishment(0, establishment),
            GetRevocations(0, establishment),
        ):
            assert await code_of(client, frame) == "not-found"


async def test_strangers_see_nothing_of_each_other_whatever_one_side_signs(world: World) -> None:
    await world.relay.start()
    await settle_in(world)
    async with together(world, "amelie", "gaston") as (amelie, gaston):
        here, there = amelie.person.establishment, gaston.person.establishment
        await sees_nothing(amelie, there)
        assert (await signs(world, ESTABLISHMENT, NAME)).state == "waiting"
        await amelie.engine.partners.refresh()
        await gaston.engine.partners.refresh()
        await sees_nothing(amelie, there)
        await sees_nothing(gaston, here)
        assert [p.open for p in await amelie.partners()] == [False]
        assert await gaston.partners() == []
        with pytest.raises(NotPartner):
            await amelie.people(refresh=True, establishment=NAME)
        with pytest.raises(UnknownPartner):
            await gaston.people(refresh=True, establishment=ESTABLISHMENT)
        with pytest.raises(UnknownPerson):
            await amelie.start("À deux", [GASTON])


async def test_partners_find_and_write_to_each_other_with_files_and_safety_numbers(
    world: World, tmp_path: Path
) -> None:
    await world.relay.start()
    await settle_in(world)
    async with together(world, "amelie", "bruno", "gaston") as (amelie, bruno, gaston):
        await partners(world)
        await opened(amelie)
        directory = await amelie.people(refresh=True, establishment=NAME)
        assert [(p.name, p.outside) for p in directory] == [(GASTON, NAME), (HELENE, NAME)]
        assert BOT not in [p.name for p in directory]

        conversation = await amelie.start("Passage", [BRUNO, GASTON])
        photo = tmp_path / "photo.jpg"
        photo.write_bytes(b"x" * 200_000)
        sent = await conversation.send("Bonjour le Pont", files=[photo])
        await sent.stored(PATIENCE)
        for client in (bruno, gaston):
            await has(client, "Passage", "Bonjour le Pont")
        theirs = await gaston.conversation("Passage")
        await (await theirs.send("Bonjour les Tilleuls")).stored(PATIENCE)
        for client in (amelie, bruno):
            await has(client, "Passage", "Bonjour les Tilleuls")
        members = {m.person.name: m.person.outside for m in await theirs.members()}
        assert members == {AMELIE: ESTABLISHMENT, BRUNO: ESTABLISHMENT, GASTON: None}

        (message,) = [m for m in await theirs.page() if m.files]
        saved = await gaston.fetch(message.files[0], tmp_path / "saved")
        assert saved.read_bytes() == photo.read_bytes()

        numbers = {
            await amelie.safety_number(await amelie.find_person(GASTON)),
            await gaston.safety_number(await gaston.find_person(AMELIE)),
        }
        assert len(numbers) == 1


async def test_a_guest_who_lost_the_groups_state_is_added_again(world: World) -> None:
    await world.relay.start()
    await settle_in(world)
    await partners(world)
    async with together(world, "amelie", "gaston") as (amelie, gaston):
        await opened(amelie)
        conversation = await amelie.start("Passage", [GASTON])
        await (await conversation.send("Bienvenue")).stored(PATIENCE)
        await has(gaston, "Passage", "Bienvenue")
    async with await Vault.open(world.vault("gaston"), PASSPHRASE) as vault:
        await vault.write(lambda db: db.execute("DELETE FROM mls_state"))
    async with together(world, "amelie", "gaston") as (amelie, gaston):
        theirs = await gaston.conversation("Passage")
        await (await theirs.send("me revoilà")).stored(PATIENCE)
        await has(amelie, "Passage", "me revoilà")
        change = [m.change for m in await history(theirs) if m.change is not None][-1]
        assert change.returned == (gaston.person.person_id,)


async def test_a_revocation_at_the_partner_takes_its_leaf_out_of_the_shared_conversation(
    world: World,
) -> None:
    await world.relay.start()
    await settle_in(world)
    await partners(world)
    async with together(world, "amelie", "bruno", "gaston", "helene") as (amelie, bruno, *guests):
        await opened(amelie)
        conversation = await amelie.start("Passage", [BRUNO, GASTON, HELENE])
        await (await conversation.send("Bienvenue")).stored(PATIENCE)
        for client in (bruno, *guests):
            await has(client, "Passage", "Bienvenue")
        async with await Issuer.open(world.folder / HOUSES[NAME], PASSPHRASE) as issuer:
            await issuer.revoke((await issuer.find(GASTON)).account, "left")
            await issuer.publish()

        async def out() -> bool | None:
            return GASTON not in await member_names(conversation) or None

        await amelie.until(out, PATIENCE)
        await (await conversation.send("Sans lui")).stored(PATIENCE)
        await has(guests[1], "Passage", "Sans lui")


async def test_when_a_partnership_ends_guests_go_and_the_house_keeps_its_conversation(
    world: World,
) -> None:
    await world.relay.start()
    await settle_in(world)
    await partners(world)
    async with together(world, "amelie", "bruno", "gaston") as (amelie, bruno, gaston):
        await opened(amelie)
        conversation = await amelie.start("Passage", [BRUNO, GASTON])
        await (await conversation.send("Bienvenue")).stored(PATIENCE)
        for client in (bruno, gaston):
            await has(client, "Passage", "Bienvenue")
        assert (await ends(world, ESTABLISHMENT, NAME)).state == "ended"

        async def alone() -> bool | None:
            return await member_names(conversation) == sorted([AMELIE, BRUNO]) or None

        await amelie.until(alone, PATIENCE)
        await (await conversation.send("Entre nous")).stored(PATIENCE)
        await has(bruno, "Passage", "Entre nous")
        theirs = await gaston.conversation("Passage")

        async def gone() -> bool | None:
            return (await theirs.refresh()).state in ("removed", "left") or None

        await gaston.until(gone, PATIENCE)
        assert "Bienvenue" in await posts(theirs)
        assert "Entre nous" not in await posts(theirs)
        with pytest.raises((NotPartner, UnknownPerson)):
            await amelie.start("Encore", [GASTON])
        await sees_nothing(gaston, amelie.person.establishment)


async def test_the_side_that_ends_it_leaves_the_others_house(world: World) -> None:
    """Gaston is a guest of the Tilleuls; his own authority ends it, and theirs has not."""
    await world.relay.start()
    await settle_in(world)
    await partners(world)
    async with together(world, "amelie", "bruno", "gaston") as (amelie, bruno, gaston):
        await opened(amelie)
        conversation = await amelie.start("Passage", [BRUNO, GASTON])
        await (await conversation.send("Bienvenue")).stored(PATIENCE)
        await has(gaston, "Passage", "Bienvenue")
        await ends(world, NAME, ESTABLISHMENT)
        theirs = await gaston.conversation("Passage")

        async def left() -> bool | None:
            return (await theirs.refresh()).state == "left" or None

        await gaston.until(left, PATIENCE)

        async def alone() -> bool | None:
            return await member_names(conversation) == sorted([AMELIE, BRUNO]) or None

        await amelie.until(alone, PATIENCE)
        await settle(amelie, bruno)


async def test_who_was_away_when_partners_were_signed_is_added_all_the_same(world: World) -> None:
    """The Welcome comes before the statement that makes its members known."""
    await world.relay.start()
    await settle_in(world)
    async with together(world, "amelie", "gaston"):
        pass
    await partners(world)
    async with together(world, "amelie") as (amelie,):
        await opened(amelie)
        conversation = await amelie.start("Passage", [GASTON])
        await (await conversation.send("Pour ton retour")).stored(PATIENCE)
    async with together(world, "gaston") as (gaston,):
        await has(gaston, "Passage", "Pour ton retour")

        def refused(db: object) -> int:
            return len(db.execute("SELECT 1 FROM welcomes WHERE state = 'refused'").fetchall())  # type: ignore[attr-defined]

        assert await gaston.engine.read(refused) == 0
        theirs = await gaston.conversation("Passage")
        row = await gaston.engine.read(lambda db: groups.current(db, theirs.id))
        assert row is not None
        assert row.state == "active"


async def test_partners_of_ours_who_are_not_each_others_are_not_brought_together(
    world: World,
) -> None:
    await world.relay.start()
    for house in (NAME, THIRD):
        await settle_in(world, house)
        await partners(world, ESTABLISHMENT, house)
    async with together(world, "amelie", "bruno", "gaston", "ines") as (amelie, bruno, gaston, _):
        await opened(amelie)
        conversation = await amelie.start("Passage", [BRUNO, GASTON])
        await (await conversation.send("Bienvenue")).stored(PATIENCE)
        await has(gaston, "Passage", "Bienvenue")
        with pytest.raises(NotAllPartners):
            await conversation.add("Inès Faure", timeout=PATIENCE)
        await (await conversation.send("Toujours nous trois")).stored(PATIENCE)
        await has(gaston, "Passage", "Toujours nous trois")
        await has(bruno, "Passage", "Toujours nous trois")
        await partners(world, NAME, THIRD)
        await conversation.add("Inès Faure", timeout=PATIENCE)
        assert await member_names(conversation) == sorted([AMELIE, BRUNO, GASTON, "Inès Faure"])


async def test_a_name_means_a_colleague_before_somebody_from_outside(world: World) -> None:
    await world.relay.start()
    await settle_in(world, THIRD)
    await partners(world, ESTABLISHMENT, THIRD)
    async with together(world, "amelie") as (amelie,):
        await opened(amelie)
        await amelie.people(refresh=True, establishment=THIRD)
        ours, theirs = [await amelie.find_person(name) for name in (BRUNO, f"{BRUNO} ({THIRD})")]
        assert (ours.outside, theirs.outside) == (None, THIRD)
        assert ours.person_id != theirs.person_id
        assert (await amelie.find_person("Inès")).shown == f"Inès Faure ({THIRD})"
