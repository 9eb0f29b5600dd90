"""Several people of a world, connected by the SDK."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pli_client
from pli_client import Client, Conversation, StoredMessage

from .actor import QUICK
from .world import PASSPHRASE, PATIENCE, PEOPLE, World


@asynccontextmanager
async def together(world: World, *who: str, **options: Any) -> AsyncIterator[list[Client]]:
    """These people, connected; the relay is started where it does not run."""
    if not world.relay.running:
        await world.relay.start()
    options.setdefault("timing", QUICK)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                pli_client.connect(world.vault(name), PASSPHRASE, **options)
            )
            for name in who
        ]
        for client in clients:
            await client.online(PATIENCE)
            await client.until(client.stocked, PATIENCE)
        yield clients


async def settle(*clients: Client) -> None:
    """Until everybody has everything; twice, since one's settling may give another something to do."""
    for _ in range(2):
        for client in clients:
            await client.settled(PATIENCE)


async def posts(conversation: Conversation) -> list[str]:
    """What a person reads in it."""
    return [m.text for m in await conversation.page() if m.kind == "post"]


async def history(conversation: Conversation) -> list[StoredMessage]:
    return await conversation.page(everything=True)


def names(*who: str) -> list[str]:
    """The full names of people of the world, sorted."""
    return sorted(PEOPLE[name].name for name in who)


async def member_names(conversation: Conversation) -> list[str]:
    return sorted(member.person.name for member in await conversation.members())
