"""A relay killed and restored from an old backup: what was acknowledged comes back with who had it."""

import itertools
import time
from pathlib import Path

import pytest
from nacl.public import PrivateKey

from pli_server.backup import making, restoring
from pli_server.settings import load

from .actor import Actor
from .checker import check
from .relay_process import RelayProcess
from .world import PATIENCE, PEOPLE, TITLE, World

KEY = PrivateKey(bytes(range(32)))


def quiet(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def back_up(relay: RelayProcess) -> Path:
    """A backup while it runs."""
    to = relay.folder.parent / "backups"
    to.mkdir(exist_ok=True)
    now = time.time_ns() // 1_000_000
    return making.make(relay.folder, load(relay.folder), to, KEY.public_key, now, quiet).path


async def restore(relay: RelayProcess, archive: Path) -> None:
    """The machine is gone; the backup comes back in its place, under the same name and port."""
    await relay.kill()
    relay.folder.rename(relay.folder.with_name(f"lost-{time.time_ns()}"))
    restoring.restore(archive, KEY, relay.folder, time.time_ns() // 1_000_000, quiet)
    await relay.start()


async def opened(world: World, *who: str) -> list[Actor]:
    actors = [await world.open(name) for name in who]
    for actor in actors:
        await actor.ready()
    return actors


async def conversation_of(actor: Actor) -> bytes:
    found = await actor.conversation(TITLE)
    return found


async def settle(*actors: Actor) -> None:
    for _ in range(2):
        for actor in actors:
            await actor.settled()


@pytest.mark.parametrize("order", list(itertools.permutations(("amelie", "bruno"))))
async def test_messages_after_the_backup_come_back_whoever_connects_first(
    world: World, order: tuple[str, str]
) -> None:
    await world.relay.start()
    amelie, bruno = await opened(world, "amelie", "bruno")
    conversation = await conversation_of(amelie)
    archive = back_up(world.relay)
    sent = [await amelie.send(conversation, f"message {i}") for i in range(10)]
    sent += [await bruno.send(conversation, f"réponse {i}") for i in range(10)]
    for actor, ids in ((amelie, sent[:10]), (bruno, sent[10:])):
        for message_id in ids:
            await actor.stored(message_id)
    await settle(amelie, bruno)
    for actor in (amelie, bruno):
        await actor.close()
    await restore(world.relay, archive)
    actors = []
    for who in order:
        actor = await world.open(who)
        await actor.ready()
        new = await actor.send(conversation, f"{who} est de retour")
        await actor.stored(new)
        sent.append(new)
        actors.append(actor)
    await settle(*actors)
    for actor in actors:
        await actor.close()
    vaults = await check(world, sent)
    assert all(not vault.quarantine for vault in vaults)


_ = (PATIENCE, PEOPLE)
