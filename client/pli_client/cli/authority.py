"""`pli admin authority`, `pli trust`: another authority for the establishment, and a person's word on it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..i18n import _
from . import passphrases
from .options import Settings, common, settings
from .output import say, say_json
from .session import Reply, carry_out

if TYPE_CHECKING:
    from ..client import Client
    from ..issuer import Issuer

_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.group("authority", help=_("Another authority: handed over, or after a loss by two issuers."))
def authority() -> None:
    """Groups the commands below."""


@authority.command(
    "begin",
    help=_("Make a new authority and sign the change; without --old two issuers must sign."),
)
@click.argument("change", type=_FILE, metavar=_("FILE"))
@click.option(
    "--new",
    required=True,
    type=_FILE,
    metavar=_("FILE"),
    help=_("Where to seal the new authority."),
)
@click.option(
    "--new-passphrase-file",
    type=_FILE,
    metavar=_("FILE"),
    help=_("Read the new authority's passphrase from the first line of this file."),
)
@click.option(
    "--old", type=_FILE, metavar=_("FILE"), help=_("The old authority, if it is not lost.")
)
@click.option(
    "--old-passphrase-file",
    type=_FILE,
    metavar=_("FILE"),
    help=_("Read the old authority's passphrase from the first line of this file."),
)
@click.option(
    "--compromised",
    is_flag=True,
    help=_("The old key is in wrong hands: nothing that it signed counts any more."),
)
@common
def begin(
    change: Path,
    new: Path,
    new_passphrase_file: Path | None,
    old: Path | None,
    old_passphrase_file: Path | None,
    compromised: bool,
) -> int:
    passphrase = _new_passphrase(new_passphrase_file)
    before = None if old is None else _opened(old, old_passphrase_file)

    async def work(issuer: "Issuer") -> Reply:
        draft = await issuer.begin_authority(
            new, passphrase, before=before, compromised=compromised
        )
        _write(change, draft)
        return {
            "kind": "authority-begun",
            "change": str(change),
            "authority_file": str(new),
            "complete": before is not None,
        }

    return _with_issuer(work)


@authority.command("sign", help=_("Sign the change that another issuer has begun, in its file."))
@click.argument("change", type=_FILE, metavar=_("FILE"))
@common
def sign(change: Path) -> int:
    async def work(issuer: "Issuer") -> Reply:
        complete = await issuer.cosign_authority(_read(change))
        _write(change, complete)
        return {"kind": "authority-signed", "change": str(change)}

    return _with_issuer(work)


@authority.command("publish", help=_("Bring a change that is signed to the relay."))
@click.argument("change", type=_FILE, metavar=_("FILE"))
@common
def publish(change: Path) -> int:
    async def work(issuer: "Issuer") -> Reply:
        from pli_protocol.identity import fingerprint_text

        found = await issuer.publish_authority(_read(change))
        return {
            "kind": "authority-published",
            "fingerprint": fingerprint_text(found.fingerprint),
        }

    return _with_issuer(work)


ADMIN_COMMAND: Final = authority


def _with_issuer(work: Any) -> int:
    """On the administrator's vault itself: it is not done while `pli admin serve` runs."""
    from .admin import existing_folder
    from .session import patiently, run

    asked = settings()
    folder = existing_folder(asked)
    passphrase = passphrases.known(asked)
    replies: list[Reply] = []

    async def here() -> None:
        from ..issuer import Issuer

        async with await Issuer.open(folder, passphrase) as issuer:
            replies.append(await work(issuer))

    run(patiently(here))
    for reply in replies:
        say_json(reply) if asked.json else _show(reply)
    return 0


def _show(reply: Reply) -> None:
    match reply["kind"]:
        case "authority-begun":
            say(_("The new authority is sealed in %(authority_file)s: put it into a safe.") % reply)
            if reply["complete"]:
                say(_("The change is signed: pli admin authority publish %(change)s") % reply)
            else:
                say(_("A second issuer signs now: pli admin authority sign %(change)s") % reply)
        case "authority-signed":
            say(_("The change is signed: pli admin authority publish %(change)s") % reply)
        case "authority-published":
            say(_("The relay has it. Fingerprint of the new authority: %(fingerprint)s") % reply)
            say(_("Read it out to your people: each of them confirms it once (pli trust)."))


def _new_passphrase(file: Path | None) -> Any:
    if file is not None:
        return passphrases.from_file(file)
    try:
        return passphrases.chosen(Settings(), _("A passphrase for the new authority's file: "))
    except passphrases.NoPassphrase:
        raise passphrases.NoAuthorityPassphrase() from None


def _opened(file: Path, passphrase_file: Path | None) -> Any:
    from ..issuer import open_authority

    if passphrase_file is not None:
        passphrase = passphrases.from_file(passphrase_file)
    else:
        try:
            passphrase = passphrases.known(Settings(), _("The authority's passphrase: "))
        except passphrases.NoPassphrase:
            raise passphrases.NoAuthorityPassphrase() from None
    return open_authority(file, passphrase)[0]


def _read(path: Path) -> bytes:
    from ..errors import FileUnreadable, system_reason

    try:
        return path.read_bytes()
    except OSError as error:
        raise FileUnreadable(name=path.name, reason=system_reason(error)) from None


def _write(path: Path, data: bytes) -> None:
    from ..errors import FileUnwritable, system_reason
    from ..vault.private_files import replace_durably

    try:
        replace_durably(path, data)
    except OSError as error:
        raise FileUnwritable(name=path.name, reason=system_reason(error)) from None


# --- a person's word --------------------------------------------------------------------------


@click.command(
    "trust", help=_("Show that your establishment has another authority; --accept once it is sure.")
)
@click.option(
    "--accept",
    metavar=_("FINGERPRINT"),
    help=_("The new authority's fingerprint, as your establishment read it out."),
)
@common
def trust(accept: str | None) -> int:
    return carry_out("trust", _show_trust, nothing=_("There is nothing to confirm."), accept=accept)


COMMANDS: Final = (trust,)


async def perform_trust(client: "Client", args: dict[str, Any]) -> AsyncIterator[Reply]:
    """The work of `pli trust`."""
    from pli_protocol.identity import fingerprint_text

    from ..errors import InvalidInput

    found = await client.pending_authority()
    if found is None:
        return
    number, change, following = found
    shown = fingerprint_text(following.fingerprint)
    if args["accept"]:
        if "".join(args["accept"].split()).lower() != "".join(shown.split()).lower():
            raise InvalidInput(_("this is not the new authority's fingerprint"))
        await client.trust_authority(number)
    yield {
        "kind": "authority",
        "name": following.name,
        "fingerprint": shown,
        "compromised": change.compromised,
        "accepted": bool(args["accept"]),
    }


def _show_trust(reply: Reply) -> None:
    if reply["accepted"]:
        say(_("Confirmed: %(name)s has a new authority.") % reply)
        return
    say(_("%(name)s says that it has a new authority, with this fingerprint:") % reply)
    say("    ", reply["fingerprint"])
    if reply["compromised"]:
        say(_("The key of before is in wrong hands: nothing that it signed counts any more."))
    say(
        _("Compare it with what your establishment reads out, then: pli trust --accept FINGERPRINT")
    )
