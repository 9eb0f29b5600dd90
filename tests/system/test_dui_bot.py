"""The DUI's bot on real parts: outside and inside conversations, restarted, asked twice, refused."""

import json
from pathlib import Path
from typing import Any

import pli_client
from pli_client.bots.dui import DuiBot
from pli_client.bots.filing import Filing
from pli_client.client import Client
from pli_client.message import Attachment

from .actor import QUICK
from .world import PASSPHRASE, PATIENCE, World

RECORD = "urn:oid:1.2.3|IPP-004821"


def at(world: World, who: str) -> Any:
    return pli_client.connect(world.vault(who), PASSPHRASE, timing=QUICK)


async def file_all(world: World, **options: Any) -> list[Filing]:
    """Run the bot until nothing waits."""
    filings: list[Filing] = []
    async with at(world, "dui") as client:
        bot = DuiBot(client, world.folder / "outbox", report=filings.append, **options)
        await bot.catch_up(PATIENCE)
    return filings


def statuses(world: World) -> list[str]:
    found = []
    for path in (world.folder / "outbox").glob("*.json"):
        bundle = json.loads(path.read_bytes())
        found.append(bundle["entry"][0]["resource"]["status"])
    return sorted(found)


async def places(client: Client) -> list[Attachment]:
    await client.settled(PATIENCE)
    return [attachment for _message, attachment in await client.record(RECORD)]


async def test_what_is_attached_is_filed_once_and_everybody_sees_the_receipt(world: World) -> None:
    await world.relay.start()
    async with at(world, "amelie") as amelie, at(world, "bruno") as bruno:
        team = await amelie.conversation("Relève")
        sent = await team.send("Pansement refait.", record=RECORD, note_type="INTERV")
        await sent.stored(PATIENCE)
        await amelie.settled(PATIENCE)
        (filing,) = await file_all(world)
        assert await file_all(world) == []
        assert statuses(world) == ["current"]
        for client in (amelie, bruno):
            (place,) = await places(client)
            assert (place.filing, place.number) == ("filed", filing.number)


async def test_a_photo_travels_to_the_record_whole(world: World, tmp_path: Path) -> None:
    photo = tmp_path / "plaie.jpg"
    photo.write_bytes(bytes(range(256)) * 600)
    await world.relay.start()
    async with at(world, "amelie") as amelie:
        team = await amelie.conversation("Relève")
        await (await team.send("La photo.", record=RECORD, files=[photo])).stored(PATIENCE)
        await amelie.settled(PATIENCE)
        (filing,) = await file_all(world)
    bundle = json.loads((world.folder / "outbox" / filing.document).read_bytes())
    text, picture = bundle["entry"][0]["resource"]["content"]
    assert picture["attachment"]["size"] == 256 * 600
    assert not (world.vault("dui") / "incoming").exists()


async def test_a_record_of_another_dui_is_refused_with_a_reason(world: World) -> None:
    await world.relay.start()
    async with at(world, "amelie") as amelie:
        team = await amelie.conversation("Relève")
        await (await team.send("Bien mangé.", record=RECORD)).stored(PATIENCE)
        await amelie.settled(PATIENCE)
        await file_all(world, systems=["urn:oid:9.9.9"])
        assert statuses(world) == []
        (place,) = await places(amelie)
        assert place.filing == "refused"
        assert place.refusal


async def test_a_detach_takes_the_note_back(world: World) -> None:
    await world.relay.start()
    async with at(world, "amelie") as amelie, at(world, "bruno") as bruno:
        team = await amelie.conversation("Relève")
        written = await (await team.send("Erreur de dossier.")).stored(PATIENCE)
        await bruno.settled(PATIENCE)
        await bruno.attach(written.message_id, RECORD)
        await bruno.settled(PATIENCE)
        await file_all(world)
        await amelie.settled(PATIENCE)
        await amelie.detach(written.message_id, RECORD, "mauvais dossier")  # its author
        await amelie.settled(PATIENCE)
        (filing,) = await file_all(world)
        assert filing.withdrawn
        assert statuses(world) == ["current", "entered-in-error"]


async def test_a_bot_that_is_a_member_files_without_being_asked(world: World) -> None:
    await world.relay.start()
    async with at(world, "amelie") as amelie, at(world, "bruno") as bruno:
        team = await amelie.conversation("Relève")
        early = await (await team.send("Avant le DUI.")).stored(PATIENCE)
        await team.add("Dossier de soins", timeout=PATIENCE)
        later = await (await team.send("Avec le DUI.")).stored(PATIENCE)
        await amelie.attach(early.message_id, RECORD)
        await amelie.attach(later.message_id, RECORD, "OBS")
        await amelie.settled(PATIENCE)
        filings = await file_all(world)
        assert sorted((f.filed, f.code) for f in filings) == [(False, "not-seen"), (True, "")]
        assert statuses(world) == ["current"]
        found = {place.filing for place in await places(bruno)}
        assert found == {"filed", "refused"}
