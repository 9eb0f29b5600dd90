"""`pli bot`: the programs that Pli brings. `pli bot dui` files what was attached to a record."""

from pathlib import Path
from typing import Final

import click

from ..errors import VaultMissing
from ..i18n import _
from . import passphrases
from .options import Settings, common, settings
from .output import say, say_json
from .session import VAULT_FILE, opened, patiently, run


@click.group("bot", help=_("Run a program's account, such as the DUI's."))
def bot() -> None:
    """Groups the commands below."""


@bot.command("dui", help=_("File what is attached to a record as Bundles in an outbox folder."))
@click.option(
    "--outbox",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar=_("DIR"),
    help=_("Where the cahier de liaison Bundles are put."),
)
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="[NAME=]URI",
    help=_("Accept only records of this system, and write it as this URI; may be repeated."),
)
@click.option("--once", is_flag=True, help=_("File what waits, then stop."))
@common
def dui(outbox: Path, systems: tuple[str, ...], once: bool) -> int:
    asked = settings()
    folder = asked.folder()
    if not (folder / VAULT_FILE).exists():
        raise VaultMissing(folder=folder)
    passphrase = passphrases.known(asked)

    async def work() -> None:
        from ..bots.dui import DuiBot

        async with opened(folder, passphrase) as client:
            filing = DuiBot(
                client,
                outbox,
                systems=systems,
                report=lambda filed: _report(filed, asked),
            )
            await (filing.catch_up() if once else filing.run())

    run(patiently(work))
    return 0


def _report(filed: object, asked: Settings) -> None:
    from ..bots.filing import Filing

    assert isinstance(filed, Filing)
    reply = {
        "kind": "filing",
        "document": filed.document,
        "record": str(filed.record),
        "filed": filed.filed,
        "withdrawn": filed.withdrawn,
        "code": filed.code,
    }
    if asked.json:
        say_json(reply)
    elif not filed.filed:
        say(_("refused for %(record)s: %(code)s") % reply)
    elif filed.withdrawn:
        say(_("withdrawn from %(record)s: %(document)s") % reply)
    else:
        say(_("filed in %(record)s: %(document)s") % reply)


COMMAND: Final = bot
