"""What a check finds, and what it may look at."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from ..settings import Settings
from ..storage.faults import describe

State = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """One line."""

    check: str
    state: State
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Situation:
    """A relay's folder as it is now."""

    folder: Path
    settings: Settings
    running: dict[str, Any] | None
    """What the running relay told about itself (folder.running); None: none runs."""


Check = Callable[[Situation], Iterable[Finding]]


def ok(check: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", text)


def warn(check: str, text: str, remedy: str) -> Finding:
    """The relay serves, but not for ever."""
    return Finding(check, "warn", text, remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    """The relay does not serve, or must not."""
    return Finding(check, "fail", text, remedy)


def examine(checks: Iterable[Check], situation: Situation) -> Iterable[Finding]:
    """All findings in order; a check that stumbles is a finding itself."""
    for check in checks:
        try:
            yield from check(situation)
        except Exception as error:
            name = check.__name__.replace("_", " ")
            yield fail(name, f"could not be checked: {describe(error)}", "see what stands before")
