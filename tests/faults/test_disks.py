"""Disks that fail or are full, at the relay and at the client: nothing acknowledged is missing."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pli_client.errors import DiskFull
from pli_client.vault import Database
from pli_protocol.relay.frames import Fetch

from ..system.actor import QUICK
from ..system.checker import check
from ..system.world import PASSPHRASE, TITLE, World
from .cast import Cast, Refusals
from .strace import SYNCS, WRITES, failing, injected

pytestmark = pytest.mark.processes

STORAGE_FAILED = 3
DISK_FULL = 5


async def _not_long(seconds: float) -> None:
    await asyncio.sleep(min(seconds, 0.05))


IMPATIENT = replace(QUICK, pause=_not_long)


@pytest.mark.needs_strace
async def test_a_relay_whose_disk_fails_to_flush_stops_and_has_acknowledged_nothing_it_lacks(
    world: World,
) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        amelie = await cast.open("amelie")
        conversation = await amelie.conversation(TITLE)
        await cast.say(amelie, conversation, "Avant la panne")
        log = world.folder / "strace.log"
        async with failing(world.relay.pid, SYNCS, "EIO", log):
            unsure = await amelie.send(conversation, "Pendant la panne")
            assert await world.relay.died() == STORAGE_FAILED
        assert injected(log) > 0
        assert "check the disk" in world.relay.printed()
        assert await amelie.state_of(unsure) == "queued"
        await world.relay.start()
        await amelie.stored(unsure)
        await cast.say(amelie, conversation, "Après la panne")
        cast.acknowledged.append(unsure)
        await cast.settled()
    await check(world, cast.acknowledged)


@pytest.mark.needs_strace
async def test_a_relay_whose_disk_is_full_says_try_later_goes_on_reading_and_recovers(
    world: World,
) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        amelie = await cast.open("amelie", IMPATIENT)
        bruno = await cast.open("bruno")
        conversation = await amelie.conversation(TITLE)
        await cast.say(amelie, conversation, "Avant")
        await bruno.received("Avant")
        refusals = Refusals(amelie)
        log, pid = world.folder / "strace.log", world.relay.pid
        async with failing(pid, WRITES.removeprefix("write,"), "ENOSPC", log):
            waiting = await amelie.send(conversation, "Quand il y aura de la place")
            await refusals.seen("try-later")
            assert await amelie.state_of(waiting) == "queued"
            group = (await bruno.group(conversation)).group_id
            assert (await bruno.engine.connection.request(Fetch(0, group, 0))).rows
        assert injected(log) > 0
        await amelie.stored(waiting)
        cast.acknowledged.append(waiting)
        assert world.relay.pid == pid
        await cast.settled()
    await check(world, cast.acknowledged)


async def test_a_vault_without_space_refuses_with_one_error_and_loses_nothing(world: World) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        conversation = await amelie.conversation(TITLE)
        await cast.say(bruno, conversation, "Bruno a de la place")
        await amelie.received("Bruno a de la place")
        await amelie.settled()
        await amelie.vault.write(_no_more_pages)
        before = await amelie.vault.read(_count)
        with pytest.raises(DiskFull) as refused:
            await amelie.send(conversation, "x" * 30_000)
        assert refused.value.exit_code == DISK_FULL
        assert await amelie.vault.read(_count) == before
        await cast.say(bruno, conversation, "y" * 30_000)
        await cast.say(bruno, conversation, "Encore là ?")
        assert await amelie.vault.read(_count) == before
        await amelie.vault.write(_more_pages)
        await amelie.received("Encore là ?")
        await cast.say(amelie, conversation, "x" * 30_000)
        await cast.settled()
    await check(world, cast.acknowledged)


async def test_a_command_on_a_full_disk_says_one_sentence_and_its_exit_code(world: World) -> None:
    passphrase = world.folder / "passphrase"
    passphrase.write_bytes(bytes(PASSPHRASE))
    with small_disk(world.vault("amelie"), 2 * 2**20) as folder:
        filler = folder / "filler"
        _fill(filler)
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pli_client", "--lang", "en", "--vault", str(folder)),
            *("--passphrase-file", str(passphrase), "send", TITLE, "Il n'y a plus de place"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await command.communicate()
        assert (command.returncode, out) == (DISK_FULL, b""), err.decode()
        assert len(err.decode().strip().splitlines()) == 1
        assert "disk is full" in err.decode()
        filler.unlink()
        await world.relay.start()
        async with Cast(world) as cast:
            amelie = await cast.open("amelie")
            await cast.say(amelie, await amelie.conversation(TITLE), "De la place à nouveau")
            await cast.settled()
        await check(world, cast.acknowledged)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """The folder's content on a file system of its own, of so many bytes."""
    if shutil.which("mount") is None:
        pytest.skip("needs the command mount")
    away = folder.with_name(folder.name + ".before")
    folder.rename(away)
    folder.mkdir()
    options = f"size={size},mode=700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    try:
        shutil.copytree(away, folder, dirs_exist_ok=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(path: Path) -> None:
    """Take all the space there is."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert shutil.disk_usage(path.parent).free == 0


def _no_more_pages(db: Database) -> None:
    (pages,) = db.execute("PRAGMA page_count").fetchone() or (0,)
    db.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def _more_pages(db: Database) -> None:
    db.execute("PRAGMA max_page_count = 1000000").fetchall()


def _count(db: Database) -> list[tuple[object, ...]]:
    return list(db.execute("SELECT count(*) FROM messages UNION ALL SELECT count(*) FROM outbox"))
