"""Groups of the suite before: they go on for ever, and change to today's when somebody comes in."""

import asyncio
from dataclasses import replace
from typing import TypeVar

import pytest

from pli_client import Client
from pli_client.engine import returning
from pli_client.engine.coming_back import waits_for_updates
from pli_client.engine.errors import OldSoftware
from pli_client.engine.key_package_stock import make
from pli_client.engine.profile import SUITE
from pli_client.engine.work import Work
from pli_client.events import ChangeRefused, ConversationRefounded
from pli_client.store import groups
from pli_client.vault import Vault
from pli_protocol.mls.ciphersuite import CipherSuite
from pli_protocol.mls.codec import decode
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.mls.key_package import KeyPackage

from ..hostile_relay.lone import alone
from .checker import check
from .old_suite import OLD, TEAM, before
from .team import history, member_names, names, posts, settle, together
from .test_devices import second_device
from .world import PASSPHRASE, PATIENCE, PEOPLE, TITLE, World

E = TypeVar("E", ChangeRefused, ConversationRefounded)

WRITTEN = ["avant, d’amelie", "avant, de bruno", "avant, de chloe"]


async def suite_of(client: Client, title: str = TEAM) -> int:
    """The suite of a conversation's newest group."""
    conversation = await client.conversation(title)

    def look(work: object) -> int:
        row = groups.current(work.db, conversation.id)  # type: ignore[attr-defined]
        assert row is not None
        return work.suite_of(row.group_id)  # type: ignore[attr-defined, no-any-return]

    return await client.engine.write(look)


async def first(client: Client, kind: type[E]) -> E:
    """The first event of a kind that the vault knows."""
    async with asyncio.timeout(PATIENCE):
        async for event in client.events(reader="test"):
            if isinstance(event, kind):
                return event
    raise AssertionError("events never end")


def offered(world: World) -> set[int]:
    """Suites of the key packages that lie at the relay, unclaimed."""
    rows = world.relay.query("SELECT key_package FROM key_packages WHERE claimed IS NULL")
    return {decode(KeyPackage, row[0]).cipher_suite for row in rows}  # type: ignore[arg-type]


