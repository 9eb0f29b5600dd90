"""`pli join CODE`: from an invitation to a vault with an enrolled device in it."""

import sys
from pathlib import Path
from typing import Any, Final

import click

from ..errors import InvalidInput
from ..i18n import _
from . import passphrases
from .options import common, settings
from .output import say, say_json, tell
from .professions import profession_shown
from .session import VAULT_FILE, no_vault, patiently, run

PATIENCE: Final = 900.0
"""Seconds that `pli join` waits for the establishment's answer, unless told otherwise."""


def certificates(path: Path | None) -> str | None:
    """The text of an establishment's own CA file. Raises InvalidInput where it holds none."""
    if path is None:
        return None
    from ..connection.address import tls
    from ..errors import UntrustedCertificate

    try:
        text = path.read_text(encoding="ascii")
        tls(text)
        return text
    except (OSError, ValueError, UntrustedCertificate):
        raise InvalidInput(
            _("the CA file %(file)s cannot be read as PEM text") % {"file": path.name}
        ) from None


def checked(proxy: str | None) -> str | None:
    """A proxy's URL. Raises InvalidInput where it cannot be one."""
    if proxy is None:
        return None
    from ..connection.address import check_proxy

    return check_proxy(proxy)


ca_option = click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=_("FILE"),
    help=_("Your establishment's own certificate authorities (PEM), kept in the vault."),
)
proxy_option = click.option(
    "--proxy",
    metavar="URL",
    help=_("HTTP proxy, kept in the vault (else as the environment says)."),
)


@click.command("join", help=_("Join your establishment with an invitation. CODE may be -: stdin."))
@click.argument("code", metavar=_("CODE"))
@ca_option
@proxy_option
@click.option(
    "--wait",
    type=click.FloatRange(min=1),
    default=PATIENCE,
    show_default=True,
    metavar=_("SECONDS"),
    help=_("How long to wait for the establishment's answer."),
)
@common
def join(code: str, ca_file: Path | None, proxy: str | None, wait: float) -> int:
    from ..enrolment import parse_invitation

    if code == "-":
        code = sys.stdin.read()
    parse_invitation(code)  # before a passphrase is asked for
    ca, proxy = certificates(ca_file), checked(proxy)
    asked = settings()
    folder = asked.folder()
    begun = (folder / VAULT_FILE).exists()
    passphrase = passphrases.known(asked) if begun else passphrases.chosen(asked)

    async def work() -> dict[str, str | None]:
        from .. import join as join_with

        device = await join_with(
            code, folder, passphrase, ca=ca, proxy=proxy, progress=_progress, patience=wait
        )
        person = device.person
        return {
            "kind": "joined",
            "name": person.name,
            "profession": person.profession,
            "rpps": person.rpps,
            "account": person.account.hex(),
            "establishment": person.establishment_name,
            "vault": str(folder),
        }

    joined = run(work())
    if asked.json:
        say_json(joined)
        return 0
    shown = {**joined, "profession": profession_shown(joined["profession"])}
    say(_("Welcome, %(name)s (%(profession)s), at %(establishment)s.") % shown)
    say(_("Your vault: %(vault)s. Nobody can give you another passphrase: keep it.") % joined)
    return 0


@click.command(
    "rejoin",
    help=_(
        "Give this vault a new key with an invitation for the same person, after a theft. "
        "CODE may be -: stdin."
    ),
)
@click.argument("code", metavar=_("CODE"))
@click.option(
    "--wait",
    type=click.FloatRange(min=1),
    default=PATIENCE,
    show_default=True,
    metavar=_("SECONDS"),
    help=_("How long to wait for the establishment's answer."),
)
@common
def rejoin(code: str, wait: float) -> int:
    from ..enrolment import parse_invitation

    if code == "-":
        code = sys.stdin.read()
    parse_invitation(code)  # before a passphrase is asked for
    asked = settings()
    folder = asked.folder()
    if not (folder / VAULT_FILE).exists():
        raise no_vault(folder)
    passphrase = passphrases.known(asked)
    reply: dict[str, Any] = {}

    async def work() -> None:
        from ..connecting import rejoin as rejoin_with

        done = await rejoin_with(code, folder, passphrase, progress=_progress, patience=wait)
        person = done.device.person
        reply.update(
            kind="rejoined",
            name=person.name,
            account=person.account.hex(),
            person=person.person_id.hex(),
            conversations=list(done.conversations),
        )

    run(patiently(work))
    if asked.json:
        say_json(reply)
        return 0
    say(_("%(name)s has a new key; what was received before is still here.") % reply)
    if reply["conversations"]:
        say(_("Ask a member of each of these conversations to add you again (pli add):"))
        for title in reply["conversations"]:
            say("    ", title)
    return 0


def _progress(step: str) -> None:
    words = {
        "contacting": _("Contacting the relay…"),
        "asked": _("The request is sealed and on its way to your establishment."),
        "waiting": _("Waiting for your establishment's answer…"),
        "enrolled": _("Enrolled; signing in for the first time…"),
    }
    tell(words.get(step, step))


COMMANDS: Final = (join, rejoin)
