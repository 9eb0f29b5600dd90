"""The client that is killed: a process that uses the SDK for one purpose and says what was acknowledged.

Each script is a coroutine of a connected client; it ends when its purpose is reached and everything is
settled. What it prints are JSON lines.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pli_client
from pli_client import Client, Conversation, Timing
from pli_client.bots.dui import DuiBot
from pli_client.errors import PliError
from pli_client.store import people as people_store
from pli_client.vault import Database, Row

from ..system.actor import QUICK, reconnect_quickly
from ..system.world import PASSPHRASE, PEOPLE, TITLE

RECORD: Final = "usager-17"
HURRIED: Final = Timing(
    refound_after=0.1,
    others_wait=(0.05, 0.1),
    retry=(0.005, 0.03),
    welcome_grace=0.1,
    trouble=0.05,
)
"""So that a device alone does not wait for others to add it again."""


def run(folder: str, script: str) -> None:
    """The process."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    reconnect_quickly()
    asyncio.run(_connected(Path(folder), SCRIPTS[script]))


async def _connected(folder: Path, script: "Script") -> None:
    timing = HURRIED if script is refounding else QUICK
    async with pli_client.connect(folder, PASSPHRASE, timing=timing) as me:
        await me.online()
        await script(me)
        await me.settled()


def acknowledged(printed: str) -> list[bytes]:
    """The message ids that a victim reported as stored."""
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith('{"stored"')]
    return [bytes.fromhex(line["stored"]) for line in lines]


async def _say(conversation: Conversation, *texts: str, **options: object) -> None:
    sent = [await conversation.send(text, **options) for text in texts]  # type: ignore[arg-type]
    for message in sent:
        await message.stored()
        print(json.dumps({"stored": message.message_id.hex()}), flush=True)


async def _shown(me: Client, text: str) -> None:
    """Until somebody's message is there."""

    async def look() -> bool | None:
        return any(message.text == text for message in await me.search(text)) or None

    await me.until(look, None)


async def _conversation(me: Client, title: str) -> Conversation:
    async def look() -> Conversation | None:
        with suppress(PliError):
            return await me.conversation(title)
        return None

    return await me.until(look, None)


async def sending(me: Client) -> None:
    await _say(await me.conversation(TITLE), "Un", "Deux", "Trois")


async def persisting(me: Client) -> None:
    """Twelve messages, however often this is begun again; each is written once."""
    team = await me.conversation(TITLE)
    for number in range(12):
        text = f"Amélie {number}"
        if not any(message.own for message in await me.search(f'"{text}"')):
            await team.send(text)
    await _shown(me, "Bruno 11")
    await me.settled()
    for message in await team.page(limit=200):
        if message.own and message.state == "stored":
            print(json.dumps({"stored": message.message_id.hex()}), flush=True)


async def receiving(me: Client) -> None:
    await _shown(me, "Bruno 2")


async def committing(me: Client) -> None:
    team = await me.conversation(TITLE)
    await team.add(PEOPLE["chloe"].name)
    await team.rename("Relève de nuit")
    await _say(team, "Bienvenue")


async def removing(me: Client) -> None:
    team = await me.conversation(TITLE)
    await team.remove(PEOPLE["bruno"].name)
    await _say(team, "Toute seule")


async def creating(me: Client) -> None:
    names = [PEOPLE[who].name for who in ("bruno", "chloe")]
    await _say(await me.start("Étage 2", names), "Un", "Deux")


async def being_added(me: Client) -> None:
    await _say(await _conversation(me, "Étage 2"), "Me voici")


async def leaving(me: Client) -> None:
    await (await me.conversation(TITLE)).leave()


async def first_sign_in(me: Client) -> None:
    await me.until(me.stocked, None)
    await being_added(me)


async def sending_a_file(me: Client) -> None:
    path = me.vault.folder.parent / "photo.jpg"
    path.write_bytes(bytes(range(256)) * 600)
    await _say(await me.conversation(TITLE), "Une photo", files=[path])


async def attaching(me: Client) -> None:
    await _say(await me.conversation(TITLE), "Pansement refait", record=RECORD)


async def returning(me: Client) -> None:
    """The group's state is lost: another member adds this device again."""
    await _say(await me.conversation(TITLE), "De retour")


async def refounding(me: Client) -> None:
    """The group's state is lost and nobody is there: the conversation is re-founded."""
    await _say(await me.conversation(TITLE), "Nouveau groupe")


async def revocations(me: Client) -> None:
    async def look() -> bool | None:
        known = await me.engine.read(people_store.all_people)
        return any(person.revoked for person in known) or None

    await me.until(look, None)


async def partners(me: Client) -> None:
    """One's own authority signed another establishment."""

    async def look() -> bool | None:
        return bool(await me.partners()) or None

    await me.until(look, None)


async def declarations(me: Client) -> None:
    async def look() -> bool | None:
        return bool(await me.engine.read(_declared)) or None

    await me.until(look, None)


def _declared(db: Database) -> list[Row]:
    return db.execute("SELECT device_id FROM device_revocations").fetchall()


async def filing(me: Client) -> None:
    """The DUI's bot."""
    await DuiBot(me, me.vault.folder.parent / "outbox").run()


Script = Callable[[Client], Awaitable[None]]
SCRIPTS: Final[dict[str, Script]] = {
    script.__name__: script
    for script in (
        sending,
        persisting,
        receiving,
        committing,
        removing,
        creating,
        being_added,
        leaving,
        first_sign_in,
        sending_a_file,
        attaching,
        returning,
        refounding,
        revocations,
        declarations,
        partners,
        filing,
    )
}