async def test_an_old_conversation_goes_on_with_messages_and_commits(old_world: World) -> None:
    async with together(old_world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        for client, text in ((amelie, "un"), (bruno, "deux"), (chloe, "trois")):
            team = await client.conversation(TEAM)
            await (await team.send(text)).stored(PATIENCE)
            await settle(amelie, bruno, chloe)
        for client in (amelie, bruno, chloe):
            team = await client.conversation(TEAM)
            assert await posts(team) == [*WRITTEN, "un", "deux", "trois"]
        team = await amelie.conversation(TEAM)
        await team.remove(PEOPLE["chloe"].name, PATIENCE)
        await (await team.send("à deux")).stored(PATIENCE)
        await settle(amelie, bruno, chloe)
        there = await bruno.conversation(TEAM)
        assert (await posts(there))[-1] == "à deux"
        assert await member_names(there) == names("amelie", "bruno")
        assert "à deux" not in await posts(await chloe.conversation(TEAM))
        await (await there.send("entendu")).stored(PATIENCE)
        await settle(amelie, bruno)
        assert (await posts(team))[-1] == "entendu"
        assert [await suite_of(client) for client in (amelie, bruno)] == [OLD.number] * 2
    await check(old_world)


async def test_a_new_conversation_is_of_todays_suite(old_world: World) -> None:
    await old_world.relay.start()
    assert offered(old_world) == {OLD.number}
    async with together(old_world, "amelie", "bruno") as (amelie, bruno):
        # Chloé and the bot still offer what the version before published.
        assert offered(old_world) == {OLD.number, SUITE.number}
        team = await amelie.start("Neuve", [PEOPLE["bruno"].name])
        await (await team.send("bonjour")).stored(PATIENCE)
        await settle(amelie, bruno)
        assert await posts(await bruno.conversation("Neuve")) == ["bonjour"]
        assert [await suite_of(client, "Neuve") for client in (amelie, bruno)] == [SUITE.number] * 2
        assert await suite_of(amelie) == OLD.number
    async with together(old_world, "chloe", "dui"):
        assert offered(old_world) == {SUITE.number}


async def test_a_published_stock_is_replaced_once(old_world: World) -> None:
    async with together(old_world, "amelie") as (amelie,):
        await amelie.settled(PATIENCE)
    kept = old_world.relay.query("SELECT hash FROM key_packages ORDER BY no")
    async with together(old_world, "amelie") as (amelie,):
        await amelie.settled(PATIENCE)
    assert old_world.relay.query("SELECT hash FROM key_packages ORDER BY no") == kept


async def test_who_is_added_to_an_old_conversation_brings_it_todays_suite(old_world: World) -> None:
    async with together(old_world, "amelie", "bruno", "chloe", "david") as clients:
        amelie, bruno, chloe, david = clients
        team = await amelie.conversation(TEAM)
        await team.add(PEOPLE["david"].name, timeout=PATIENCE)
        await (await team.send("bienvenue")).stored(PATIENCE)
        await settle(*clients)
        for client in clients:
            assert await suite_of(client) == SUITE.number
            there = await client.conversation(TEAM)
            assert await member_names(there) == names("amelie", "bruno", "chloe", "david")
            await (await there.send(f"de {client.person.name}")).stored(PATIENCE)
            await settle(*clients)
        heard = ["bienvenue", *(f"de {client.person.name}" for client in clients)]
        for client in (amelie, bruno, chloe):
            assert await posts(await client.conversation(TEAM)) == [*WRITTEN, *heard]
        assert await posts(await david.conversation(TEAM)) == heard
        found = await first(bruno, ConversationRefounded)
        assert (found.left_out, found.culprit) == ((), None)
    await check(old_world)


async def test_two_members_who_add_at_once_agree_on_one_successor(old_world: World) -> None:
    async with together(old_world, "amelie", "bruno", "chloe", "david") as clients:
        teams = [await client.conversation(TEAM) for client in clients[:3]]
        async with asyncio.TaskGroup() as adding:
            for team in teams:
                adding.create_task(team.add(PEOPLE["david"].name, timeout=PATIENCE))
        for team in teams:
            await (await team.send("bienvenue")).stored(PATIENCE)
        await settle(*clients)
        found = [await client.conversation(TEAM) for client in clients]
        everybody = names("amelie", "bruno", "chloe", "david")
        assert [await member_names(team) for team in found] == [everybody] * 4
        assert {await suite_of(client) for client in clients} == {SUITE.number}
    await check(old_world)


async def test_nobody_is_left_behind_who_has_not_updated(old_world: World) -> None:
    async with together(old_world, "amelie", "bruno", "david") as (amelie, bruno, david):
        team = await amelie.conversation(TEAM)
        with pytest.raises(OldSoftware):
            await team.add(PEOPLE["david"].name, timeout=PATIENCE)
        refused = await first(amelie, ChangeRefused)
        chloe = next(p for p in await amelie.people() if p.name == PEOPLE["chloe"].name)
        assert (refused.reason, refused.accounts) == ("old-software", (chloe.account,))
        await (await team.send("alors sans David")).stored(PATIENCE)
        await settle(amelie, bruno)
        assert await suite_of(amelie) == OLD.number
        async with together(old_world, "chloe") as (updated,):
            await team.add(PEOPLE["david"].name, timeout=PATIENCE)
            await (await team.send("avec David")).stored(PATIENCE)
            await settle(amelie, bruno, updated, david)
            assert await posts(await david.conversation(TEAM)) == ["avec David"]
            assert (await posts(await updated.conversation(TEAM)))[-2:] == [
                "alors sans David",
                "avec David",
            ]
    await check(old_world)


async def test_what_a_member_who_has_not_updated_does_in_an_old_conversation_is_followed(
    old_world: World,
) -> None:
    with before():
        async with together(old_world, "bruno", "chloe") as (bruno, chloe):
            team = await bruno.conversation(TITLE)
            await team.add(PEOPLE["chloe"].name, timeout=PATIENCE)
            await (await team.send("bienvenue Chloé")).stored(PATIENCE)
            await settle(bruno, chloe)
    async with together(old_world, "amelie", "bruno", "chloe") as clients:
        await settle(*clients)
        for client in clients:
            team = await client.conversation(TITLE)
            assert (await posts(team))[-1] == "bienvenue Chloé"
            assert await member_names(team) == names("amelie", "bruno", "chloe")
            assert await suite_of(client, TITLE) == OLD.number
    await check(old_world)


async def test_who_has_not_updated_cannot_be_added_to_a_new_conversation_and_that_is_said(
    old_world: World,
) -> None:
    async with together(old_world, "amelie", "bruno") as (amelie, bruno):
        team = await amelie.start("Neuve", [PEOPLE["bruno"].name])
        with pytest.raises(OldSoftware):
            await team.add(PEOPLE["chloe"].name, timeout=PATIENCE)
        await (await team.send("sans Chloé")).stored(PATIENCE)
        await settle(bruno)
        assert await posts(await bruno.conversation("Neuve")) == ["sans Chloé"]


async def test_a_new_device_comes_into_an_old_conversation(old_world: World) -> None:
    await second_device(old_world, "bruno", "bruno-2")
    async with together(old_world, "amelie", "bruno", "chloe", "bruno-2") as clients:
        desk = clients[-1]

        async def there() -> bool | None:
            return any(c.title == TEAM for c in await desk.conversations()) or None

        await desk.until(there, PATIENCE)
        team = await clients[0].conversation(TEAM)
        await (await team.send("pour le bureau aussi")).stored(PATIENCE)
        await settle(*clients)
        assert (await posts(await desk.conversation(TEAM)))[-1] == "pour le bureau aussi"
        assert {await suite_of(client) for client in clients} == {SUITE.number}


async def test_a_device_that_lost_an_old_groups_state_returns_to_that_group(
    old_world: World,
) -> None:
    async with await Vault.open(old_world.vault("bruno"), PASSPHRASE) as vault:
        await vault.write(lambda db: db.execute("DELETE FROM mls_state"))
    async with together(old_world, "amelie", "bruno", "chloe") as clients:
        amelie, bruno, _chloe = clients
        there = await bruno.conversation(TEAM)
        await (await there.send("me revoilà")).stored(PATIENCE)
        await settle(*clients)
        team = await amelie.conversation(TEAM)
        assert (await posts(team))[-1] == "me revoilà"
        assert {await suite_of(client) for client in clients} == {OLD.number}
        change = [m.change for m in await history(team) if m.change is not None][-1]
        assert change.returned == (bruno.person.person_id,)


async def test_who_lost_an_old_groups_state_waits_for_those_who_have_not_updated(
    old_world: World,
) -> None:
    async with await Vault.open(old_world.vault("bruno"), PASSPHRASE) as vault:
        await vault.write(lambda db: db.execute("DELETE FROM mls_state"))
    claims = old_world.relay.query("SELECT count(*) FROM claims")
    async with together(old_world, "bruno") as (bruno,):
        # Nobody answers: it looks whether it could re-found, and would leave out Amélie and Chloé.
        async with asyncio.timeout(PATIENCE):
            while old_world.relay.query("SELECT count(*) FROM claims") == claims:
                await bruno.engine.changed(0.05)
        async with together(old_world, "amelie", "chloe") as (amelie, chloe):
            await settle(amelie, bruno, chloe)
            there = await bruno.conversation(TEAM)
            await (await there.send("me revoilà")).stored(PATIENCE)
            await settle(amelie, bruno, chloe)
            team = await chloe.conversation(TEAM)
            assert (await posts(team))[-1] == "me revoilà"
            assert await member_names(team) == names("amelie", "bruno", "chloe")
            assert {await suite_of(one) for one in (amelie, bruno, chloe)} == {OLD.number}


async def test_what_one_waits_for_is_a_key_package_of_every_member_for_three_days(
    old_world: World,
) -> None:
    async with alone(old_world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        team = await bruno.conversation(TEAM)

        def lose(work: Work) -> groups.GroupRow:
            row = groups.current(work.db, team)
            assert row is not None
            returning.lost_state(work, row)
            return groups.current(work.db, team) or row

        row = await bruno.write(lose)

        async def offers(used: CipherSuite) -> list[tuple[bytes, bytes, bytes]]:
            found = []
            for who in (amelie, chloe):
                made = await who.write(lambda work: make(work, used=used))
                found.append((who.own.account, who.own.device_id, made.key_package))
            return found

        old, new = await offers(OLD), await offers(SUITE)

        async def waits(claimed: list[tuple[bytes, bytes, bytes]], days: int = 0) -> bool:
            ago = replace(row, trouble_at=(row.trouble_at or 0) - days * 86_400_000)
            return await bruno.write(lambda work: waits_for_updates(work, ago, claimed))

        assert await waits(old)
        assert await waits([old[0], new[1]])
        assert await waits(old, days=2)
        assert not await waits(old, days=4)
        assert not await waits(new)


async def test_the_context_that_proofs_need_names_the_suite_of_its_epoch(old_world: World) -> None:
    async with together(old_world, "amelie") as (amelie,):
        contexts = await amelie.engine.read(
            lambda db: db.execute("SELECT context FROM epochs").fetchall()
        )
        assert contexts
        assert {decode(GroupContext, row[0]).cipher_suite for row in contexts} == {OLD.number}
