"""A PostgreSQL server of a test's own, to be killed: a cluster in a folder, on loopback."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.system.relay_process import free_port


def programs() -> Path:
    """Where initdb and pg_ctl lie; skips the test where they do not."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = str(found[-1]) if found else shutil.which("initdb")
    if path is None:
        pytest.skip("needs postgresql: initdb is not installed here")
    return Path(path).parent


class PostgreSQLServer:
    """Started by the constructor; `kill` and `start` as often as one likes."""

    def __init__(self) -> None:
        self._programs = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="pli-postgres-"))
        self._data = self._folder / "data"
        self._data.mkdir()
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            self._folder.chmod(0o711)
            shutil.chown(self._data, "postgres")
        self._port = free_port()
        self._call("initdb", "-D", str(self._data), "-U", "pli", "--auth=trust", "--encoding=UTF8")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://pli@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1"
        sockets = f"-c unix_socket_directories={self._data}"
        log = str(self._data / "log")
        self._control("-w", "-l", log, "-o", f"{options} {sockets}", "start")

    def kill(self) -> None:
        """As a crash: nothing is finished or written, every connection is cut."""
        self._control("-m", "immediate", "stop")

    def remove(self) -> None:
        self._control("-m", "immediate", "stop", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _control(self, *arguments: str, check: bool = True) -> None:
        self._call("pg_ctl", "-D", str(self._data), *arguments, check=check)

    def _call(self, program: str, *arguments: str, check: bool = True) -> None:
        as_postgres = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
        subprocess.run(
            (*as_postgres, str(self._programs / program), *arguments),
            check=check,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
