"""The client that is killed in the middle of a file: a process that sends one, or saves one."""

import asyncio
from pathlib import Path

import pli_client

from .actor import QUICK, reconnect_quickly
from .world import PASSPHRASE, TITLE


def send(folder: str, file: str) -> None:
    """The process that sends a file in the conversation of every world."""
    reconnect_quickly()
    asyncio.run(_send(Path(folder), Path(file)))


def save(folder: str, target: str) -> None:
    """The process that saves the last file of that conversation."""
    reconnect_quickly()
    asyncio.run(_save(Path(folder), Path(target)))


async def _send(folder: Path, file: Path) -> None:
    async with pli_client.connect(folder, PASSPHRASE, timing=QUICK) as me:
        conversation = await me.conversation(TITLE)
        await (await conversation.send("Une photo", files=[file])).stored()


async def _save(folder: Path, target: Path) -> None:
    async with pli_client.connect(folder, PASSPHRASE, timing=QUICK) as me:
        await me.online()
        conversation = await me.conversation(TITLE)
        (message,) = [m for m in await conversation.page() if m.files]
        await me.fetch(message.files[0], target)
