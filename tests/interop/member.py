"""A member of a scenario's group: a client of some driver, which may sleep for a while."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from .process import Caller, Failed

Kind = Literal["application", "proposal", "commit", "removed", "refused"]
Count = Counter[tuple[str, str]]
"""How often something happened, by what it was and the implementation that did it."""


class Disagreement(Exception):
    """Two implementations do not agree."""


@dataclass(frozen=True)
class Letter:
    """An MLSMessage (hex), and what its receiver has to make of it."""

    message: str
    kind: Kind
    plaintext: str = ""
    sender: str = ""


@dataclass(eq=False)
class Member:
    """A client of a driver. Asleep it takes letters, and opens them in order when it wakes."""

    name: str
    driver: Caller
    side: str
    features: dict[str, Any]
    group: str
    asleep: bool = False
    inbox: list[Letter] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.name} ({self.side})"

    @property
    def identity(self) -> str:
        return self.name.encode().hex()

    def can(self, feature: str) -> bool:
        return bool(self.features.get(feature))

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        return self.driver.call(op, client=self.name, **fields)

    def do(self, op: str, **fields: Any) -> dict[str, Any]:
        """An op in the scenario's group."""
        return self.call(op, group=self.group, **fields)

    def take(self, letter: Letter) -> None:
        if self.asleep:
            self.inbox.append(letter)
        else:
            self.open(letter)

    def wake(self) -> None:
        self.asleep = False
        letters, self.inbox = self.inbox, []
        for letter in letters:
            self.open(letter)

    def open(self, letter: Letter) -> None:
        """Process a letter. Raises Disagreement when it is not what the sender meant."""
        try:
            got = self.do("process", message=letter.message)
        except Failed as failed:
            if letter.kind == "refused":
                return
            raise Disagreement(f"{self} refuses a {letter.kind}: {failed}") from failed
        if got["kind"] != letter.kind:
            raise Disagreement(f"{self} takes for {got['kind']} what is {letter.kind}")
        if letter.kind != "application":
            return
        if got["plaintext"] != letter.plaintext:
            raise Disagreement(f"{self} reads {got['plaintext']}, not {letter.plaintext}")
        if self.can("sender") and got["sender"] != letter.sender:
            raise Disagreement(f"{self} names {got['sender']} as the sender")
