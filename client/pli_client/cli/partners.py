"""`pli admin partner`: what the establishment's authority signs of other establishments.

The authority's sealed file is opened here, for the signature alone; everything else is done by whoever has
the administrator's vault.
"""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ..i18n import _
from . import passphrases
from .options import Settings, common, settings
from .output import Styled, say, tell
from .session import Answer, Reply, hand_over, run, when_free

if TYPE_CHECKING:
    from pli_protocol.identity import PartnerStatement

    from ..handover import Request
    from ..issuer import Issuer, Partnership

DEFAULT_DAYS: Final = 365

Command = TypeVar("Command", bound=Callable[..., Any])


def _authority_options(command: Command) -> Command:
    """Where the sealed authority and its passphrase are."""
    command = click.option(
        "--authority-passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar=_("FILE"),
        help=_("Read the authority's own passphrase from the first line of this file."),
    )(command)
    return click.option(
        "--authority-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar=_("FILE"),
        help=_("The sealed authority, from the safe (else the one in the vault's folder)."),
    )(command)


@click.group("partner", help=_("Partner establishments: whose people yours can write to."))
def partner() -> None:
    """Groups the commands below."""


@partner.command("code", help=_("Print your establishment's partner code, for the other one."))
@common
def code() -> int:
    return _finish(_asked(), "partner-code")


@partner.command("list", help=_("List the partners, and whether they have signed too."))
@common
def list_() -> int:
    return _finish(_asked(), "partners")


@partner.command("add", help=_("Sign that the establishment of this partner code is a partner."))
@click.argument("partner_code", metavar=_("CODE"))
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar=_("DATE"),
    help=_("The last day of the partnership (2027-12-31); a year from now unless told otherwise."),
)
@click.option("--name", default="", metavar=_("NAME"), help=_("What your people are shown."))
@_authority_options
@common
def add(
    partner_code: str,
    until: datetime | None,
    name: str,
    authority_file: Path | None,
    authority_passphrase_file: Path | None,
) -> int:
    if until is None:
        end = datetime.now(UTC) + timedelta(days=DEFAULT_DAYS)
    else:
        end = until.astimezone() + timedelta(days=1)
    steps = _asked()
    arguments = {"code": partner_code, "until": int(end.timestamp()), "name": name}
    (draft,) = steps.take("partner-begin", **arguments)
    tell(_("%(name)s, fingerprint of its authority: %(fingerprint)s") % draft)
    tell(_("Compare it with what the other administrator reads out."))
    return _sign_and_publish(steps, draft, authority_file, authority_passphrase_file)


@partner.command("end", help=_("Sign that a partnership ends now."))
@click.argument("who", metavar=_("NAME"))
@_authority_options
@common
def end(who: str, authority_file: Path | None, authority_passphrase_file: Path | None) -> int:
    steps = _asked()
    (draft,) = steps.take("partner-end", who=who)
    return _sign_and_publish(steps, draft, authority_file, authority_passphrase_file)


COMMAND: Final = partner


# --- here -------------------------------------------------------------------------------------


class _Steps:
    """Requests to whoever has the administrator's vault; its passphrase is asked for once."""

    def __init__(self, asked: Settings) -> None:
        from .admin import existing_folder

        self.asked, self.folder = asked, existing_folder(asked)
        self._passphrase: Any = None

    def take(self, command: str, **arguments: Any) -> list[Reply]:
        """The replies of a step."""
        replies: list[Reply] = []
        self.carry_out(Answer(Settings(), replies.append), command, **arguments)
        return replies

    def carry_out(self, answer: Answer, command: str, **arguments: Any) -> None:
        from ..handover import Request

        request = Request(command, arguments)
        if run(hand_over(self.folder, request, answer)):
            return
        self._passphrase = self._passphrase or passphrases.known(self.asked)

        async def here() -> None:
            from ..issuer import Issuer

            async with await Issuer.open(self.folder, self._passphrase) as issuer:
                async for reply in perform(issuer, request):
                    answer.take(reply)

        run(when_free(self.folder, request, answer, here))


def _asked() -> _Steps:
    return _Steps(settings())


