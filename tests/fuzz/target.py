"""What a fuzz target is: a function of bytes that may raise the library's own errors and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """One thing to fuzz.

    Attributes:
        run: what is done with an input. It swallows the library's own errors; whatever else it
            raises is a finding.
        seeds: inputs that decode, where the search begins. Made of real values when it starts.
        longest: bytes of the largest input that is tried.

    """

    name: str
    run: Run
    seeds: tuple[bytes, ...]
    longest: int = 16_384


def target(
    name: str,
    run: Run,
    seeds: Iterable[bytes],
    *errors: type[Exception],
    longest: int = 16_384,
) -> Target:
    """A target whose `run` may raise these errors."""

    def swallowing(data: bytes) -> None:
        try:
            run(data)
        except errors:
            return

    return Target(name, swallowing, tuple(dict.fromkeys(seeds)), longest)
