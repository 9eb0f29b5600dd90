"""The demonstration's relay: a process of its own, known only by its commands, address and files."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from ..errors import PliError
from ..i18n import N_

STARTING: Final = 20.0
"""Seconds that a relay may take to say where it listens."""

_LOOK_AGAIN: Final = 0.02


class RelayFailed(PliError):
    code = "demo-relay"
    CAUSE = N_("The demonstration's relay does not start: %(reason)s.")
    REMEDY = N_("Its log is in %(log)s.")


class RelayProcess:
    """`python -m pli_server` on a free loopback port; what it prints goes into `folder` too.

    The log lies among the relay's files, so that a search of these finds what it should not say.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def make(self) -> str:
        """Make the relay's folder; the one-time code for an establishment."""
        made = await asyncio.create_subprocess_exec(
            *_command("init", str(self.folder), "--listen", "127.0.0.1:0", "--json"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, error = await made.communicate()
        if made.returncode:
            raise RelayFailed(reason=_last_line(error.decode("utf-8", "replace")), log=self.folder)
        return str(json.loads(out)["code"])

    async def start(self) -> None:
        """Start it, again on the port it had, and wait until it listens."""
        self._starts += 1
        said, log = self.folder / f"started-{self._starts}.out", self.folder / "relay.log"
        self._spawn(said, log)
        try:
            async with asyncio.timeout(STARTING):
                self.url = await self._url(said)
        except TimeoutError:
            self.kill()
            raise RelayFailed(reason=f"{STARTING:.0f} s", log=log) from None

    def _spawn(self, said: Path, log: Path) -> None:
        listen = self.url.partition("://")[2] or "127.0.0.1:0"
        with said.open("wb") as out, log.open("ab") as err:
            # No pipes: the relay may outlive this process (--keep), and Ctrl-C is for us alone.
            self._process = subprocess.Popen(
                _command("run", str(self.folder), "--listen", listen, "--json"),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                **_own_group(),
            )

    async def _url(self, said: Path) -> str:
        while True:
            text = _text(said)
            if "\n" in text:
                return str(json.loads(text.splitlines()[0])["url"])
            if not self.running:
                log = self.folder / "relay.log"
                raise RelayFailed(reason=_last_line(_text(log)), log=log)
            await asyncio.sleep(_LOOK_AGAIN)

    def kill(self) -> None:
        """SIGKILL: the process has no time for a last word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        """Ask it to end, and wait."""
        if self._process is None or not self.running:
            return
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, 10)
        except subprocess.TimeoutExpired:
            self.kill()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pli_server", *arguments]


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "?"
