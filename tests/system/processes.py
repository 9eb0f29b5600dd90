"""Real processes for tests, forked from a server that has imported Pli already, so that each costs little.

A process runs one function of a test module. It may be told to kill itself at a fail point.
"""

import asyncio
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from pli_protocol import failpoint as failpoints

PRELOADED: Final = [
    "pytest",
    "tests.faults.victim",
    "uvloop",
    "pli_client",
    "pli_server.process",
    "pli_server.command_line",
    "tests.system.processes",
]
KILLED: Final = -signal.SIGKILL

ROOT: Final = str(Path(__file__).parent.parent.parent)
if ROOT not in sys.path:  # a process finds the function to run by its module's name
    sys.path.append(ROOT)

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


class Process:
    """One process. `output` is the file that holds what it printed (both streams)."""

    def __init__(self, process: BaseProcess, output: Path) -> None:
        self._process = process
        self.output = output

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    async def wait(self) -> int:
        """The exit code; negative where a signal ended it."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL; call `wait` after it."""
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def printed(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")


def start(
    target: Callable[..., Any], *arguments: Any, output: Path, failpoint: str | None = None
) -> Process:
    """Run a module's function in a process of its own, with a fail point armed or none."""
    process = _context.Process(target=_run, args=(target, arguments, str(output), failpoint or ""))
    process.start()
    return Process(process, output)


def _run(
    target: Callable[..., Any], arguments: tuple[Any, ...], output: str, failpoint: str
) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["PLI_FAILPOINT"] = failpoint
    known = failpoints.declared()
    # The server that this was forked from had read the variable already.
    importlib.reload(failpoints)
    failpoints.declare(*known)
    target(*arguments)
