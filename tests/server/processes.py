"""A relay as a process of its own, as an operator starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Self


class RelayProcess:
    """`python -m pli_server run FOLDER --json`, ready when this returns."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    def start(
        cls, folder: Path, *, failpoint: str | None = None, listen: str | None = None
    ) -> Self:
        environment = {**os.environ}
        environment.pop("PLI_FAILPOINT", None)
        if failpoint is not None:
            environment["PLI_FAILPOINT"] = failpoint
        command = [sys.executable, "-m", "pli_server", "run", str(folder), "--json"]
        if listen is not None:
            command += ["--listen", listen]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            _, error = process.communicate()
            raise RuntimeError(f"the relay did not start: {error}")
        return cls(process, json.loads(line)["url"])

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> tuple[int, str]:
        """SIGTERM; returns the exit code and what was logged."""
        self.process.terminate()
        _, error = self.process.communicate(timeout=30)
        return self.process.returncode, error


def make_folder(folder: Path) -> str:
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
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return str(json.loads(made.stdout)["code"])
