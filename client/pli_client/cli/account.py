"""`pli account …` and `pli admin account …`: account password, second factor, recovery codes."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pli_protocol.secret import Secret

from ..errors import VaultMissing
from ..i18n import _
from .dialogue import (
    Ask,
    Local,
    Reply,
    agreed,
    chosen_password,
    code_option,
    dialogue,
    password_option,
    typed_code,
    typed_password,
)
from .options import Settings, common, settings
from .output import Styled, say, say_json, tell
from .session import VAULT_FILE, run

if TYPE_CHECKING:
    from ..handover import Handler

Folder = Callable[[Settings], Path]


@contextlib.asynccontextmanager
async def person(folder: Path, passphrase: Secret) -> "AsyncIterator[Handler]":
    """A professional's vault, online."""
    from .session import opened
    from .work import perform

    async with opened(folder, passphrase) as client:
        await client.online(30)
        yield lambda request: perform(client, request)


def person_folder(asked: Settings) -> Path:
    """The professional's vault. Raises VaultMissing."""
    folder = asked.folder()
    if not (folder / VAULT_FILE).exists():
        raise VaultMissing(folder=folder)
    return folder


def group(name: str, help: str, folder: Folder, local: Local) -> click.Group:
    """The commands that a professional and an administrator have alike."""

    @click.group(name, help=help)
    def account() -> None:
        """Groups the commands below."""

    def talk(work: Callable[[Ask, Settings], Awaitable[None]]) -> int:
        asked = settings()
        where = folder(asked)

        async def whole() -> None:
            async with dialogue(where, asked, local) as ask:
                await work(ask, asked)

        run(whole())
        return 0

    @account.command("show", help=_("What is set up, and the address that a new device needs."))
    @common
    def show() -> int:
        return talk(lambda ask, asked: _show(ask, asked, addressed=local is person))

    @account.command("password", help=_("Set or change the account password."))
    @password_option
    @click.option(
        "--new-password-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar=_("FILE"),
        help=_("Read the new one from the first line of this file."),
    )
    @code_option
    @common
    def password(
        password_file: Path | None, new_password_file: Path | None, code: str | None
    ) -> int:
        async def work(ask: Ask, asked: Settings) -> None:
            await stepped_up(ask, password_file, code, only_if_set_up=True)
            new = await chosen_password(new_password_file)
            (done,) = await ask("account-password", password=new)
            _tell(done, asked, _("The account password is set."))

        return talk(work)

    @account.command("totp", help=_("Set up the second factor with an authenticator."))
    @password_option
    @code_option
    @common
    def totp(password_file: Path | None, code: str | None) -> int:
        async def work(ask: Ask, asked: Settings) -> None:
            await stepped_up(ask, password_file, code, only_if_set_up=True)
            (factor,) = await ask("account-totp", label=where_shown(asked, folder))
            _tell_factor(factor, asked)
            first = await typed_code(None, _("A first code of it: "))
            (codes,) = await ask("account-confirm", code=first)
            _tell_codes(codes, asked)

        return talk(work)

    @account.command("recovery-codes", help=_("Make ten new recovery codes."))
    @password_option
    @code_option
    @common
    def recovery_codes(password_file: Path | None, code: str | None) -> int:
        async def work(ask: Ask, asked: Settings) -> None:
            await stepped_up(ask, password_file, code)
            (codes,) = await ask("account-recovery-codes")
            _tell_codes(codes, asked)

        return talk(work)

    return account


@click.command("close", help=_("Close your account for good, after leaving all conversations."))
@password_option
@code_option
@click.option("--yes", is_flag=True, help=_("Do not ask once more."))
@common
def close(password_file: Path | None, code: str | None, yes: bool) -> int:
    asked = settings()
    folder = person_folder(asked)

    async def whole() -> None:
        async with dialogue(folder, asked, person) as ask:
            password = await typed_password(password_file)
            shown = await typed_code(code)
            tell(_("This cannot be undone: nobody ever gets this account again, you neither."))
            if not yes and not await agreed(_("Close it?")):
                raise click.Abort()
            (done,) = await ask("account-close", password=password, code=shown)
            text = _("The account is closed. What you received stays in this vault.")
            _tell(done, asked, text)

    run(whole())
    return 0


async def stepped_up(
    ask: Ask, password_file: Path | None, code: str | None, *, only_if_set_up: bool = False
) -> None:
    """Ask for password and code, and show them to the relay."""
    if only_if_set_up:
        (held,) = await ask("account-state")
        if not (held["password"] and held["second_factor"]):
            return
    password = await typed_password(password_file)
    shown = await typed_code(code)
    await ask("account-step-up", password=password, code=shown)


def where_shown(asked: Settings, folder: Folder) -> str:
    """How an authenticator lists the account: by the vault's folder, which tells nobody's name."""
    return folder(asked).name


async def _show(ask: Ask, asked: Settings, *, addressed: bool) -> None:
    (held,) = await ask("account-state")
    found = [held, *(await ask("account") if addressed else [])]
    for reply in found:
        if asked.json:
            say_json(reply)
    if asked.json:
        return
    say(_("Account password: %(state)s") % {"state": _set(held["password"])})
    say(_("Second factor: %(state)s") % {"state": _set(held["second_factor"])})
    say(_("Recovery codes left: %(count)s") % {"count": held["recovery_codes"]})
    for reply in found[1:]:
        say()
        say(_("Address of the account, for a new device:"))
        say("    ", Styled(reply["address"], bold=True))
        picture(reply["address"])


def _set(done: bool) -> str:
    return _("set up") if done else _("not set up")


def _tell(reply: Reply, asked: Settings, text: str) -> None:
    say_json(reply) if asked.json else say(text)


def _tell_factor(factor: Reply, asked: Settings) -> None:
    if asked.json:
        say_json(factor)
        return
    say(_("Scan this with an authenticator, or type its letters there:"))
    picture(factor["uri"])
    say("    ", Styled(factor["secret"], bold=True))


def _tell_codes(codes: Reply, asked: Settings) -> None:
    if asked.json:
        say_json(codes)
        return
    say(_("Recovery codes, each good once in the place of a code. They are not shown again:"))
    for code in codes["codes"]:
        say("    ", Styled(code, bold=True))


def picture(text: str) -> None:
    """The QR picture, where a person looks."""
    import sys

    if not sys.stdout.isatty():
        return
    import segno

    segno.make(text, error="l").terminal(compact=True)


ACCOUNT: Final = group(
    "account", _("Your account password and second factor."), person_folder, person
)
ACCOUNT.add_command(close)
COMMANDS: Final = (ACCOUNT,)
