"""A driver in a process of its own, spoken to line by line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

ROOT = Path(__file__).parents[2]
OURS = (sys.executable, "-m", "tests.interop.driver")
MLS_RS = (sys.executable, "-m", "tests.interop.mls_rs_peer")


class Caller(Protocol):
    """Whoever carries out ops: a driver's process, or in tests something in its place."""

    def call(self, op: str, **fields: Any) -> dict[str, Any]: ...


class Failed(Exception):
    """The driver answered `ok: false`."""

    def __init__(self, op: str, reply: dict[str, Any]) -> None:
        super().__init__(f"{op}: {reply.get('error', 'no reason given')}")
        self.reply = reply


class Died(Exception):
    """The driver's process ended without a reply."""


class DriverProcess:
    """One driver; `call` sends a request and waits for its reply."""

    def __init__(self, command: Sequence[str] = OURS) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        code = self.end()
        if kind is None and code != 0:
            raise Died(f"exit code {code}")

    def end(self) -> int:
        """End its input, and return its exit code."""
        self._process.communicate()
        return self._process.returncode

    def line(self, text: bytes) -> dict[str, Any]:
        """Send a line as it is, and return the reply. Raises Died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise Died(f"exit code {self._process.wait()}, after {text[:200]!r}")
        reply = json.loads(answer)
        assert isinstance(reply, dict)
        return reply

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        """Run an op. Raises Failed when the driver says so."""
        self._count += 1
        reply = self.line(json.dumps({"id": self._count, "op": op, **fields}).encode())
        assert reply["id"] == self._count
        assert isinstance(reply["us"], int)
        if reply["ok"] is not True:
            raise Failed(op, reply)
        return reply


@contextmanager
def two_drivers(*, live: bool) -> Iterator[list[DriverProcess]]:
    """One of ours beside mls-rs, or (not live) two of ours."""
    with DriverProcess(OURS) as ours, DriverProcess(MLS_RS if live else OURS) as other:
        yield [ours, other]
