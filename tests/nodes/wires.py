"""A bus whose hints the test carries: lost, twice, in another order, altered."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Wire:
    """One hint on its way to one node."""

    data: bytes
    hear: Callable[[bytes], None]


class Wires:
    """All ends of one bus."""

    def __init__(self, carry: Callable[[Wire], None]) -> None:
        self._carry = carry
        self._ends: list[End] = []

    def end(self) -> "End":
        self._ends.append(End(self))
        return self._ends[-1]

    def said(self, by: "End", data: bytes) -> None:
        for end in self._ends:
            if end is not by and end.heard is not None:
                self._carry(Wire(data, end.heard))


class End:
    """A `Bus`."""

    up = True

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self.heard: Callable[[bytes], None] | None = None

    def start(self, heard: Callable[[bytes], None], back: Callable[[], None]) -> None:
        self.heard = heard
        back()

    def say(self, data: bytes) -> None:
        self._wires.said(self, data)

    async def close(self) -> None:
        self.heard = None


@dataclass
class Disorder:
    """Loses some, repeats some, holds some back and lets them out later in any order."""

    random: random.Random
    held: list[Wire] = field(default_factory=list)

    def __call__(self, wire: Wire) -> None:
        chance = self.random.random()
        if chance < 0.3:
            return
        if chance < 0.7:
            self.held.append(wire)
        else:
            wire.hear(wire.data)
        if chance > 0.9:
            wire.hear(wire.data)
        if len(self.held) > 3:
            self.random.shuffle(self.held)
            for each in self.held:
                each.hear(each.data)
            self.held.clear()
