"""Files through cuts, kills and a relay that dies: they go on where they were, and little goes twice."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from pli_client import Client
from pli_client.files.transfer import AT_ONCE
from pli_protocol.relay.frames import BLOB_PART, BlobPart, GetBlob, PutBlob

from ..hostile_relay.proxy import HostileRelay, hostile_relay
from . import file_victim, processes
from .team import settle, together
from .world import PATIENCE, TITLE, World

PARTS: Final = 30

pytestmark = pytest.mark.processes


def put(proxy: HostileRelay) -> list[PutBlob]:
    """The parts that went up by now, those that went in vain too."""
    return [frame for frame in proxy.asked if isinstance(frame, PutBlob)]


def got(proxy: HostileRelay) -> list[GetBlob]:
    return [frame for frame in proxy.asked if isinstance(frame, GetBlob)]


def bytes_of(frames: list[PutBlob]) -> int:
    return sum(len(frame.data) for frame in frames)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "plaie.jpg"
    path.write_bytes(os.urandom(PARTS * BLOB_PART))
    return path


@asynccontextmanager
async def counted(world: World) -> AsyncIterator[HostileRelay]:
    """The relay behind a proxy that counts."""
    async with hostile_relay(world) as proxy:
        yield proxy


async def received(client: Client) -> Client:
    """Until the client has the message with the file."""

    async def look() -> bool | None:
        conversation = await client.conversation(TITLE)
        return any(message.files for message in await conversation.page()) or None

    await client.until(look, PATIENCE)
    return client


async def saved(client: Client, folder: Path) -> bytes:
    conversation = await client.conversation(TITLE)
    (message,) = [m for m in await conversation.page() if m.files]
    return (await client.fetch(message.files[0], folder)).read_bytes()


async def test_an_upload_that_is_cut_again_and_again_sends_few_parts_twice(
    world: World, photo: Path, tmp_path: Path
) -> None:
    cuts = 4
    async with counted(world) as proxy, together(world, "amelie", "bruno") as (amelie, bruno):
        sent = await (await amelie.conversation(TITLE)).send("Une photo", files=[photo])
        for cut in range(1, cuts + 1):
            await proxy.until(lambda cut=cut: len(put(proxy)) >= cut * 6)
            await proxy.cut()
        await sent.stored(PATIENCE)
        done, total = await sent.uploaded()
        assert done == total > photo.stat().st_size
        assert bytes_of(put(proxy)) <= total + cuts * AT_ONCE * BLOB_PART
        assert await saved(await received(bruno), tmp_path / "in") == photo.read_bytes()


async def test_a_client_killed_while_it_sends_a_file_goes_on_where_it_was(
    world: World, photo: Path, tmp_path: Path
) -> None:
    async with counted(world) as proxy:
        output = tmp_path / "victim.out"
        victim = processes.start(
            file_victim.send, str(world.vault("amelie")), str(photo), output=output
        )
        await proxy.until(lambda: len(put(proxy)) >= PARTS // 2)
        victim.kill()
        await victim.wait()
        before = len(put(proxy))
        async with together(world, "amelie", "bruno") as (amelie, bruno):
            await received(bruno)
            await settle(amelie)
            again = put(proxy)[before:]
            assert again[0].offset >= (before - AT_ONCE) * BLOB_PART
            assert bytes_of(put(proxy)) <= again[0].size + AT_ONCE * BLOB_PART
            assert await saved(bruno, tmp_path / "in") == photo.read_bytes()


async def test_a_relay_killed_while_it_takes_a_file_goes_on_where_it_was(
    world: World, photo: Path, tmp_path: Path
) -> None:
    async with counted(world) as proxy, together(world, "amelie", "bruno") as (amelie, bruno):
        sent = await (await amelie.conversation(TITLE)).send("Une photo", files=[photo])
        await proxy.until(lambda: len(put(proxy)) >= PARTS // 2)
        await world.relay.kill()
        await world.relay.start()
        await sent.stored(PATIENCE)
        size = put(proxy)[0].size
        assert bytes_of(put(proxy)) <= size + 2 * AT_ONCE * BLOB_PART
        assert await saved(await received(bruno), tmp_path / "in") == photo.read_bytes()


async def test_a_download_that_is_cut_or_killed_fetches_few_parts_twice(
    world: World, photo: Path, tmp_path: Path
) -> None:
    async with counted(world) as proxy:
        async with together(world, "amelie", "bruno") as (amelie, bruno):
            sent = await (await amelie.conversation(TITLE)).send("Une photo", files=[photo])
            await sent.stored(PATIENCE)
            await received(bruno)
            fetching = asyncio.create_task(saved(bruno, tmp_path / "cut"))
            await proxy.until(lambda: len(got(proxy)) >= 5)
            fetching.cancel()
            await asyncio.wait({fetching})
        target = tmp_path / "in"
        victim = processes.start(
            file_victim.save,
            str(world.vault("bruno")),
            str(target),
            output=tmp_path / "victim.out",
        )
        await proxy.until(lambda: len(got(proxy)) >= 15)
        victim.kill()
        await victim.wait()
        assert not list(target.glob("*")) if target.exists() else True
        async with together(world, "bruno") as (bruno,):
            assert await saved(bruno, target) == photo.read_bytes()
        parts = -(-put(proxy)[0].size // BLOB_PART)
        assert len(got(proxy)) <= parts + 4
    assert [path.name for path in target.iterdir()] == ["plaie.jpg"]
    assert not list((world.vault("bruno") / "files").iterdir())


async def test_a_file_that_the_relay_altered_is_not_saved_and_is_fetched_anew(
    world: World, photo: Path, tmp_path: Path
) -> None:
    """The part of a download that is here cannot be trusted before the whole was checked."""
    from pli_client.errors import FileDamaged

    async with counted(world) as proxy, together(world, "amelie", "bruno") as (amelie, bruno):
        await (await (await amelie.conversation(TITLE)).send("!", files=[photo])).stored(PATIENCE)
        await received(bruno)

        def altered(frame: object) -> list[object]:
            if isinstance(frame, BlobPart):
                return [BlobPart(frame.rid, frame.size, bytes(len(frame.data)))]
            return [frame]

        proxy.change = altered  # type: ignore[assignment]
        with pytest.raises(FileDamaged):
            await saved(bruno, tmp_path / "in")
        assert not list((tmp_path / "in").iterdir())
        proxy.change = lambda frame: (frame,)
        assert await saved(bruno, tmp_path / "in") == photo.read_bytes()


async def test_a_message_taken_back_in_the_middle_of_its_file_goes_no_further(
    world: World, photo: Path
) -> None:
    async with counted(world) as proxy, together(world, "amelie", "bruno") as (amelie, bruno):
        conversation = await amelie.conversation(TITLE)
        sent = await conversation.send("Une photo", files=[photo])
        await proxy.until(lambda: len(put(proxy)) >= 5)
        assert await sent.cancel()
        await (await conversation.send("Sans photo")).stored(PATIENCE)
        await settle(amelie, bruno)
        assert len(put(proxy)) < PARTS
        assert await sent.state() == "failed"
        texts = [m.text for m in await (await bruno.conversation(TITLE)).page()]
        assert "Sans photo" in texts
        assert "Une photo" not in texts
        assert not list((world.vault("amelie") / "files").iterdir())
        assert not await sent.cancel()


async def test_two_who_save_the_same_file_at_once_do_not_write_into_each_others(
    world: World, photo: Path, tmp_path: Path
) -> None:
    async with counted(world) as proxy, together(world, "amelie", "bruno") as (amelie, bruno):
        await (await (await amelie.conversation(TITLE)).send("!", files=[photo])).stored(PATIENCE)
        await received(bruno)
        both = await asyncio.gather(saved(bruno, tmp_path / "a"), saved(bruno, tmp_path / "b"))
        assert both == [photo.read_bytes()] * 2
        offsets = [frame.offset for frame in got(proxy)]
        assert offsets == sorted(set(offsets)) * 2
