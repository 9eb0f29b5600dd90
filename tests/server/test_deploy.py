"""What a host installs: systemd units that are hardened and start what there is, a sound Containerfile."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from pli_server.command_line import cli
from pli_server.errors import EXIT_STORAGE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "pli-server.service"
CONTAINERFILE = DEPLOY / "Containerfile"
EXPOSURE = 2.0
"""Of 10; `systemd-analyze security` says OK below 5."""

INSTRUCTIONS = {
    *("FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"),
    *("HEALTHCHECK", "ENTRYPOINT", "CMD"),
}


class Unit(configparser.RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


def unit(path: Path) -> Unit:
    parsed = Unit(strict=False)
    parsed.read_string(path.read_text())
    return parsed


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.service")), ids=lambda path: path.name)
def test_a_unit_starts_a_command_that_there_is(path: Path) -> None:
    program, *arguments = shlex.split(unit(path)["Service"]["ExecStart"])
    assert (
        Path(program).name
        in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    )
    result = CliRunner().invoke(cli, [arguments[0], "--help"])
    assert result.exit_code == 0
    for option in arguments[1:]:
        assert option == "/var/lib/pli" or option in result.stdout


def test_the_relays_unit_fits_what_the_relay_does() -> None:
    service = unit(UNIT)["Service"]
    assert service["Type"] == "notify"
    assert service["RestartPreventExitStatus"] == str(EXIT_STORAGE)
    assert service["User"] == "pli"
    # A migration must not be killed half way, again and again.
    assert service["TimeoutStartSec"] == "infinity"
    assert int(service["LimitNOFILE"]) > 10_000
    from pli_server import process
    from pli_server.listener import ANSWER_SECONDS, STOP_SECONDS

    longest = ANSWER_SECONDS + STOP_SECONDS + process.WRITE_SECONDS
    assert int(service["TimeoutStopSec"]) > longest


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_the_relays_unit_hardened() -> None:
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "offline" in said.stderr:
        pytest.skip("this systemd-analyze is too old for --offline")
    level = re.search(r"exposure level for \S+: ([\d.]+)", said.stdout)
    assert level is not None, said.stderr
    assert float(level[1]) <= EXPOSURE


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if line.strip()]
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in lines if not line.startswith("#"))
    ]


def test_the_container_is_built_from_what_there_is_and_runs_as_nobody_special() -> None:
    found = instructions()
    assert {word for word, _ in found} <= INSTRUCTIONS
    for word, rest in found:
        *sources, _ = rest.split()
        if word == "COPY" and not rest.startswith("--from=build"):
            assert all((ROOT / source).exists() for source in sources), rest
    last = dict(found)
    assert int(last["USER"]) > 0
    # As the packages are declared, and what the build's metadata reads.
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {declared["project"]["readme"], *declared["project"]["license-files"]}
    packages = declared["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = " ".join(rest for word, rest in found if word == "COPY").split()
    assert needed <= set(copied)
    assert {package.partition("/")[0] for package in packages} <= set(copied)


def test_the_container_starts_and_asks_for_commands_that_there_are() -> None:
    last = dict(instructions())
    assert json.loads(last["ENTRYPOINT"]) == ["pli-server"]
    started = json.loads(last["CMD"])
    asked = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
    assert asked[0] == "pli-server"
    for command in (started[0], asked[1]):
        assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0
    assert last["VOLUME"] == started[1] == asked[2]


def test_the_healthcheck_fails_without_a_relay(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pli_server", "status", str(tmp_path), "--json"],
        capture_output=True,
        check=False,
    )
    assert result.returncode == 1
