"""`pli devices …`: one's own devices, linking one more, declaring one lost; `pli passphrase`."""

import sys
from pathlib import Path
from typing import Any, Final

import click

from ..errors import VaultMissing
from ..i18n import _
from . import passphrases
from .account import person, person_folder, picture
from .dialogue import (
    Ask,
    agreed,
    code_option,
    dialogue,
    password_option,
    typed_code,
    typed_password,
)
from .joining import ca_option, certificates, checked, proxy_option
from .options import common, settings
from .output import Styled, say, say_json, tell
from .reasons import OwnReason, reason_told, reason_typed
from .session import VAULT_FILE, run

READY: Final = 120.0
"""Seconds that the enrolled device waits for the new one to sign in."""


@click.group("devices", help=_("Your devices: list them, link one more, revoke one."))
def devices() -> None:
    """Groups the commands below."""


def _talk(work: Any) -> int:
    asked = settings()
    folder = person_folder(asked)

    async def whole() -> None:
        async with dialogue(folder, asked, person) as ask:
            await work(ask)

    run(whole())
    return 0


@devices.command("list", help=_("List your devices."))
@common
def list_() -> int:
    async def work(ask: Ask) -> None:
        for reply in await ask("devices"):
            say_json(reply) if settings().json else show_device(reply)

    return _talk(work)


@devices.command("link", help=_("Make this computer a device of your account at ADDRESS."))
@click.argument("address", metavar=_("ADDRESS"))
@password_option
@code_option
@ca_option
@proxy_option
@common
def link(
    address: str,
    password_file: Path | None,
    code: str | None,
    ca_file: Path | None,
    proxy: str | None,
) -> int:
    asked = settings()
    folder = asked.folder()
    ca, proxy = certificates(ca_file), checked(proxy)
    begun = (folder / VAULT_FILE).exists()
    passphrase = passphrases.known(asked) if begun else passphrases.chosen(asked)

    def progress(step: str, shown: str) -> None:
        if step == "asked" and asked.json:
            say_json({"kind": "linking-code", "code": shown})
        elif step == "asked":
            tell(_("Within two minutes, on a device of yours: pli devices approve"))
            tell(_("and type this code there:"))
            say("    ", Styled(shown, bold=True))
            picture(shown)
        sys.stdout.flush()

    async def work() -> dict[str, Any]:
        from ..connecting import link as link_with

        password = await typed_password(password_file)
        shown = await typed_code(code)
        device = await link_with(
            address, folder, passphrase, password, shown, ca=ca, proxy=proxy, progress=progress
        )
        return {
            "kind": "linked",
            "name": device.person.name,
            "establishment": device.person.establishment_name,
            "device": device.device_id.hex(),
            "vault": str(folder),
        }

    linked = run(work())
    if asked.json:
        say_json(linked)
        return 0
    say(_("This computer is now a device of %(name)s, %(establishment)s.") % linked)
    say(_("What was written before stays on your other devices; from now on both have everything."))
    return 0


@devices.command("approve", help=_("Link the device that shows CODE."))
@click.argument("shown", metavar=_("CODE"), required=False)
@click.option("--name", default="", metavar=_("NAME"), help=_("What you call the new device."))
@click.option("--yes", is_flag=True, help=_("Do not ask once more."))
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=READY,
    show_default=True,
    metavar=_("SECONDS"),
    help=_("How long to wait until the new device is there."),
)
@common
def approve(shown: str | None, name: str, yes: bool, wait: float) -> int:
    asked = settings()

    async def work(ask: Ask) -> None:
        (found,) = await ask("devices-asking")
        if not asked.json:
            tell(_("A new device asks to be one of %(name)s, %(establishment)s.") % found)
            tell(_("It will read and write in your name in all your conversations."))
        typed = await typed_code(shown, _("Code that the new device shows: "))
        if not yes and sys.stdin.isatty() and not await agreed(_("Link it?")):
            raise click.Abort()
        (linked,) = await ask(
            "devices-approve", request=found["request"], code=typed, name=name[:64], wait=wait
        )
        if asked.json:
            say_json(linked)
        else:
            say(_("It is linked, and your conversations are asked to add it."))

    return _talk(work)


@devices.command("revoke", help=_("Cut off a device of yours: its NAME, or its id from the list."))
@click.argument("device", metavar=_("NAME"))
@click.option("--reason", type=OwnReason(), default=reason_typed("lost"), show_default=True)
@common
def revoke(device: str, reason: str) -> int:
    async def work(ask: Ask) -> None:
        (done,) = await ask("devices-revoke", device=device, reason=reason)
        if settings().json:
            say_json(done)
        else:
            worded = {"name": done["name"] or done["device"], "reason": reason_told(reason)}
            say(_("%(name)s is revoked (%(reason)s); it leaves your conversations.") % worded)

    return _talk(work)


def show_device(reply: dict[str, Any]) -> None:
    """A line about a device."""
    name = reply.get("name") or reply["device"][:8]
    words = [_("this one")] if reply.get("this") else []
    if reply["revoked_at"]:
        words.append(_("revoked"))
    if reply["cloned"]:
        words.append(_("locked: its vault was copied"))
    if reply["last_seen_at"]:
        words.append(_("seen %(when)s") % {"when": reply["last_seen_at"][:10]})
    say(Styled(name, bold=True), f", {reply['device'][:8]}, ", ", ".join(words))


@click.command("passphrase", help=_("Change the passphrase that opens the vault; its key stays."))
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=_("FILE"),
    help=_("Read the new one from the first line of this file."),
)
@common
def passphrase(new_passphrase_file: Path | None) -> int:
    asked = settings()
    folder = asked.folder()
    if not (folder / VAULT_FILE).exists():
        raise VaultMissing(folder=folder)
    before = passphrases.known(asked)
    after = passphrases.replacement(new_passphrase_file)

    async def work() -> None:
        from ..vault import Vault

        async with await Vault.open(folder, before) as vault:
            await vault.change_passphrase(after)

    run(work())
    done = {"kind": "passphrase-changed", "vault": str(folder)}
    say_json(done) if asked.json else say(_("The passphrase is changed."))
    return 0


COMMANDS: Final = (devices, passphrase)
