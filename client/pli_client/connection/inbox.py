"""Pushes that wait for their handler, in order and bounded."""

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar

from pli_protocol.relay.frames import WINDOW

T = TypeVar("T")

FEW: Final = WINDOW + 32
"""So many pushes may wait before the socket is no longer read.

A relay pushes at most WINDOW rows ahead of the acknowledgements, which is what holds it back while
the handler is busy. One that keeps to it is always read, so that its pings are answered.
"""

MANY: Final = 2 * WINDOW
"""No relay of this protocol pushes so much ahead."""


class InboxOverflow(Exception):
    """More pushes wait than a relay of this protocol can have sent."""


class Inbox(Generic[T]):
    """A queue whose reader may make its writer wait.

    The writer stops at FEW, but not while an answer is awaited: the handler may be the one that
    waits for it, and the answer comes behind the pushes.
    """

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._answers_awaited = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, push: T) -> None:
        """Raises InboxOverflow."""
        if len(self._waiting) >= MANY:
            raise InboxOverflow
        self._waiting.append(push)
        self._update()

    @property
    def has_room(self) -> bool:
        """There is reason to read on."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until there is reason to read on."""
        await self._room.wait()

    async def get(self) -> T:
        """The next push; waits for one."""
        while not self._waiting:  # what came may be forgotten before its waiter has its turn
            await self._something.wait()
        push = self._waiting.popleft()
        self._update()
        return push

    def clear(self) -> None:
        """Forget what waits: the relay will push again what is not acknowledged."""
        self._waiting.clear()
        self._update()

    def answer_awaited(self, change: int) -> None:
        """One request more (1) or less (-1) waits for its answer."""
        self._answers_awaited += change
        self._update()

    def _update(self) -> None:
        _set(self._something, bool(self._waiting))
        _set(self._room, len(self._waiting) < FEW or self._answers_awaited > 0)


def _set(event: asyncio.Event, value: bool) -> None:
    if value:
        event.set()
    else:
        event.clear()
