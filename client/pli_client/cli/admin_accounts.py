"""`pli admin account`, `reset`, `devices`: the issuer's own factors, and what needs them."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pli_protocol.secret import Secret

from ..i18n import _
from .account import Folder, group, stepped_up
from .dialogue import Ask, code_option, dialogue, password_option
from .options import common, settings
from .output import say, say_json
from .session import Reply, run

if TYPE_CHECKING:
    from ..connection import Requests
    from ..handover import Handler, Request
    from ..issuer import Issuer

PREFIX: Final = "account-"
"""How the requests begin that `perform` carries out."""


@contextlib.asynccontextmanager
async def office(folder: Path, passphrase: Secret) -> "AsyncIterator[Handler]":
    """The administrator's vault, online."""
    from ..issuer import Issuer

    async with await Issuer.open(folder, passphrase) as issuer, issuer.online() as relay:
        yield lambda request: _perform(issuer, relay, request)


async def perform(issuer: "Issuer", request: "Request") -> AsyncIterator[Reply]:
    """Carry out a request that begins with PREFIX, on the connection that serves."""
    async with issuer.online() as relay:
        async for reply in _perform(issuer, relay, request):
            yield reply


async def _perform(issuer: "Issuer", relay: "Requests", request: "Request") -> AsyncIterator[Reply]:
    from ..account import Account
    from ..errors import RelayError
    from . import account_work

    account = Account(relay, issuer.establishment, issuer.issuer_id)
    args = request.args
    match request.command:
        case command if command in account_work.FACTORS:
            yield await account_work.FACTORS[command](account, args)
        case "account-reset":
            row = await issuer.find(args["who"])
            await account.reset(row.account)
            yield {"kind": "credentials-reset", "name": row.name, "account": row.account.hex()}
        case "account-close":
            row = await issuer.find(args["who"])
            await account.close(row.account)
            if row.revoked_at is None:
                await issuer.revoke(row.account, "left")
                with contextlib.suppress(
                    RelayError
                ):  # it is kept, and goes with the next connection
                    await issuer.publish()
            yield {"kind": "account-closed", "name": row.name, "account": row.account.hex()}
        case "account-devices":
            row = await issuer.find(args["who"])
            for state in await account.devices(row.account):
                yield {**account_work.device_reply(state), "name": "", "person": row.name}


def commands(folder: Folder) -> tuple[click.Command, ...]:
    """The commands, for the administrator's folder."""

    def talk(work: Any) -> int:
        asked = settings()
        where = folder(asked)

        async def whole() -> None:
            async with dialogue(where, asked, office) as ask:
                await work(ask)

        run(whole())
        return 0

    @click.command("reset", help=_("Erase somebody's account password and second factor."))
    @click.argument("who", metavar=_("NAME"))
    @password_option
    @code_option
    @common
    def reset(who: str, password_file: Path | None, code: str | None) -> int:
        async def work(ask: Ask) -> None:
            await stepped_up(ask, password_file, code)
            (done,) = await ask("account-reset", who=who)
            if settings().json:
                say_json(done)
            else:
                text = _("%(name)s sets up both anew, on a device at hand: pli account password.")
                say(text % done)

        return talk(work)

    @click.command("close", help=_("Close somebody's account for good, and revoke them."))
    @click.argument("who", metavar=_("NAME"))
    @password_option
    @code_option
    @common
    def close(who: str, password_file: Path | None, code: str | None) -> int:
        async def work(ask: Ask) -> None:
            await stepped_up(ask, password_file, code)
            (done,) = await ask("account-close", who=who)
            if settings().json:
                say_json(done)
            else:
                say(
                    _("The account of %(name)s is closed, and what the relay held of it erased.")
                    % done
                )

        return talk(work)

    @click.command("devices", help=_("List somebody's devices, as the relay knows them."))
    @click.argument("who", metavar=_("NAME"))
    @common
    def devices(who: str) -> int:
        async def work(ask: Ask) -> None:
            from .devices import show_device

            for reply in await ask("account-devices", who=who):
                say_json(reply) if settings().json else show_device(reply)

        return talk(work)

    own = group(
        "account", _("The administration's own password and second factor."), folder, office
    )
    return (own, reset, close, devices)
