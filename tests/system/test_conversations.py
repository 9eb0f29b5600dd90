"""Conversations on real parts: adding, removing, renaming, leaving, replying, searching, files."""

from pathlib import Path

import pytest

from pli_client.engine.errors import ConversationOver
from pli_client.errors import InvalidInput

from .team import history, member_names, names, posts, settle, together
from .world import PATIENCE, PEOPLE, World


async def test_an_added_person_reads_from_then_on_and_a_removed_one_nothing_more(
    world: World,
) -> None:
    async with together(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await (await team.send("avant")).stored(PATIENCE)
        await team.add(PEOPLE["chloe"].name, timeout=PATIENCE)
        await (await team.send("pendant")).stored(PATIENCE)
        await settle(bruno, chloe)
        assert await member_names(team) == names("amelie", "bruno", "chloe")
        seen = await chloe.conversation("Étage 2")
        assert await posts(seen) == ["pendant"]
        await team.remove("chloé martin", timeout=PATIENCE)
        await (await team.send("après")).stored(PATIENCE)
        await settle(bruno, amelie)
        await chloe.until(lambda: _left(chloe, seen.id), PATIENCE)
        await seen.refresh()
        assert await posts(seen) == ["pendant"]
        assert seen.state == "removed"
        with pytest.raises(ConversationOver):
            await seen.send("encore là ?")
        there = await bruno.conversation("Étage 2")
        assert await posts(there) == ["avant", "pendant", "après"]
        changes = [m.change for m in await history(there) if m.change is not None]
        chloe_id = chloe.person.person_id
        assert [chloe_id in c.added for c in changes[-2:]] == [True, False]
        assert changes[-1].removed == (chloe_id,)


async def _left(client, conversation_id):  # type: ignore[no-untyped-def]
    state = (await client.conversation(conversation_id)).state
    return True if state in ("removed", "left") else None


async def test_a_new_title_reaches_everybody_and_newcomers(world: World) -> None:
    async with together(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await settle(amelie, bruno)
        there = await bruno.conversation("Étage 2")
        await there.rename("Étage 3")
        await settle(bruno, amelie)
        assert (await team.refresh()).title == "Étage 3"
        await team.add(PEOPLE["chloe"].name, timeout=PATIENCE)
        await settle(amelie, chloe)
        assert (await chloe.conversation("Étage 3")).id == team.id


async def test_who_leaves_is_removed_by_the_others_and_gets_nothing_more(world: World) -> None:
    async with together(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name, PEOPLE["chloe"].name])
        await settle(amelie, bruno, chloe)
        there = await chloe.conversation("Étage 2")
        await there.leave(PATIENCE)
        assert there.state == "left"

        async def gone() -> bool | None:
            return await member_names(team) == names("amelie", "bruno") or None

        await amelie.until(gone, PATIENCE)
        await (await team.send("entre nous")).stored(PATIENCE)
        await settle(amelie, bruno)
        assert await posts(there) == []
        assert "entre nous" in await posts(await bruno.conversation("Étage 2"))


async def test_replies_urgency_and_search_without_accents(world: World) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await (await team.send("Douleur à l'épaule de Mme Léger ?", urgent=True)).stored(PATIENCE)
        await settle(bruno)
        question = (await bruno.unread())[0]
        assert question.urgent
        there = await bruno.conversation("Étage 2")
        await (await there.send("Oui, depuis ce matin", reply_to=question)).stored(PATIENCE)
        await there.mark_read()
        await settle(amelie)
        assert question.message_id not in [m.message_id for m in await bruno.unread()]
        (answer,) = await amelie.search("depuis mat")
        assert answer.in_reply_to == question.message_id
        (found,) = await amelie.search("EPAULE leger")
        assert found.message_id == question.message_id
        assert await amelie.search("nuage") == []
        with pytest.raises(InvalidInput):
            await team.send("")


async def test_a_file_arrives_as_it_was_and_its_bytes_are_not_at_the_relay(
    world: World, tmp_path: Path
) -> None:
    photo = tmp_path / "plaie.jpg"
    photo.write_bytes(b"\xff\xd8 une photo " * 5000)
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await (await team.send("voir la plaie", files=[photo])).stored(PATIENCE)
        await (await team.send("ensuite")).stored(PATIENCE)
        await settle(bruno)
        there = await bruno.conversation("Étage 2")
        first, second = [m for m in await there.page() if m.kind == "post"]
        assert (first.text, second.text) == ("voir la plaie", "ensuite")
        (part,) = first.files
        saved = await bruno.fetch(part, tmp_path)
        assert saved.read_bytes() == photo.read_bytes()
        assert saved != photo
        own = await amelie.fetch(part, tmp_path / ".." / tmp_path.name)
        assert own.read_bytes() == photo.read_bytes()
    for stored in world.relay.folder.rglob("*"):
        if stored.is_file():
            assert b"une photo" not in stored.read_bytes()


async def test_what_is_written_offline_is_sent_in_order_when_the_relay_is_back(
    world: World,
) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await settle(amelie, bruno)
        await world.relay.kill()
        sent = [await team.send(f"note {i}") for i in range(20)]
        late = await amelie.start("Née hors ligne", [PEOPLE["bruno"].name])
        first = await late.send("bonjour")
        await world.relay.start()
        for message in (*sent, first):
            await message.stored(PATIENCE)
        await settle(bruno)
        assert await posts(await bruno.conversation("Étage 2")) == [f"note {i}" for i in range(20)]
        assert await posts(await bruno.conversation("Née hors ligne")) == ["bonjour"]


async def test_somebody_without_a_device_cannot_be_added_and_that_is_said(world: World) -> None:
    from pli_client.engine.errors import ChangeFailed

    async with together(world, "amelie", "bruno") as (amelie, bruno):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        with pytest.raises(ChangeFailed):
            await team.add(PEOPLE["david"].name, timeout=PATIENCE)
        await (await team.send("sans David")).stored(PATIENCE)
        await settle(bruno)
        assert await posts(await bruno.conversation("Étage 2")) == ["sans David"]


async def test_who_comes_back_sees_the_new_title_and_nothing_of_the_time_between(
    world: World,
) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await (await team.send("avant")).stored(PATIENCE)
        await settle(bruno)
        there = await bruno.conversation("Étage 2")
        await team.remove(PEOPLE["bruno"].name, timeout=PATIENCE)
        await (await team.rename("Étage 3")).stored(PATIENCE)
        await (await team.send("sans lui")).stored(PATIENCE)
        await bruno.until(lambda: _left(bruno, there.id), PATIENCE)
        await team.add(PEOPLE["bruno"].name, timeout=PATIENCE)
        await (await team.send("avec lui")).stored(PATIENCE)
        await settle(amelie, bruno)
        assert (await there.refresh()).title == "Étage 3"
        assert await posts(there) == ["avant", "avec lui"]
        await (await there.send("merci")).stored(PATIENCE)
        await settle(amelie)
        assert (await posts(team))[-1] == "merci"


async def test_a_conversation_of_one_works_until_somebody_comes(world: World) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        alone = await amelie.start("Pense-bête")
        await (await alone.send("acheter des gants")).stored(PATIENCE)
        await alone.add(PEOPLE["bruno"].name, timeout=PATIENCE)
        await (await alone.send("taille 8")).stored(PATIENCE)
        await settle(bruno)
        assert await posts(await bruno.conversation("Pense-bête")) == ["taille 8"]


async def test_commits_and_welcomes_too_large_for_a_frame_travel_as_blobs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pli_client import payloads

    monkeypatch.setattr(payloads, "MAX_INLINE", 700)
    async with together(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await (await team.send("un")).stored(PATIENCE)
        await team.add(PEOPLE["chloe"].name, timeout=PATIENCE)
        await (await team.send("deux")).stored(PATIENCE)
        await settle(bruno, chloe)
        assert await posts(await bruno.conversation("Étage 2")) == ["un", "deux"]
        assert await posts(await chloe.conversation("Étage 2")) == ["deux"]