def _finish(steps: _Steps, command: str, **arguments: Any) -> int:
    answer = Answer(steps.asked, _show)
    steps.carry_out(answer, command, **arguments)
    if command == "partners" and not (answer.given or steps.asked.json):
        tell(_("No partners."))
    return answer.exit_code


def _sign_and_publish(
    steps: _Steps, draft: Reply, authority_file: Path | None, passphrase_file: Path | None
) -> int:
    from ..issuer import AUTHORITY_FILE

    if passphrase_file is not None:
        passphrase = passphrases.from_file(passphrase_file)
    else:
        prompt = _("The authority's passphrase: ")
        try:
            passphrase = passphrases.known(Settings(), prompt)
        except passphrases.NoPassphrase:
            raise passphrases.NoAuthorityPassphrase() from None
    file = authority_file or steps.folder / AUTHORITY_FILE
    signed = _signed(draft, file, passphrase)
    return _finish(steps, "partner-publish", statement=signed.hex(), authority=draft["authority"])


def _signed(draft: Reply, file: Path, passphrase: Any) -> bytes:
    from pli_protocol.identity import PartnerStatement, sign

    from ..issuer import open_authority
    from ..issuer.errors import OtherAuthority

    key, authority = open_authority(file, passphrase)
    if authority.establishment.hex() != draft["own"]:
        raise OtherAuthority()
    statement = PartnerStatement(
        authority.establishment,
        draft["name"],
        bytes.fromhex(draft["fingerprint"].replace(" ", "")),
        draft["until"],
        draft["time"],
    )
    return sign(statement, key)


# --- by whoever has the vault -----------------------------------------------------------------


async def perform(issuer: "Issuer", request: "Request") -> AsyncIterator[Reply]:
    """Carry out one of the steps above."""
    args, partners = request.args, issuer.partners
    match request.command:
        case "partner-code":
            yield {"kind": "partner-code", "code": partners.code(), "name": issuer.name}
        case "partners":
            for found in await partners.all():
                yield _reply(found)
        case "partner-begin":
            authority = await partners.look(args["code"])
            draft = await partners.begin(authority, int(args["until"]), args["name"])
            yield _draft(draft, authority.certificate)
        case "partner-end":
            draft, certificate = await partners.end(args["who"])
            yield _draft(draft, certificate)
        case "partner-publish":
            statement, certificate = (bytes.fromhex(args[k]) for k in ("statement", "authority"))
            yield _reply(await partners.publish(statement, certificate))


def _draft(statement: "PartnerStatement", certificate: bytes) -> Reply:
    from pli_protocol.identity import fingerprint_text

    return {
        "kind": "partner-draft",
        "own": statement.establishment.hex(),
        "name": statement.name,
        "fingerprint": fingerprint_text(statement.fingerprint),
        "until": statement.until,
        "time": statement.time,
        "authority": certificate.hex(),
    }


def _reply(found: "Partnership") -> Reply:
    from pli_protocol.identity import fingerprint_text

    return {
        "kind": "partner",
        "name": found.name,
        "establishment": found.establishment.hex(),
        "fingerprint": fingerprint_text(found.fingerprint),
        "until": datetime.fromtimestamp(found.until, UTC).isoformat(),
        "state": found.state,
    }


def _show(reply: Reply) -> None:
    if reply["kind"] == "partner-code":
        say(_("Partner code of %(name)s, to be given to the other administrator:") % reply)
        say()
        say("    ", Styled(reply["code"], bold=True))
        say()
        say(_("It is not secret; what counts is that they have it from you."))
        return
    last = datetime.fromisoformat(reply["until"]).astimezone() - timedelta(seconds=1)
    words = {**reply, "until": last.strftime("%d/%m/%Y %H:%M"), "state": _STATES[reply["state"]]()}
    say(Styled(reply["name"], bold=True), _(", until %(until)s: %(state)s") % words)


_STATES: Final[dict[str, Callable[[], str]]] = {
    "open": lambda: _("open, both have signed"),
    "waiting": lambda: _("the other establishment has not signed yet"),
    "ended": lambda: _("ended"),
    "unsent": lambda: _("signed, not at the relay yet"),
    "refused": lambda: _("refused by the relay"),
    "unknown": lambda: _("signed; the relay cannot be asked whether the other one has"),
}
