"""`pli-server doctor` and `pli-server status`."""

import json
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from .. import folder as folders
from .. import settings as setting
from ..errors import EXIT_REFUSED, OperatorError
from . import keeping, machine, network, storage
from .figures import Figures, read
from .findings import Check, Finding, Situation, examine, fail, ok

QUICK: Final[tuple[Check, ...]] = (
    machine.permissions,
    machine.disk_space,
    machine.flushes,
    machine.open_files,
    machine.memory,
    network.certificate,
    network.proxy,
    network.port,
    network.figures,
    network.bus,
    storage.schema,
    storage.clock,
    keeping.backup,
    keeping.trace,
)
LONG: Final[tuple[Check, ...]] = (storage.integrity, storage.blobs)
"""These read everything: minutes, where there is much."""

COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


def diagnose(folder: Path, *, quick: bool) -> Iterator[Finding]:
    """All findings about a relay's folder."""
    try:
        settings = setting.load(folder)
    except OperatorError as error:
        yield fail("settings", str(error), "nothing else was checked")
        return
    yield ok("settings", str(folder / setting.FILE_NAME))
    situation = Situation(folder, settings, folders.running(folder))
    yield from examine(QUICK if quick else (*QUICK, *LONG), situation)


def doctor(folder: Path, quick: bool, as_json: bool) -> int:
    """Show the findings; returns the exit code."""
    # What the checks call may log; the findings say it better.
    logging.getLogger("pli_server").addHandler(logging.NullHandler())
    found = []
    for finding in diagnose(folder, quick=quick):
        found.append(finding)
        if not as_json:
            _show(finding)
    failed = any(finding.state == "fail" for finding in found)
    if as_json:
        shown = [msgspec.to_builtins(finding) for finding in found]
        click.echo(json.dumps({"event": "doctor", "healthy": not failed, "checks": shown}))
    return EXIT_REFUSED if failed else 0


def _show(finding: Finding) -> None:
    state = click.style(f"{finding.state:<5}", fg=COLOURS[finding.state])
    click.echo(f"{state} {finding.check:<12} {finding.text}")
    if finding.remedy:
        click.echo(f"{'':<5} {'':<12} -> {finding.remedy}")


def status(folder: Path, as_json: bool) -> None:
    """Show how the relay that runs on the folder does; raises OperatorError where none answers."""
    setting.load(folder)
    running = folders.running(folder)
    if running is None:
        raise OperatorError(f"no relay runs on {folder}; start it with: pli-server run {folder}")
    url = running.get("metrics")
    if url is None:
        raise OperatorError("the relay has no port for its figures; see [metrics] in relay.toml")
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            figures = read(answer.read().decode())
    except OSError:
        raise OperatorError(
            f"the relay does not answer at {url}; ask: pli-server doctor {folder}"
        ) from None
    if as_json:
        click.echo(json.dumps({"event": "status", **msgspec.to_builtins(figures)}))
    else:
        _table(figures, running)


def _table(figures: Figures, running: dict[str, Any]) -> None:
    click.echo(f"relay      {running.get('url', 'starting')}, process {running.get('pid')}")
    for name, text in figures.lines():
        click.echo(f"{name:<10} {text}")
