"""Coming back after lost state, and out of a wedged group, with nothing lost and the culprit named."""

import asyncio

import pytest

from pli_client import Client, Conversation
from pli_client.events import CannotGoOn, ConversationRefounded
from pli_client.store import groups
from pli_client.vault import Vault
from pli_protocol.relay.frames import Fetch

from . import hostile_member
from .team import history, member_names, names, posts, settle, together
from .world import PASSPHRASE, PATIENCE, PEOPLE, World


async def _team(first: Client, *others: Client) -> list[Conversation]:
    """A conversation of these, as each of them sees it."""
    team = await first.start("Étage 2", [other.person.account for other in others])
    await (await team.send("bonjour")).stored(PATIENCE)
    await settle(first, *others)
    return [team, *[await other.conversation("Étage 2") for other in others]]


async def _damage(world: World, who: str, *statements: str) -> None:
    async with await Vault.open(world.vault(who), PASSPHRASE) as vault:
        for statement in statements:
            await vault.write(lambda db, sql=statement: db.execute(sql))  # type: ignore[misc]


@pytest.mark.parametrize(
    "damage",
    [
        ("DELETE FROM mls_state",),
        ("UPDATE mls_state SET value = x'00' WHERE key = 'group'",),
        ("DELETE FROM mls_state WHERE key = 'secrets'",),
    ],
)
async def test_a_device_whose_group_state_is_damaged_is_added_again(
    world: World, damage: tuple[str, ...]
) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        await _team(amelie, bruno)
    await _damage(world, "bruno", *damage)
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        there = await bruno.conversation("Étage 2")
        late = await there.send("me revoilà")
        team = await amelie.conversation("Étage 2")
        await (await team.send("pendant")).stored(PATIENCE)
        await late.stored(PATIENCE)
        await settle(amelie, bruno)
        assert "me revoilà" in await posts(team)
        assert (await posts(there))[0] == "bonjour"
        await (await team.send("après")).stored(PATIENCE)
        await settle(bruno)
        assert (await posts(there))[-1] == "après"
        change = [m.change for m in await history(team) if m.change is not None][-1]
        assert change.returned == (bruno.person.person_id,)


async def test_a_device_that_lost_a_whole_conversation_gets_it_back(world: World) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        await _team(amelie, bruno)
    tables = ("returns", "pending_commits", "epochs", "mls_state", "members", "outbox", "intents")
    await _damage(
        world,
        "bruno",
        *(f"DELETE FROM {table}" for table in (*tables, "messages", "groups", "conversations")),
    )
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        await bruno.settled(PATIENCE)
        team = await amelie.conversation("Étage 2")
        await (await team.send("te revoilà")).stored(PATIENCE)
        await settle(bruno)
        assert await posts(await bruno.conversation("Étage 2")) == ["te revoilà"]


async def test_a_garbage_commit_does_not_wedge_the_conversation(world: World) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        async with together(world, "chloe") as (chloe,):
            team, there, _ = await _team(amelie, bruno, chloe)
            events = asyncio.create_task(_refounded(bruno))
            await asyncio.sleep(0)
            await hostile_member.garbage_commit(chloe, team.id)
        waiting = await team.send("écrit pendant le blocage")
        await waiting.stored(PATIENCE)
        await settle(amelie, bruno)
        assert await posts(there) == ["bonjour", "écrit pendant le blocage"]
        assert await member_names(team) == names("amelie", "bruno")
        culprit = chloe.person.person_id
        found = await asyncio.wait_for(events, PATIENCE)
        assert found[0].culprit == culprit
        await (await there.send("et maintenant")).stored(PATIENCE)
        await settle(amelie)
        assert await posts(team) == ["bonjour", "écrit pendant le blocage", "et maintenant"]


async def _refounded(client: Client) -> list[CannotGoOn | ConversationRefounded]:
    found: list[CannotGoOn | ConversationRefounded] = []
    async for event in client.events():
        if isinstance(event, CannotGoOn | ConversationRefounded):
            found.append(event)
        if isinstance(event, ConversationRefounded):
            return found
    raise AssertionError


async def test_a_ghost_device_in_a_commit_is_refused_by_every_client(world: World) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        async with together(world, "chloe") as (chloe,):
            team, there, _ = await _team(amelie, bruno, chloe)
            await hostile_member.ghost_commit(chloe, team.id, PEOPLE["amelie"].name)
        await (await there.send("seuls ?")).stored(PATIENCE)
        await settle(amelie, bruno)
        for client in (amelie, bruno):
            conversation = await client.conversation("Étage 2")
            assert await member_names(conversation) == names("amelie", "bruno")
            assert "seuls ?" in await posts(conversation)


async def test_a_removal_that_is_hidden_from_the_relay_is_refused(world: World) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        async with together(world, "chloe") as (chloe,):
            team, there, _ = await _team(amelie, bruno, chloe)
            rows = await amelie.engine.read(
                lambda db: groups.members(db, groups.current(db, team.id).group_id)  # type: ignore[union-attr]
            )
            (leaf,) = [m.leaf for m in rows if m.person_id == bruno.person.person_id]
            await hostile_member.secret_removal(chloe, team.id, leaf)
        await (await there.send("je suis encore là")).stored(PATIENCE)
        await settle(amelie, bruno)
        assert (await posts(team))[-1] == "je suis encore là"


async def test_rows_that_the_relay_repeats_are_shown_once(world: World) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        _, there = await _team(amelie, bruno)
        before = [m.message_id for m in await history(there)]
        row, _ = await hostile_member.current(bruno, there.id)
        answer = await bruno.engine.connection.request(Fetch(0, row.group_id, 1))
        assert answer.rows
        for _ in range(2):
            await bruno.engine.take_rows(answer.rows)
        assert [m.message_id for m in await history(there)] == before


async def test_two_devices_that_commit_at_once_both_get_what_they_wanted(world: World) -> None:
    async with together(world, "amelie", "bruno", "chloe", "dui") as (amelie, bruno, chloe, dui):
        team, there = await _team(amelie, bruno)
        await asyncio.gather(
            team.add(chloe.person.account, timeout=PATIENCE),
            there.add(dui.person.account, timeout=PATIENCE),
            (await team.send("de l'une")).stored(PATIENCE),
            (await there.send("de l'autre")).stored(PATIENCE),
        )
        await settle(amelie, bruno, chloe, dui)
        everybody = names("amelie", "bruno", "chloe", "dui")
        for client in (amelie, bruno, chloe, dui):
            conversation = await client.conversation("Étage 2")
            assert await member_names(conversation) == everybody
        one, two = await posts(team), await posts(there)
        assert one == two
        assert sorted(one) == ["bonjour", "de l'autre", "de l'une"]
        states = {
            (await hostile_member.current(client, team.id))[1].epoch_authenticator
            for client in (amelie, bruno, chloe, dui)
        }
        assert len(states) == 1


async def test_a_revoked_device_is_removed_before_the_next_message(world: World) -> None:
    async with together(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        team, there, _ = await _team(amelie, bruno, chloe)
        async with world.issuer() as issuer:
            await issuer.revoke(chloe.person.account, "lost")

            async def known() -> bool | None:
                return amelie.trust.head().number >= 1 or None

            await amelie.until(known, PATIENCE)
        await (await team.send("sans elle")).stored(PATIENCE)
        await settle(amelie, bruno)
        assert await member_names(team) == names("amelie", "bruno")
        assert (await posts(there))[-1] == "sans elle"
