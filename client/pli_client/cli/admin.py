"""`pli admin`: the establishment's administration (its authority, invitations, issuer, revocations)."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import PliError, VaultMissing
from ..i18n import _
from . import admin_accounts, authority, invitations, issuers, partners, passphrases
from .connection import connection_command
from .joining import ca_option, certificates, checked, proxy_option
from .options import Settings, common, settings
from .output import Styled, say, say_json, tell
from .professions import PROFESSIONAL, SOFTWARE, profession_shown
from .reasons import LEFT, Reason, reason_told, reason_typed
from .session import VAULT_FILE, Answer, Reply, hand_over, patiently, run, taking_over, when_free

if TYPE_CHECKING:
    from ..handover import Request
    from ..issuer import AccountRow, Issuer, Report

FOLDER: Final = "establishment"
"""Folder of the administrator's vault beside the professional's, where neither is named."""


@click.group("admin", help=_("Administer the establishment: invite, sign, revoke."))
def admin() -> None:
    """Groups the commands below."""


@admin.command("init", help=_("Found the establishment at a relay with its one-time code."))
@click.option("--relay", required=True, metavar="URL", help=_("The relay's address (wss://…)."))
@click.option(
    "--code", required=True, metavar=_("CODE"), help=_("The one-time code of the relay's operator.")
)
@click.option("--name", required=True, metavar=_("NAME"), help=_("The establishment's name."))
@click.option(
    "--authority-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=_("FILE"),
    help=_("Where to put the sealed authority (else in the vault's folder)."),
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
def init(
    relay: str,
    code: str,
    name: str,
    authority_file: Path | None,
    authority_passphrase_file: Path | None,
    ca_file: Path | None,
    proxy: str | None,
) -> int:
    asked = settings()
    folder = _folder(asked)
    ca, proxy = certificates(ca_file), checked(proxy)
    new = not (folder / VAULT_FILE).exists()
    passphrase = passphrases.chosen(asked) if new else passphrases.known(asked)
    if authority_passphrase_file is not None:
        authority_passphrase = passphrases.from_file(authority_passphrase_file)
    else:
        prompt = _("A second passphrase, for the authority's file (kept in a safe): ")
        try:
            authority_passphrase = passphrases.chosen(Settings(), prompt)
        except passphrases.NoPassphrase:
            raise passphrases.NoAuthorityPassphrase() from None

    async def work() -> Reply:
        from pli_protocol.identity import fingerprint_text

        from ..issuer import establish

        made = await establish(
            folder,
            passphrase,
            authority_passphrase,
            name=name,
            relay_url=relay,
            code=code,
            ca=ca,
            proxy=proxy,
            authority_file=authority_file,
        )
        return {
            "kind": "establishment",
            "name": made.authority.name,
            "fingerprint": fingerprint_text(made.authority.fingerprint),
            "relay": made.relay_url,
            "authority_file": str(made.authority_file),
            "vault": str(folder),
        }

    founded = run(work())
    if asked.json:
        say_json(founded)
        return 0
    say(_("%(name)s is founded at %(relay)s.") % founded)
    say(_("Fingerprint of its authority: %(fingerprint)s") % founded)
    say(
        _("Put a copy of %(authority_file)s and its passphrase in a safe; then take the file away.")
        % founded
    )
    return 0


_until = click.option(
    "--until",
    type=click.DateTime(("%Y-%m-%d", "%d/%m/%Y")),
    metavar=_("DATE"),
    help=_("The account's last day (2027-03-31 or 31/03/2027), as of a replacement or a trainee."),
)


@admin.command("invite", help=_("Make an invitation for somebody, to be handed over in person."))
@click.argument("name", metavar=_("NAME"))
@click.option("--profession", default=None, help=_("As it stands on their badge."))
@click.option("--rpps", metavar="N", help=_("Their RPPS number (11 digits), if they have one."))
@click.option("--bot", is_flag=True, help=_("For a program, such as the DUI."))
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True, max=365),
    default=7.0,
    metavar="N",
    help=_("How many days the invitation is good; 7 unless told otherwise."),
)
@_until
@common
def invite(
    name: str,
    profession: str | None,
    rpps: str | None,
    bot: bool,
    days: float,
    until: datetime | None,
) -> int:
    return carry_out(
        "invite",
        ends_at=_last_moment(until),
        name=name,
        profession=profession or _(SOFTWARE if bot else PROFESSIONAL),
        rpps=rpps,
        bot=bot,
        days=days,
    )


@admin.command("revoke", help=_("Revoke somebody, with all their devices."))
@click.argument("who", metavar=_("NAME"))
@click.option("--reason", type=Reason(), default=reason_typed(LEFT), show_default=True)
@common
def revoke(who: str, reason: str) -> int:
    return carry_out("revoke", who=who, reason=reason)


@admin.command(
    "change",
    help=_("Sign somebody anew: another end date, name or profession. Their key stays."),
)
@click.argument("who", metavar=_("NAME"))
@_until
@click.option("--no-end", is_flag=True, help=_("The account has no end date any more."))
@click.option("--name", metavar=_("NAME"), help=_("Another name."))
@click.option("--profession", metavar=_("PROFESSION"), help=_("Another profession."))
@click.option("--rpps", metavar="N", help=_("Their RPPS number (11 digits), if they have one."))
@common
def change(
    who: str,
    until: datetime | None,
    no_end: bool,
    name: str | None,
    profession: str | None,
    rpps: str | None,
) -> int:
    if until is not None and no_end:
        raise click.UsageError(_("An option and its opposite cannot go together."))
    ends_at = _last_moment(until)
    return carry_out(
        "change",
        who=who,
        ends_at="never" if no_end else "same" if ends_at is None else ends_at,
        name=name,
        profession=profession,
        rpps=rpps,
    )


def _last_moment(day: datetime | None) -> int | None:
    """Milliseconds since 1970 of the end of a day here."""
    if day is None:
        return None
    return int(day.replace(hour=23, minute=59, second=59).timestamp() * 1000)


@admin.command(
    "replace",
    help=_("Replace somebody's key, as after a theft: an invitation for the same account."),
)
@click.argument("who", metavar=_("NAME"))
@click.option(
    "--stolen-device",
    "stolen",
    multiple=True,
    metavar=_("ID"),
    help=_("The stolen device's identifier: its vault wipes itself. May be repeated."),
)
@click.option(
    "--nothing-at-hand",
    is_flag=True,
    help=_("They have no device any more: every vault under the old key wipes itself."),
)
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True, max=365),
    default=7.0,
    metavar="N",
    help=_("How many days the invitation is good; 7 unless told otherwise."),
)
@common
def replace(who: str, stolen: tuple[str, ...], nothing_at_hand: bool, days: float) -> int:
    return carry_out(
        "replace",
        who=who,
        stolen=[_device(text) for text in stolen],
        at_hand=not nothing_at_hand,
        days=days,
    )


def _device(text: str) -> str:
    """A device's identifier in hexadecimal. Raises a usage error where it is none."""
    try:
        if len(bytes.fromhex(text)) == 16:
            return text
    except ValueError:
        pass
    raise click.UsageError(_("A device's identifier has 32 hexadecimal digits."))


