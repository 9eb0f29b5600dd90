"""The commands `audit verify`, `audit export`, `audit head`, `audit check`."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import sqlalchemy as sa

from pli_protocol.identity import IdentityError
from pli_protocol.transparency import HeadFile, head_code, verify_head

from .. import settings as setting
from ..backup.dump import begin_snapshot, end_snapshot
from ..command_options import FOLDER, JSON, one_sentence
from ..errors import OperatorError
from ..relay import now_ms
from ..settings import Settings
from ..storage import database, timelines
from . import exporting, fhir, heads, log_key, reading
from .acts import Act
from .trail import record
from .verifying import Report, verify

T = TypeVar("T")

EXIT_UNSOUND: Final = 4
"""The log was read, and something in it is wrong."""

DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
_FILE = click.Path(dir_okay=False, path_type=Path)
OUT = click.option("--out", type=_FILE, help="Write to a new file instead of standard output.")


@click.group("audit")
def audit() -> None:
    """The trace of a relay: verify it, export it, hand its head to a witness, check a head."""


@audit.command("verify")
@FOLDER
@JSON
@one_sentence
def verify_command(folder: Path, as_json: bool) -> None:
    """Compute the log of FOLDER anew and compare everything that is kept; also while the relay runs.

    Exit code 0: whole. 4: something is not as it should be; each fault is one line.
    """
    settings = setting.load(folder)

    def work(db: sa.Connection) -> Report:
        key = log_key.of_relay(folder, db)
        begin_snapshot(db)
        try:
            return verify(db, settings.name, key.public, now_ms(), _progress(as_json))
        finally:
            end_snapshot(db)

    report = _on(folder, settings, work)
    _show_report(report, as_json)
    if not report.good:
        raise SystemExit(EXIT_UNSOUND)


def _show_report(report: Report, as_json: bool) -> None:
    counts = {
        name: getattr(report, name)
        for name in ("entries", "bodies_gone", "nodes", "heads", "rows", "rows_before")
    }
    if as_json:
        shown = {"event": "audit-verified", "good": report.good, **counts}
        click.echo(json.dumps({**shown, "faults": report.faults, "further": report.further}))
        return
    for text in report.faults:
        click.echo(f"pli-server: {text}", err=True)
    if report.further:
        click.echo(f"pli-server: and {report.further} faults more", err=True)
    verdict = "Whole" if report.good else "NOT whole"
    click.echo(
        f"{verdict}: {report.entries} entries ({report.bodies_gone} bodies gone by retention),"
        f" {report.nodes} nodes, {report.heads} signed heads, {report.rows} rows"
    )


@audit.command("export")
@FOLDER
@click.option("--establishment", required=True, help="Its name, or the beginning of its id.")
@click.option("--from", "begin", required=True, type=DAY, help="First day, or moment (UTC).")
@click.option("--to", "end", required=True, type=DAY, help="Day, or moment, before which it ends.")
@click.option("--format", "kind", type=click.Choice(["fhir", "jsonl"]), default="jsonl")
@OUT
@one_sentence
def export(
    folder: Path, establishment: str, begin: datetime, end: datetime, kind: str, out: Path | None
) -> None:
    """Export what the trace of FOLDER has of one establishment in a period; this is traced itself.

    One line each: an event as JSON (jsonl), or a FHIR Bundle of up to 500 AuditEvents (fhir).
    """
    settings = setting.load(folder)
    first, last = (int(day.replace(tzinfo=UTC).timestamp() * 1000) for day in (begin, end))

    def work(db: sa.Connection) -> int:
        who = exporting.find_establishment(db, establishment)
        with database.writing(db):
            now, timeline = now_ms(), timelines.current(db)
            record(db, now, timeline, Act.AUDIT_READ, who, what="export", begin=first, end=last)
        return _write(exporting.events(db, who, first, last), kind, settings.name, out)

    count = _on(folder, settings, work)
    click.echo(f"{count} events exported", err=True)


def _write(events: Iterator[exporting.Event], kind: str, relay: str, out: Path | None) -> int:
    count = 0

    def counted() -> Iterator[exporting.Event]:
        nonlocal count
        for event in events:
            count += 1
            yield event

    lines = fhir.bundles(counted(), relay) if kind == "fhir" else (e.line() for e in counted())
    with _opened(out) as write:
        for line in lines:
            write(line + "\n")
    return count


class _opened:
    """Standard output, or a new file for its owner only."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else path.open("x", encoding="utf-8")

    def __enter__(self) -> Callable[[str], Any]:
        if self._file is None:
            return sys.stdout.write
        Path(self._file.name).chmod(0o600)
        return self._file.write

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


