"""A relay as a process of its own, as an operator starts it."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self


class RelayProcess:
    """`python -m pli_server run FOLDER --json`, ready when this returns."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, address: str = "") -> None:
        self.process = process
        self.url = url
        self.address = address
        """What its clients are given."""
        self.log: Path | None = None
        """Where its log is, if it is not kept in a pipe (64 KiB at most)."""

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        failpoint: str | None = None,
        listen: str | None = None,
        log: Path | None = None,
    ) -> Self:
        environment = {**os.environ}
        environment.pop("PLI_FAILPOINT", None)
        if failpoint is not None:
            environment["PLI_FAILPOINT"] = failpoint
        command = [sys.executable, "-m", "pli_server", "run", str(folder), "--json"]
        if listen is not None:
            command += ["--listen", listen]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if log is None else log.open("w"),
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            _, error = process.communicate()
            raise RuntimeError(f"the relay did not start: {error}")
        said = json.loads(line)
        relay = cls(process, said["url"], said["address"])
        relay.log = log
        return relay

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> tuple[int, str]:
        """SIGTERM; returns the exit code and what was logged."""
        self.process.terminate()
        _, error = self.process.communicate(timeout=30)
        return self.process.returncode, error if self.log is None else self.log.read_text()


def make_folder(folder: Path, *options: str) -> str:
    """`pli-server init`; returns the establishment code."""
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "pli_server",
            "init",
            str(folder),
            "--listen",
            "127.0.0.1:0",
            "--json",
            *options,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return str(json.loads(made.stdout)["code"])


class ForkedRelay:
    """The same relay in a process forked from a prepared one, so that starting costs milliseconds."""

    def __init__(self, folder: Path, failpoint: str | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.server.processes", "pli_server.process"])
        receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_serve_forked, args=(str(folder), failpoint, sender), daemon=True
        )
        self.process.start()
        sender.close()
        try:
            self.url: str | None = receiver.recv()
        except EOFError:
            self.url = None

    def wait(self) -> int | None:
        """Wait for its end; the exit code, -9 after SIGKILL."""
        self.process.join(30)
        return self.process.exitcode

    def stop(self) -> int | None:
        """SIGTERM."""
        if self.process.is_alive():
            self.process.terminate()
        return self.wait()


def _serve_forked(folder: str, armed: str | None, sender: Any) -> None:
    import asyncio

    from pli_protocol import failpoint
    from pli_server import process, settings

    if armed is not None:
        failpoint._armed, failpoint._left = failpoint._parse(armed)
    code = asyncio.run(process.serve(Path(folder), settings.load(Path(folder)), sender.send))
    os._exit(code)
