"""Pushes that wait: forgotten with their connection, and the next connection's are handled all the same."""

import asyncio

from pli_client.connection.inbox import Inbox


async def test_whoever_waits_for_a_push_outlasts_one_that_is_forgotten_at_once() -> None:
    """The connection ends in the turn in which a push came: its handler must not end with it."""
    inbox: Inbox[int] = Inbox()
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put(1)
    inbox.clear()
    await asyncio.sleep(0)
    inbox.put(2)
    assert await waiting == 2
