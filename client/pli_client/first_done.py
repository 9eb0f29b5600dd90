"""Waiting for whichever of several things happens first."""

import asyncio
from collections.abc import Awaitable


async def first_done(*waits: Awaitable[object]) -> None:
    """Until one of them is done; the others are cancelled, and over when this returns."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