@audit.command("head")
@FOLDER
@OUT
@JSON
@one_sentence
def head(folder: Path, out: Path | None, as_json: bool) -> None:
    """Sign the newest head of FOLDER's log, for an outside witness: a file, and a code to print."""
    settings = setting.load(folder)

    def work(db: sa.Connection) -> HeadFile:
        key = log_key.of_relay(folder, db)
        timeline = timelines.current(db)
        signer = heads.HeadSigner(settings.name, key)
        signed = signer.sign(timeline, reading.tree(db, timeline), now_ms())
        with database.writing(db):
            heads.keep(db, signed)
        return HeadFile(settings.name, key.public, signed)

    found = _on(folder, settings, work)
    text, code = found.encode(), head_code(found.signed.head)
    if out is not None:
        with _opened(out) as write:
            write(text)
    if as_json:
        click.echo(json.dumps({"event": "audit-head", "code": code, **json.loads(text)}))
    elif out is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"Head of {found.signed.head.size} entries: {code}")


@audit.command("check")
@FOLDER
@click.argument("head_file", type=_FILE)
@JSON
@one_sentence
def check(folder: Path, head_file: Path, as_json: bool) -> None:
    """Say whether FOLDER's log still holds what it held at the head in HEAD_FILE.

    Exit code 0: it does. 4: it does not, or the head is none of this relay's.
    """
    settings = setting.load(folder)
    given = read_head_file(head_file)
    fault = _on(folder, settings, lambda db: _compare(db, folder, settings, given))
    code = head_code(given.signed.head)
    if as_json:
        click.echo(json.dumps({"event": "audit-checked", "good": fault is None, "code": code}))
    else:
        click.echo(f"The log holds all of {code}" if fault is None else f"NOT whole: {fault}")
    if fault is not None:
        raise SystemExit(EXIT_UNSOUND)


def read_head_file(path: Path) -> HeadFile:
    """Raises OperatorError where it is no head."""
    try:
        return HeadFile.decode(path.read_text(encoding="utf-8"))
    except ValueError:
        raise OperatorError(f"{path} is no head of an audit log; ask for the file again") from None


def _compare(db: sa.Connection, folder: Path, settings: Settings, given: HeadFile) -> str | None:
    key = log_key.of_relay(folder, db)
    try:
        told = verify_head(settings.name, given.signed, key.public)
    except IdentityError:
        return "this relay's log key did not sign it"
    size = reading.tree(db, told.timeline).size
    if told.size > size:
        return f"the log of timeline {told.timeline} has {size} entries, the head {told.size}"
    try:
        root = reading.root_at(db, told.timeline, told.size)
    except LookupError:
        return "a part of the tree is missing; see: pli-server audit verify"
    return None if root == told.root else "the log's content was another when it was signed"


def _on(folder: Path, settings: Settings, work: Callable[[sa.Connection], T]) -> T:
    return database.at_once(database.open_database(folder, settings.database_url), work)


def _progress(as_json: bool) -> Callable[[str, int, int], None]:
    """A line on standard error that is written over, where somebody looks."""
    if as_json or not sys.stderr.isatty():
        return lambda what, done, whole: None

    def show(what: str, done: int, whole: int) -> None:
        end = "\n" if done >= whole else ""
        click.echo(f"\r{what}: {done} of {whole}  {end}", err=True, nl=False)

    return show
