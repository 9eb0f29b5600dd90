"""`pli connection` and `pli admin connection`: the way to the relay, shown and changed offline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from ..i18n import _
from . import passphrases
from .joining import ca_option, certificates, checked, proxy_option
from .options import Settings, common, settings
from .output import say, say_json
from .session import VAULT_FILE, no_vault, patiently, run

Reply = dict[str, Any]


def connection_command(where: Callable[[Settings], Path], words: str) -> click.Command:
    """The command for the vaults in `where`, with `words` as its help."""

    @click.command("connection", help=words)
    @ca_option
    @click.option("--no-ca", is_flag=True, help=_("Trust the system's authorities again."))
    @proxy_option
    @click.option("--no-proxy", is_flag=True, help=_("Forget the proxy kept in the vault."))
    @common
    def connection(ca_file: Path | None, no_ca: bool, proxy: str | None, no_proxy: bool) -> int:
        if (ca_file is not None and no_ca) or (proxy is not None and no_proxy):
            raise click.UsageError(_("An option and its opposite cannot go together."))
        changes: dict[str, str | None] = {}
        if ca_file is not None or no_ca:
            changes["ca"] = certificates(ca_file)
        if proxy is not None or no_proxy:
            changes["proxy"] = checked(proxy)
        asked = settings()
        folder = where(asked)
        if not (folder / VAULT_FILE).exists():
            raise no_vault(folder)
        reply = _settled(folder, asked, changes)
        if asked.json:
            say_json(reply)
        else:
            _show(reply)
        return 0

    return connection


def _settled(folder: Path, asked: Settings, changes: dict[str, str | None]) -> Reply:
    """Keep the changes, if any, and tell what the vault has."""
    passphrase = passphrases.known(asked)
    reply: Reply = {}

    async def work() -> None:
        from dataclasses import replace

        from ..connection.address import without_password
        from ..engine.errors import NotEnrolled
        from ..store.access import read_access, write_access
        from ..vault import Vault

        async with await Vault.open(folder, passphrase) as vault:
            kept = await vault.read(read_access)
            if kept is None:
                raise NotEnrolled()
            if changes:
                ca, proxy = changes.get("ca", kept.ca), changes.get("proxy", kept.proxy)
                kept = replace(kept, ca=ca, proxy=proxy)
                await vault.write(lambda db: write_access(db, ca, proxy))
        reply.update(
            kind="connection",
            relay=kept.url,
            name=kept.name,
            proxy=without_password(kept.proxy) if kept.proxy else None,
            own_ca=kept.ca is not None,
        )

    run(patiently(work))
    return reply


def _show(reply: Reply) -> None:
    say(_("Relay: %(relay)s") % reply)
    if reply["name"]:
        say(_("Its name: %(name)s") % reply)
    say(_("Proxy: %(proxy)s") % {"proxy": reply["proxy"] or _("as the environment says")})
    trusted = _("your establishment's own") if reply["own_ca"] else _("the system's")
    say(_("Certificate authorities: %(trusted)s") % {"trusted": trusted})


COMMANDS: Final = (
    connection_command(
        Settings.folder,
        _("Show the way to the relay, or change the certificate authorities and proxy kept."),
    ),
)
