"""The commands `backup-key`, `backup`, `backup verify`, `restore` and `new-timeline`."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from pli_protocol.secret import Secret

from .. import folder as folders
from .. import settings as setting
from ..command_options import FOLDER, JSON, one_sentence
from ..errors import OperatorError
from ..relay import now_ms
from . import keys, making, restoring
from .archive import Manifest

EXIT_UNSOUND: Final = 4
"""`backup verify`: the archive was read, and what is in it is not whole."""

_FILE = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)
KEY = click.option("--key", required=True, type=_FILE, help="The private key's file.")
PASSPHRASE = click.option(
    "--passphrase-file", type=_FILE, help="Holds the key's passphrase, instead of asking for it."
)


class _MakesByDefault(click.Group):
    """`backup FOLDER` makes a backup; `backup verify ARCHIVE` is a command of its own."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["make", *args]
        return super().resolve_command(ctx, args)


@click.command("backup-key")
@click.argument("file", type=_FILE)
@click.option("--passphrase", is_flag=True, help="Seal the file under a passphrase, asked for.")
@PASSPHRASE
@JSON
@one_sentence
def backup_key(file: Path, passphrase: bool, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a key pair for backups: the private key goes to FILE, the public one is printed.

    Keep FILE away from the relay (and a copy in a safe): whoever has it reads the backups, and without
    it nobody restores them.
    """
    secret = None
    if passphrase or passphrase_file is not None:
        secret = _passphrase(passphrase_file, confirm=True)
    public = keys.make(file, secret)
    if as_json:
        click.echo(json.dumps({"event": "backup-key", "file": str(file), "key": public}))
        return
    click.echo(f"Private key: {file}. Keep it away from the relay, and a copy in a safe.")
    click.echo(f'Public key, for [backup] in {setting.FILE_NAME}:\nkey = "{public}"')


@click.group("backup", cls=_MakesByDefault)
def backup() -> None:
    """Back up the relay of a FOLDER, or verify a backup: backup FOLDER, backup verify ARCHIVE."""


@backup.command("make")
@FOLDER
@click.option("--to", type=_DIRECTORY, help="Folder for the archive; by default that of [backup].")
@click.option("--public-key", help="The key to seal it to; by default that of [backup].")
@JSON
@one_sentence
def make(folder: Path, to: Path | None, public_key: str | None, as_json: bool) -> None:
    """Back up the relay of FOLDER, which may run: one archive, sealed to the public key.

    `backup FOLDER` means the same. Older backups than `keep` of [backup] are removed from its own
    directory only.
    """
    settings = setting.load(folder)
    text = public_key or settings.backup.key
    if text is None:
        raise OperatorError("there is no key to seal it to; make one with: pli-server backup-key")
    own = None if settings.backup.directory is None else Path(settings.backup.directory)
    target = to or own
    if target is None:
        raise OperatorError("where to? Give --to, or set `directory` in [backup]")
    key = keys.parse_public(text)
    made = making.make(folder, settings, target, key, now_ms(), _progress(as_json))
    if to is None:
        making.keep_newest(target, settings.name, settings.backup.keep, now_ms())
    shown = {"event": "backup", "archive": str(made.path), "size": made.size}
    if as_json:
        click.echo(json.dumps({**shown, **_facts(made.manifest)}))
    else:
        click.echo(f"Backup made: {made.path} ({_bytes(made.size)}; {_counts(made.manifest)})")


@backup.command("verify")
@click.argument("archive", type=_FILE)
@KEY
@PASSPHRASE
@click.option("--scratch", type=_DIRECTORY, help="Where to restore it for the check.")
@JSON
@one_sentence
def verify(
    archive: Path, key: Path, passphrase_file: Path | None, scratch: Path | None, as_json: bool
) -> None:
    """Restore ARCHIVE into a scratch folder, check everything in it, and remove it again.

    Exit code 0: it can be restored. 1: it cannot be read. 4: it was read, and something in it is wrong.
    """
    private = _private_key(key, passphrase_file)
    found = restoring.verify(archive, private, scratch, _progress(as_json))
    good = not found.problems
    if as_json:
        shown = {"event": "verified", "archive": str(archive), "good": good}
        click.echo(json.dumps({**shown, "problems": found.problems, **_facts(found.manifest)}))
    else:
        for problem in found.problems:
            click.echo(f"pli-server: {problem}", err=True)
        if good:
            click.echo(f"Good: of {_moment(found.manifest.made)}, {_counts(found.manifest)}")
    if not good:
        raise SystemExit(EXIT_UNSOUND)


@click.command()
@click.argument("archive", type=_FILE)
@KEY
@PASSPHRASE
@click.option("--to", required=True, type=_DIRECTORY, help="A new or empty folder.")
@click.option(
    "--database-url", help="An empty PostgreSQL database; with a password, as PLI_DATABASE_URL."
)
@JSON
@one_sentence
def restore(
    archive: Path,
    key: Path,
    passphrase_file: Path | None,
    to: Path,
    database_url: str | None,
    as_json: bool,
) -> None:
    """Restore ARCHIVE into a new folder, in a new timeline: clients then bring what it lacks.

    Into a file there, or into an empty PostgreSQL database, whichever the archive is of.
    """
    private, url = _private_key(key, passphrase_file), setting.database_url(database_url)
    manifest, timeline = restoring.restore(archive, private, to, now_ms(), _progress(as_json), url)
    if setting.load(to).database_url != url:
        click.echo(
            "pli-server: the database that relay.toml or PLI_DATABASE_URL names is not the one that was "
            "restored into; set `database_url` before you start the relay",
            err=True,
        )
    if as_json:
        shown = {"event": "restored", "folder": str(to), "new_timeline": timeline}
        click.echo(json.dumps({**shown, **_facts(manifest)}))
        return
    click.echo(f"Restored into {to}: the relay of {_moment(manifest.made)}, {_counts(manifest)}")
    click.echo(f"Start it with: pli-server run {to}")


@click.command("new-timeline")
@FOLDER
@JSON
@one_sentence
def new_timeline(folder: Path, as_json: bool) -> None:
    """Begin a new timeline in FOLDER, whose relay is stopped, after its database was set back by other
    means than `restore` (a snapshot of the machine, PostgreSQL's own recovery)."""
    settings = setting.load(folder)
    with folders.locked(folder):
        timeline = restoring.begin_timeline(folder, now_ms(), settings.database_url)
    shown = {"event": "new-timeline", "new_timeline": timeline}
    click.echo(json.dumps(shown) if as_json else f"A new timeline begins: {timeline}")


COMMANDS: Final = (backup_key, backup, restore, new_timeline)


def _private_key(path: Path, passphrase_file: Path | None) -> Any:
    sealed = keys.is_sealed(path)
    return keys.load(path, _passphrase(passphrase_file, confirm=False) if sealed else None)


def _passphrase(path: Path | None, *, confirm: bool) -> Secret:
    if path is None:
        text = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    else:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    if not text:
        raise OperatorError("an empty passphrase seals nothing; choose another")
    return Secret(text.encode())


def _progress(as_json: bool) -> Callable[[str, int, int], None]:
    """On a terminal, one line that is written over; elsewhere nothing."""
    if as_json or not sys.stderr.isatty():
        return lambda what, done, total: None

    def show(what: str, done: int, total: int) -> None:
        percent = 100 * done // total if total else 100
        click.echo(f"\r{what}: {percent} %   ", nl=done == total, err=True)

    return show


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "relay": manifest.relay,
        "made": _moment(manifest.made),
        "schema": manifest.schema,
        "timeline": manifest.timeline,
        "rows": sum(manifest.rows.values()),
        "blobs": sum(name.startswith(making.BLOBS) for name in manifest.parts),
        "gone": len(manifest.gone),
    }


def _counts(manifest: Manifest) -> str:
    facts = _facts(manifest)
    return f"{facts['rows']} rows, {facts['blobs']} blobs"


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _bytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
