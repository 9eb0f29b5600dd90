"""The bus between nodes: carries hints to the others, may lose, repeat and reorder them."""

from collections.abc import Callable
from typing import Protocol


class Bus(Protocol):
    """A way to all other nodes. Everything runs on the loop; nothing here waits for the network."""

    @property
    def up(self) -> bool:
        """Hints reach the others, as far as is known: looking by oneself may take its time."""

    def start(self, heard: Callable[[bytes], None], back: Callable[[], None]) -> None:
        """Begin to connect, for ever. `heard` gets what others say; `back`: hints may have been lost."""

    def say(self, data: bytes) -> None:
        """Tell the others, where they can be reached now."""

    async def close(self) -> None: ...


class NoBus:
    """There is none: nobody hears, nobody is told."""

    up = False

    def start(self, heard: Callable[[bytes], None], back: Callable[[], None]) -> None:
        """Nothing to begin."""

    def say(self, data: bytes) -> None:
        """Nobody hears."""

    async def close(self) -> None:
        """Nothing to end."""
