"""`pli admin issuer`: further issuers, whom they signed, what follows when one is lost."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ..i18n import _, ngettext
from . import passphrases
from .joining import ca_option, certificates, checked, proxy_option
from .options import Settings, common, settings
from .output import Styled, say, say_json
from .reasons import Reason, reason_typed
from .session import VAULT_FILE, Reply, run

if TYPE_CHECKING:
    from ..handover import Request
    from ..issuer import Issuer


@click.group("issuer", help=_("Further issuers of the establishment; two are advised."))
def issuer() -> None:
    """Groups the commands below."""


@issuer.command(
    "add",
    help=_("Make another issuer, in a vault of its own, with the sealed authority and a code."),
)
@click.option("--relay", required=True, metavar="URL", help=_("The relay's address (wss://…)."))
@click.option(
    "--code", required=True, metavar=_("CODE"), help=_("The one-time code of the relay's operator.")
)
@click.option(
    "--authority-file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=_("FILE"),
    help=_("The sealed authority, from the safe."),
)
@click.option(
    "--authority-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=_("FILE"),
    help=_("Read the authority's own passphrase from the first line of this file."),
)
@ca_option
@proxy_option
@common
def add(
    relay: str,
    code: str,
    authority_file: Path,
    authority_passphrase_file: Path | None,
    ca_file: Path | None,
    proxy: str | None,
) -> int:
    asked = settings()
    folder = asked.folder()
    ca, proxy = certificates(ca_file), checked(proxy)
    new = not (folder / VAULT_FILE).exists()
    passphrase = passphrases.chosen(asked) if new else passphrases.known(asked)
    if authority_passphrase_file is not None:
        authority_passphrase = passphrases.from_file(authority_passphrase_file)
    else:
        try:
            authority_passphrase = passphrases.known(Settings(), _("The authority's passphrase: "))
        except passphrases.NoPassphrase:
            raise passphrases.NoAuthorityPassphrase() from None

    async def work() -> Reply:
        from ..issuer import add_issuer

        made = await add_issuer(
            folder,
            passphrase,
            authority_file,
            authority_passphrase,
            relay_url=relay,
            code=code,
            ca=ca,
            proxy=proxy,
        )
        return {
            "kind": "issuer-added",
            "name": made.authority.name,
            "relay": made.relay_url,
            "vault": str(folder),
        }

    added = run(work())
    if asked.json:
        say_json(added)
        return 0
    say(_("%(vault)s is an issuer of %(name)s now. Put the authority back into the safe.") % added)
    return 0


@issuer.command("list", help=_("List the issuers, and how many people each has signed."))
@common
def list_() -> int:
    return _carry_out("issuers")


@issuer.command("resign", help=_("Sign anew, as this issuer, whom another one had signed."))
@click.argument("which", metavar=_("ID"))
@common
def resign(which: str) -> int:
    return _carry_out("resign", which=which)


@issuer.command("revoke", help=_("Revoke another issuer, with all whom it alone has signed."))
@click.argument("which", metavar=_("ID"))
@click.option("--reason", type=Reason(), default=reason_typed("lost"), show_default=True)
@common
def revoke(which: str, reason: str) -> int:
    return _carry_out("revoke-issuer", which=which, reason=reason)


COMMAND: Final = issuer


def _carry_out(command: str, **arguments: object) -> int:
    from .admin import carry_out

    return carry_out(command, **arguments)


# --- by whoever has the vault -----------------------------------------------------------------


async def perform(issuer: "Issuer", request: "Request") -> AsyncIterator[Reply]:
    """Carry out one of the commands above."""
    args = request.args
    match request.command:
        case "issuers":
            for state in await issuer.issuers():
                yield {
                    "kind": "issuer",
                    "id": state.issuer_id.hex(),
                    "own": state.own,
                    "revoked": state.revoked,
                    "people": state.people,
                }
        case "resign":
            signed = await issuer.resign(args["which"])
            yield {"kind": "resigned", "people": [row.name for row in signed]}
        case "revoke-issuer":
            number = await issuer.revoke_issuer(args["which"], args["reason"])
            await issuer.publish()
            yield {"kind": "issuer-revoked", "list": number}


def show(reply: Reply) -> None:
    """Print one of the replies above."""
    match reply["kind"]:
        case "issuer":
            people = ngettext("%(people)s person", "%(people)s people", reply["people"]) % reply
            state = _("revoked") if reply["revoked"] else _("this one") if reply["own"] else ""
            say(Styled(reply["id"][:8], bold=True), f"  {people}", f"  ({state})" if state else "")
        case "resigned":
            for name in reply["people"]:
                say(_("%(name)s is signed anew.") % {"name": name})
        case "issuer-revoked":
            say(_("The issuer is revoked, list number %(list)s.") % reply)
