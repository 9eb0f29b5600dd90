"""A real relay as a process on loopback: started, killed, started again on the same folder and port."""

import asyncio
import contextlib
import json
import os
import random
import socket
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pli_server.relay import now_ms

from . import processes

HOST = "127.0.0.1"
READY_SECONDS = 20


class Running(Protocol):
    """A process of either kind."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int:
        """The exit code."""

    def kill(self) -> None: ...
    def terminate(self) -> None: ...


def free_port() -> int:
    """A free port below those that the system gives to outgoing connections."""
    for _ in range(200):
        port = random.randrange(20000, 32000)
        with socket.socket() as tried:
            try:
                tried.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def init(folder: Path) -> str:
    """Make a relay's folder; returns the establishment code."""
    from pli_server import folder as folders
    from pli_server import settings_file

    return folders.make(folder, settings_file.template(HOST, f"{HOST}:0"))


def further_code(folder: Path) -> str:
    """Another establishment code, for a further issuer."""
    from pli_server import folder as folders

    return folders.further_code(folder)


class RelayProcess:
    """The relay of one folder. `forked=False` runs the command as an operator does."""

    def __init__(self, folder: Path, port: int, *, forked: bool = True) -> None:
        self.folder = folder
        self.port = port
        self.forked = forked
        self.output = folder.parent / f"{folder.name}.out"
        self._process: Running | None = None

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def configure(self, line: str, replacement: str) -> None:
        """Change a line of the settings file; holds from the next start."""
        path = self.folder / "relay.toml"
        text = path.read_text(encoding="utf-8")
        assert line in text
        path.write_text(text.replace(line, replacement), encoding="utf-8")

    async def start(self, failpoint: str | None = None, prefix: Sequence[str] = ()) -> None:
        """Start and wait until it listens. `prefix`: a command that runs it (strace …)."""
        assert self._process is None
        self.output.write_bytes(b"")
        if self.forked and not prefix:
            self._process = processes.start(
                serve, str(self.folder), self.port, output=self.output, failpoint=failpoint
            )
        else:
            self._process = await self._command(failpoint, prefix)
        await self._listening()

    async def _command(self, failpoint: str | None, prefix: Sequence[str]) -> Running:
        with self.output.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *prefix,
                *(sys.executable, "-m", "pli_server", "run", str(self.folder), "--json"),
                *("--listen", f"{HOST}:{self.port}"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PLI_FAILPOINT": failpoint or ""},
            )

    async def _listening(self) -> None:
        """Until it says so: a file has no event to wait for."""
        ended = asyncio.ensure_future(self.wait())
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not ended.done():
                    if any(line.get("event") == "listening" for line in self.lines()):
                        return
                    await asyncio.wait([ended], timeout=0.005)
            raise RuntimeError(f"the relay ended with {ended.result()}: {self.printed()}")
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    def printed(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def lines(self) -> list[dict[str, str]]:
        """What it printed as JSON."""
        text = self.printed()
        return [json.loads(line) for line in text.splitlines() if line.startswith('{"event"')]

    async def wait(self) -> int:
        """Until it ends; its exit code (negative: a signal)."""
        assert self._process is not None
        return await self._process.wait()

    async def died(self, timeout: float = READY_SECONDS) -> int:
        """Wait for an end that is expected, and be ready to start again; the exit code."""
        async with asyncio.timeout(timeout):
            code = await self.wait()
        self._process = None
        return code

    async def kill(self) -> None:
        """SIGKILL, as if the machine's power were cut."""
        assert self._process is not None
        self._process.kill()
        assert await self.died() == processes.KILLED

    async def stop(self) -> int:
        """SIGTERM, in order; the exit code. Does nothing when it does not run."""
        if self._process is None:
            return 0
        self._process.terminate()
        return await self.died()

    async def restart(self, failpoint: str | None = None) -> None:
        """Kill and start again."""
        await self.kill()
        await self.start(failpoint)

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Read the relay's database, running or not."""
        connection = sqlite3.connect(self.folder / "relay.db", timeout=10)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def approve(self, account: bytes, device: bytes) -> None:
        """Let a further device sign in, as when a device of the account has linked it."""
        connection = sqlite3.connect(self.folder / "relay.db", timeout=10)
        with contextlib.closing(connection), connection:
            connection.execute(
                """INSERT INTO linkings (request_id, account_no, device_id, created, answered)
                   SELECT ?, no, ?, ?, ? FROM accounts WHERE account = ?""",
                (device, device, now_ms(), now_ms(), account),
            )


def serve(folder: str, port: int) -> None:
    """In the forked process: `pli-server run`."""
    from pli_server.command_line import cli

    cli(["run", folder, "--json", "--listen", f"{HOST}:{port}"])
