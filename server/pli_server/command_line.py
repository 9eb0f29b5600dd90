"""The command line: the commands of a relay's life here, other families in modules of their own."""

import json
from pathlib import Path

import click

from . import addresses, settings_file
from . import folder as folders
from . import settings as setting
from .audit.commands import audit
from .backup.commands import COMMANDS as BACKUP
from .command_options import FOLDER, JSON, one_sentence
from .errors import OperatorError

__all__ = ["FOLDER", "JSON", "cli", "one_sentence"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pli")
def cli() -> None:
    """The relay: carries ciphertext, keeps order, forgets on time."""


@cli.command()
@FOLDER
@click.option("--name", help="The relay's name: the host in its clients' address.")
@click.option("--listen", default="127.0.0.1:8440", show_default=True, help="HOST:PORT.")
@click.option("--certificate", type=click.Path(dir_okay=False), help="TLS certificate chain, PEM.")
@click.option("--key", type=click.Path(dir_okay=False), help="Its key, PEM.")
@click.option(
    "--database",
    metavar="URL",
    help="postgresql://USER@HOST/NAME, instead of a file in FOLDER. With a password in it, rather "
    "set PLI_DATABASE_URL.",
)
@JSON
@one_sentence
def init(
    folder: Path,
    name: str | None,
    listen: str,
    certificate: str | None,
    key: str | None,
    database: str | None,
    as_json: bool,
) -> None:
    """Make a relay's FOLDER with its settings, and print a one-time establishment code."""
    host, port = addresses.parse_listen(listen)
    if name is None and host in ("0.0.0.0", "::"):
        raise OperatorError(f"{host} is no name: give --name, the host that clients will use")
    if (certificate is None) != (key is None):
        raise OperatorError("TLS needs both --certificate and --key; give both or none")
    chain, its_key = [None if p is None else str(Path(p).resolve()) for p in (certificate, key)]
    text = settings_file.template(name or host, listen, chain, its_key, database)
    code = folders.make(folder, text, setting.database_url(database))
    # With port 0 the system chooses one at the start, and `run` tells it.
    made = setting.Settings(name=name or host, certificate=certificate, key=key)
    address = addresses.address_to_give(made, port) if port else None
    if as_json:
        shown = {"event": "initialised", "folder": str(folder), "name": made.name, "code": code}
        click.echo(json.dumps({**shown, "address": address}))
        return
    click.echo(f"Relay '{made.name}' made in {folder}; settings: {folder / setting.FILE_NAME}")
    if address is not None:
        click.echo(f"Address for its clients: {address}")
    click.echo(f"Establishment code, valid once: {code}")
    click.echo(f"Start it with: pli-server run {folder}")


@cli.command()
@FOLDER
@click.option("--listen", help="HOST:PORT, instead of the one in the settings.")
@JSON
@one_sentence
def run(folder: Path, listen: str | None, as_json: bool) -> None:
    """Run the relay of FOLDER until SIGTERM or SIGINT."""
    settings = setting.load(folder)
    if listen is not None:
        addresses.parse_listen(listen)

    from . import process

    raise SystemExit(process.run(folder, settings, listen, as_json))


@cli.command("establishment-code")
@FOLDER
@JSON
@one_sentence
def establishment_code(folder: Path, as_json: bool) -> None:
    """Make a further one-time code, for one more establishment or issuer."""
    code = folders.further_code(folder)
    click.echo(json.dumps({"event": "code", "code": code}) if as_json else code)


@cli.command()
@FOLDER
@click.option(
    "--quick", is_flag=True, help="Leave out what reads the whole database and all blobs."
)
@JSON
@one_sentence
def doctor(folder: Path, quick: bool, as_json: bool) -> None:
    """Say what is wrong with the relay of FOLDER, and how to mend it; also while it runs."""
    from .doctor import commands

    raise SystemExit(commands.doctor(folder, quick, as_json))


@cli.command()
@FOLDER
@JSON
@one_sentence
def status(folder: Path, as_json: bool) -> None:
    """Show in a few lines how the running relay of FOLDER does."""
    from .doctor import commands

    commands.status(folder, as_json)


@cli.command()
@FOLDER
@JSON
@one_sentence
def usage(folder: Path, as_json: bool) -> None:
    """Show what each establishment has: accounts, devices, messages, bytes within retention."""
    from . import accounting

    accounting.show(folder, as_json)


for command in (*BACKUP, audit):
    cli.add_command(command)