@admin.command("people", help=_("List those who were signed, and open invitations."))
@common
def people() -> int:
    return carry_out("people")


@admin.command("invitations", help=_("List the invitations that nobody used yet."))
@common
def list_invitations() -> int:
    return carry_out("invitations")


@admin.command("withdraw", help=_("Withdraw an open invitation: its code is worthless then."))
@click.argument("who", metavar=_("NAME|ID"))
@common
def withdraw(who: str) -> int:
    return carry_out("withdraw", who=who)


@admin.command("serve", help=_("Answer those who join, and publish revocations, until stopped."))
@common
def serve() -> int:
    asked = settings()
    folder = existing_folder(asked)
    passphrase = passphrases.known(asked)

    async def work() -> None:
        from ..issuer import Issuer

        async with (
            await Issuer.open(folder, passphrase) as issuer,
            taking_over(folder, lambda request: _perform(issuer, request, serving=True)),
        ):
            await issuer.serve(_reporting(asked))

    run(patiently(work))
    return 0


# --- the work, here or in the process that serves ----------------------------------------------


def carry_out(command: str, **arguments: Any) -> int:
    """Have a command done by whoever has the administrator's vault; the exit code."""
    from ..handover import Request

    asked = settings()
    folder = existing_folder(asked)
    request = Request(command, arguments)
    answer = Answer(asked, _show)
    if run(hand_over(folder, request, answer)):
        return answer.exit_code
    passphrase = passphrases.known(asked)

    async def here() -> None:
        from ..issuer import Issuer

        async with await Issuer.open(folder, passphrase) as issuer:
            async for reply in _perform(issuer, request, serving=False):
                answer.take(reply)

    run(when_free(folder, request, answer, here))
    return answer.exit_code


