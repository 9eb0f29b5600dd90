"""Running `pli` as people do: real processes, a real relay, an establishment with its issuer."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from pli_client.demo.relay_process import RelayProcess
from pli_client.vault import Kdf, Vault, passphrase

PASSPHRASE: Final = "une phrase pour les essais"
Done = subprocess.CompletedProcess[str]


def environment(lang: str = "en", **env: str) -> dict[str, str]:
    """The surroundings of a command: ours, without what Pli listens to."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PLI_")}
    return {**kept, "PLI_LANG": lang, "PYTHONIOENCODING": "utf-8", **env}


def pli(*arguments: str, lang: str = "en", stdin: str = "", **env: str) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "pli_client", *arguments],
        env=environment(lang, **env),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        start_new_session=True,  # no terminal to ask for a passphrase
    )


def sentence(done: Done) -> str:
    """What went wrong, which is one line, on stderr, and no traceback."""
    assert done.stdout == ""
    return notice(done)


def notice(done: Done) -> str:
    """The one line of stderr."""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


class House:
    """An establishment: relay, administrator, people, each in a folder below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.relay = RelayProcess(root / "relay")
        self.passphrase_file = root / "passphrase"
        self.passphrase_file.write_text(PASSPHRASE + "\n", encoding="utf-8")
        self._serving: subprocess.Popen[bytes] | None = None

    def found(self) -> None:
        """Start the relay, found the establishment, let its issuer serve."""
        code = asyncio.run(self.relay.make())
        self.start_relay()
        founded = self.run(
            "admin", "admin", "init", "--relay", self.relay.url, "--code", code,
            "--name", "EHPAD Les Tilleuls", "--authority-passphrase-file", self._authority(),
        )  # fmt: skip
        assert founded.returncode == 0, founded.stderr
        self._serving = self.background("admin", "admin", "serve")

    def _authority(self) -> str:
        file = self.root / "authority-passphrase"
        file.write_text("celle du coffre-fort\n", encoding="utf-8")
        return str(file)

    def start_relay(self) -> None:
        asyncio.run(self.relay.start())

    def close(self) -> None:
        if self._serving is not None:
            self._serving.terminate()
            self._serving.wait(10)
        self.relay.kill()

    async def _make_vault(self, who: str) -> None:
        cheap = Kdf(memory=8, passes=1, lanes=1)
        await (await Vault.create(self.vault(who), passphrase(PASSPHRASE), kdf=cheap)).close()

    # --- commands -----------------------------------------------------------------------------

    def vault(self, who: str) -> Path:
        return self.root / who

    def options(self, who: str) -> list[str]:
        return ["--vault", str(self.vault(who)), "--passphrase-file", str(self.passphrase_file)]

    def run(self, who: str, *command: str, stdin: str = "", lang: str = "en") -> Done:
        """A command on somebody's vault."""
        return pli(*command, *self.options(who), stdin=stdin, lang=lang)

    def json(self, who: str, *command: str, stdin: str = "") -> list[dict[str, Any]]:
        """The objects that a command prints; it must succeed and print nothing else."""
        done = self.run(who, *command, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def background(self, who: str, *command: str) -> subprocess.Popen[bytes]:
        log = (self.root / f"{who}-background.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "pli_client", *command, *self.options(who)],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def invite(self, name: str, *options: str) -> str:
        (invitation,) = self.json("admin", "admin", "invite", name, *options)
        return str(invitation["code"])

    def enrol(self, who: str, name: str, *options: str) -> dict[str, Any]:
        """Join with an invitation, in a vault that is made beforehand to open quickly."""
        asyncio.run(self._make_vault(who))
        (joined,) = self.json(who, "join", self.invite(name, *options))
        return joined
