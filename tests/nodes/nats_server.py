"""A real nats-server on loopback, a process of its own: killed, stopped, started again empty."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.system.relay_process import HOST, free_port


def program() -> str:
    """The nats-server program: PLI_TEST_NATS names it, or a running server beside an installed one."""
    named = os.environ.get("PLI_TEST_NATS", "")
    return named if named and "://" not in named else shutil.which("nats-server") or "nats-server"


class NatsServer:
    """One server on one port for its whole life."""

    def __init__(self, log: Path, *options: str) -> None:
        self.port = free_port()
        self._log = log
        self._options: Sequence[str] = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [program(), "--addr", HOST, "--port", str(self.port), *self._options],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