async def _perform(issuer: "Issuer", request: "Request", *, serving: bool) -> AsyncIterator[Reply]:
    args = request.args
    match request.command:
        case command if command.startswith(admin_accounts.PREFIX):
            async for reply in admin_accounts.perform(issuer, request):
                yield reply
        case command if command.startswith("partner"):
            async for reply in partners.perform(issuer, request):
                yield reply
        case "issuers" | "resign" | "revoke-issuer":
            async for reply in issuers.perform(issuer, request):
                yield reply
        case command if command in invitations.REQUESTS:
            async for reply in invitations.perform(issuer, request):
                yield reply
        case "invite":
            before = await issuer.good_invitations(args["name"])
            invited = await issuer.invite(
                name=args["name"],
                profession=args["profession"],
                rpps=args["rpps"],
                kind="bot" if args["bot"] else "person",
                days=args["days"],
                account_ends_at=args["ends_at"],
            )
            yield {
                "kind": "invitation",
                "code": invited.invitation.text(),
                "name": args["name"],
                "account": invited.account.hex(),
                "expires_at": _moment(invited.expires_at),
                "open_before": len(before),
            }
        case "revoke":
            row = await issuer.find(args["who"])
            number = await issuer.revoke(row.account, args["reason"])
            yield {
                "kind": "revoked",
                "name": row.name,
                "account": row.account.hex(),
                "reason": args["reason"],
                "list": number,
            }
            if not serving:
                async for reply in _publish(issuer):
                    yield reply
        case "change":
            row = await issuer.find(args["who"])
            changed = await issuer.change(
                row.account,
                name=args["name"],
                profession=args["profession"],
                rpps=args["rpps"],
                ends_at=args["ends_at"],
            )
            yield _account_reply(issuer, changed)
            if not serving:
                async for reply in _publish(issuer):
                    yield reply
        case "replace":
            row = await issuer.find(args["who"])
            replaced, number = await issuer.replace(
                row.account,
                stolen=[bytes.fromhex(text) for text in args["stolen"]],
                at_hand=args["at_hand"],
                days=args["days"],
            )
            yield {
                "kind": "replacement",
                "code": replaced.invitation.text(),
                "name": row.name,
                "account": row.account.hex(),
                "at_hand": args["at_hand"],
                "list": number,
                "expires_at": _moment(replaced.expires_at),
            }
            if not serving:
                async for reply in _publish(issuer):
                    yield reply
        case "people":
            for signed in await issuer.people():
                yield _account_reply(issuer, signed)
            async for reply in invitations.perform(issuer, request):
                yield reply


def _account_reply(issuer: "Issuer", row: "AccountRow") -> Reply:
    ends = issuer.ends(row)
    return {
        "kind": "account",
        "name": row.name,
        "profession": row.profession,
        "rpps": row.rpps,
        "account": row.account.hex(),
        "bot": row.kind == "bot",
        "ends_at": None if ends is None else _moment(ends),
        "revoked": row.reason,
    }


async def _publish(issuer: "Issuer") -> AsyncIterator[Reply]:
    try:
        await issuer.publish()
    except PliError as error:
        yield {
            "kind": "notice",
            "text": str(error) + " " + _("What was signed is kept; pli admin serve publishes it."),
            "exit_code": error.exit_code,
        }


