"""Records on real parts: attach, forward with proof, the bot's receipt, detach, objection."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from pli_client import Client
from pli_client.engine.errors import NotInRecord
from pli_client.events import RecordAttached, RecordForwarded
from pli_protocol.content import Forward, Receipt, RecordRef
from pli_protocol.content.proof import VerifiedForward, verify_forward

from .actor import QUICK
from .team import posts, settle, together
from .world import PATIENCE, PEOPLE, World

RECORD = RecordRef("dui", "usager-17")


class FilingBot:
    """Files everything, and keeps what it verified."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.verified: list[VerifiedForward] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for event in self.client.events(reader="dui"):
            if not isinstance(event, RecordForwarded):
                continue
            content = event.message.content
            assert content is not None
            assert isinstance(content.body, Forward)
            found = verify_forward(content.body, self.client.trust)
            self.verified.append(found)
            number = f"CdL-{len(self.verified)}"
            receipt = Receipt(found.message.message_id, found.record, True, number)
            await self.client.answer(event, receipt, document=f"{number}.json")

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def _filed(client: Client, message_id: bytes, filing: str = "filed") -> Any:
    async def look() -> Any:
        message = await client.message(message_id)
        if message is None or not message.records:
            return None
        return message.records if message.records[0].filing == filing else None

    return await client.until(look, PATIENCE)


async def test_a_message_written_into_a_record_is_filed_and_everybody_sees_the_receipt(
    world: World,
) -> None:
    async with together(world, "amelie", "bruno", "dui") as (amelie, bruno, dui):
        bot = FilingBot(dui)
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        sent = await team.send("Pansement refait", record=RECORD, note_type="INTERV")
        await sent.stored(PATIENCE)
        (mine,) = await _filed(amelie, sent.message_id)
        (theirs,) = await _filed(bruno, sent.message_id)
        assert mine.number == theirs.number == "CdL-1"
        assert (theirs.record, theirs.note_type) == (RECORD, "INTERV")
        (verified,) = bot.verified
        assert verified.message.author.person.name == PEOPLE["amelie"].name
        assert verified.message.message.text == "Pansement refait"
        assert not verified.detached
        shown = await (await bruno.conversation("Étage 2")).page()
        assert [m.kind for m in shown if m.kind != "members"] == ["post", "filed"]
        assert [c.title for c in await dui.conversations()] == []
        assert await dui.filing(sent.message_id, RECORD) == ("CdL-1", "CdL-1.json")
        await bot.stop()


async def test_an_attach_after_the_fact_proves_author_and_attacher_and_a_detach_is_told_too(
    world: World,
) -> None:
    async with together(world, "amelie", "bruno", "dui") as (amelie, bruno, dui):
        bot = FilingBot(dui)
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        sent = await team.send("A mangé la moitié")
        await sent.stored(PATIENCE)
        await settle(bruno)
        await (await bruno.attach(sent.message_id, "usager-17", "OBS")).stored(PATIENCE)
        (there,) = await _filed(amelie, sent.message_id)
        assert there.attached_by == bruno.person.person_id
        assert there.note_type == "OBS"
        (first,) = bot.verified
        assert first.message.author.person.person_id == amelie.person.person_id
        assert first.by.person.person_id == bruno.person.person_id
        # The author may take it off.
        await (await amelie.detach(sent.message_id, RECORD, "mauvais dossier")).stored(PATIENCE)

        async def told() -> bool | None:
            return len(bot.verified) == 2 or None

        await dui.until(told, PATIENCE)
        assert bot.verified[1].detached
        await settle(bruno)
        (seen,) = await bruno.record("usager-17")
        assert seen[1].detached
        assert seen[1].detached_by == amelie.person.person_id
        await bot.stop()


async def test_a_message_is_taken_off_no_record_in_which_it_does_not_stand(world: World) -> None:
    async with together(world, "amelie") as (amelie,):
        team = await amelie.start("Notes", [])
        sent = await team.send("A mangé la moitié", record=RECORD)
        for _ in range(2):
            with pytest.raises(NotInRecord, match="usager-71"):
                await amelie.detach(sent.message_id, "usager-71")
        await (await amelie.detach(sent.message_id, RECORD)).stored(PATIENCE)
        with pytest.raises(NotInRecord):
            await amelie.detach(sent.message_id, RECORD)  # not twice
        kinds = [m.kind for m in await team.page()]
        assert kinds.count("detach") == 1


async def test_who_neither_wrote_nor_attached_can_only_object(world: World) -> None:
    async with together(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name, PEOPLE["chloe"].name])
        sent = await team.send("Chute sans gravité", record=RECORD)
        await sent.stored(PATIENCE)
        await settle(bruno, chloe)
        await (await chloe.detach(sent.message_id, RECORD, "ce n'est pas lui")).stored(PATIENCE)
        await settle(bruno)
        ((_message, place),) = await bruno.record(RECORD)
        assert not place.detached
        kinds = [m.kind for m in await (await bruno.conversation("Étage 2")).page()]
        assert "objection" in kinds
        assert "detach" not in kinds


async def test_without_a_bot_online_the_receipt_comes_later_and_once(world: World) -> None:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        sent = await team.send("Tension 12/8", record=RECORD)
        await settle(amelie, bruno)
    async with together(world, "amelie", "bruno", "dui") as (amelie, bruno, dui):
        bot = FilingBot(dui)
        await _filed(bruno, sent.message_id)
        await settle(amelie, bruno, dui)
        assert len(bot.verified) == 1
        conversation = await bruno.conversation("Étage 2")
        assert [m.kind for m in await conversation.page()].count("filed") == 1
        await bot.stop()


async def test_a_bot_that_is_a_member_needs_no_forward(world: World) -> None:
    async with together(world, "amelie", "dui") as (amelie, dui):
        team = await amelie.start("Avec le dossier", [PEOPLE["dui"].name])
        await settle(amelie, dui)
        seen: list[RecordAttached] = []
        sent = await team.send("Vu par le médecin", record=RECORD)
        await sent.stored(PATIENCE)
        async for event in dui.events(reader="inside"):
            if isinstance(event, RecordAttached):
                seen.append(event)
                break
        assert seen[0].message_id == sent.message_id
        assert await posts(await dui.conversation("Avec le dossier")) == ["Vu par le médecin"]
        assert len(await amelie.conversations(services=True)) == len(await amelie.conversations())


async def test_a_bot_that_never_signed_in_holds_nothing_up_and_gets_what_was_meant_for_it(
    world: World,
) -> None:
    quick = replace(QUICK, look_for_bot=0.2)
    async with together(world, "amelie", "bruno", timing=quick) as (amelie, bruno):
        empty: list[tuple[bytes, bytes, bytes]] = []
        claim = amelie.engine.claim

        async def nobody(accounts: list[bytes]) -> list[tuple[bytes, bytes, bytes]]:
            return empty

        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await settle(amelie, bruno)
        amelie.engine.claim = nobody  # type: ignore[method-assign]
        sent = await team.send("Pas de DUI ce matin", record=RECORD)
        await sent.stored(PATIENCE)
        await settle(amelie, bruno)
        assert len(await amelie.conversations(services=True)) == len(await amelie.conversations())
        amelie.engine.claim = claim  # type: ignore[method-assign]
        async with together(world, "dui") as (dui,):
            bot = FilingBot(dui)
            (filed,) = await _filed(amelie, sent.message_id)
            assert filed.number == "CdL-1"
            await bot.stop()
