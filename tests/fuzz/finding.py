"""An input that went wrong: made as small as it stays wrong, and told so that it can be repeated."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ATTEMPTS = 2000
"""How many smaller inputs are tried."""


@dataclass(frozen=True)
class Finding:
    """What was found; `kind` is crash, timeout, oom, or process (it ended by itself)."""

    target: str
    kind: str
    data: bytes
    told: str

    def __str__(self) -> str:
        """Target, input in hex, what happened."""
        return (
            f"FOUND by {self.target} ({self.kind}), {len(self.data)} bytes: {self.data.hex()}\n"
            f"{self.told}"
        )


def look_at(name: str, artifact: Path) -> Finding:
    """Repeat an input that libFuzzer kept, and make it smaller if it raises."""
    kind, data = artifact.name.partition("-")[0], artifact.read_bytes()
    if kind != "crash":
        return Finding(name, kind, data, "too slow or too large: see tests/fuzz/campaign.py")
    from .targets import make

    run = make(name).run
    first = raised(run, data)
    if first is None:
        return Finding(name, kind, data, "raises nothing when it is repeated")
    small = smaller(data, lambda candidate: raised(run, candidate) == first)
    return Finding(name, kind, small, told(run, small))


def forget_mended(name: str, found: Path) -> None:
    """Remove what an earlier run found and raises nothing any more."""
    artifacts = list(found.glob("crash-*"))
    if artifacts:
        from .targets import make

        run = make(name).run
        for path in artifacts:
            if raised(run, path.read_bytes()) is None:
                path.unlink()


def raised(run: Callable[[bytes], None], data: bytes) -> tuple[str, str, int | None] | None:
    """Which exception, and where; None if there is none."""
    try:
        run(data)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return type(error).__name__, last.filename, last.lineno
    return None


def told(run: Callable[[bytes], None], data: bytes) -> str:
    """The traceback."""
    try:
        run(data)
    except Exception:
        return traceback.format_exc()
    return ""


def smaller(data: bytes, still: Callable[[bytes], bool]) -> bytes:
    """Leave out parts, large ones first, and put zeros, for as long as it stays wrong."""
    left = ATTEMPTS
    size = max(len(data) // 2, 1)
    while size and left > 0:
        at = 0
        while at < len(data) and left > 0:
            left -= 1
            candidate = data[:at] + data[at + size :]
            if still(candidate):
                data = candidate
            else:
                at += size
        size //= 2
    for at, byte in enumerate(data):
        candidate = data[:at] + b"\0" + data[at + 1 :]
        if left > 0 and byte and still(candidate):
            data = candidate
        left -= 1
    return data