def _show(reply: Reply) -> None:
    issuers.show(reply)
    invitations.show(reply)
    match reply["kind"]:
        case "invitation":
            say(_("Invitation for %(name)s, good until %(expires_at)s:") % _dated(reply))
            say()
            say("    ", Styled(reply["code"], bold=True))
            say()
            _picture(reply["code"])
            say(_("Hand it over in person: the first person who uses it joins under this name."))
            if reply["open_before"]:
                invitations.tell_open(reply["name"])
        case "revoked":
            worded = {**reply, "reason": reason_told(reply["reason"])}
            say(_("%(name)s is revoked (%(reason)s), list number %(list)s.") % worded)
        case "replacement":
            say(_("The key of %(name)s is revoked, list number %(list)s.") % reply)
            say(_("Invitation for %(name)s, good until %(expires_at)s:") % _dated(reply))
            say()
            say("    ", Styled(reply["code"], bold=True))
            say()
            _picture(reply["code"])
            if reply["at_hand"]:
                say(_("Hand it over in person; on the device at hand: pli rejoin CODE."))
            else:
                say(_("Hand it over in person; on a new device: pli join CODE."))
        case "account":
            reason = reply["revoked"]
            state = (
                _("revoked: %(revoked)s") % {"revoked": reason_told(reason)}
                if reason
                else _("signed")
            )
            profession = profession_shown(reply["profession"])
            if reply["ends_at"]:
                then = datetime.fromisoformat(reply["ends_at"]).astimezone()
                state += ", " + _("until %(date)s") % {"date": then.strftime("%d/%m/%Y")}
            say(Styled(reply["name"], bold=True), f", {profession}, {state}")


def _refusal(code: str) -> str:
    """Why a request was turned away, as people say it."""
    words = {
        "used": _("invitation already used"),
        "expired": _("invitation expired"),
        "unknown": _("invitation unknown or withdrawn"),
    }
    return words.get(code, code)


def _dated(reply: Reply) -> Reply:
    """With the end of an invitation as people write it."""
    then = datetime.fromisoformat(reply["expires_at"]).astimezone()
    return {**reply, "expires_at": then.strftime("%d/%m/%Y %H:%M")}


def _picture(code: str) -> None:
    """The QR picture, where a person looks."""
    import sys

    if not sys.stdout.isatty():
        return
    import segno

    segno.make(code, error="l").terminal(compact=True)


def _reporting(asked: Settings) -> Callable[["Report"], None]:
    """Shows what is reported; that the relay stays away is told once."""
    from ..issuer import ServiceOffline

    away = ""

    def show(report: "Report") -> None:
        nonlocal away
        cause = report.error.cause if isinstance(report, ServiceOffline) else ""
        if not cause or cause != away:
            _report(report, asked)
        away = cause

    return show


def _report(report: "Report", asked: Settings) -> None:
    from ..issuer import EnrolmentAnswered, RevocationsPublished, ServiceOffline, ServiceOnline

    match report:
        case ServiceOnline(relay):
            tell(_("Connected to %(relay)s; answering those who join.") % {"relay": relay})
        case ServiceOffline(error, _retry):
            tell(error.cause)
        case RevocationsPublished(number):
            tell(_("Revocation list %(number)s is at the relay.") % {"number": number})
        case EnrolmentAnswered():
            signed = {
                "kind": "enrolment",
                "name": report.name,
                "profession": report.profession,
                "account": None if report.account is None else report.account.hex(),
                "refused": report.refused,
            }
            if asked.json:
                say_json(signed)
            elif report.refused is not None:
                turned_away = {"refused": _refusal(report.refused)}
                say(_("A request was turned away (%(refused)s).") % turned_away)
            else:
                profession = profession_shown(report.profession)
                say(
                    _("%(name)s, %(profession)s, is signed.") % {**signed, "profession": profession}
                )


def _folder(asked: Settings) -> Path:
    folder = asked.folder()
    import os

    from .options import VAULT_VARIABLE

    named = asked.vault is not None or os.environ.get(VAULT_VARIABLE)
    return folder if named else folder.with_name(FOLDER)


def existing_folder(asked: Settings) -> Path:
    """The folder of the administrator's vault, which is founded."""
    folder = _folder(asked)
    if not (folder / VAULT_FILE).exists():
        from ..issuer import AUTHORITY_FILE, FoundingUnfinished

        unfinished = (folder / AUTHORITY_FILE).exists()
        raise FoundingUnfinished(folder=folder) if unfinished else VaultMissing(folder=folder)
    return folder


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


admin.add_command(partners.COMMAND)
for command in admin_accounts.commands(existing_folder):
    admin.add_command(command)
admin.add_command(issuers.COMMAND)
admin.add_command(authority.ADMIN_COMMAND)
admin.add_command(
    connection_command(
        _folder,
        _("Show the administrator's way to the relay, or change the authorities and proxy kept."),
    )
)
COMMAND: Final = admin
