"""`pli admin invitations`, `withdraw`: the codes that nobody used yet, and making one worthless."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ..i18n import _
from .output import say, tell
from .professions import profession_shown
from .session import Reply

if TYPE_CHECKING:
    from ..handover import Request
    from ..issuer import Issuer
    from ..issuer.tables import InvitationRow

REQUESTS: Final = frozenset({"invitations", "withdraw"})


async def perform(issuer: "Issuer", request: "Request") -> AsyncIterator[Reply]:
    """Carry out one of REQUESTS."""
    from ..issuer import UnknownInvitation

    if request.command == "withdraw":
        row = await issuer.find_invitation(request.args["who"])
        if not await issuer.withdraw(row.id):
            raise UnknownInvitation(who=request.args["who"])  # used in this moment
        yield {**_reply(row), "kind": "invitation-withdrawn"}
        return
    for row in await issuer.invitations():
        yield _reply(row)


def tell_open(name: str) -> None:
    """Somebody of this name holds a code already."""
    text = _(
        "An invitation for %(name)s was open already; it stays good. See pli admin invitations."
    )
    tell(text % {"name": name})


def show(reply: Reply) -> None:
    """Print one of the replies above."""
    if reply["kind"] not in ("open-invitation", "invitation-withdrawn"):
        return
    then = datetime.fromisoformat(reply["expires_at"]).astimezone()
    worded = {
        **reply,
        "profession": profession_shown(reply["profession"]),
        "expires_at": then.strftime("%d/%m/%Y %H:%M"),
    }
    if reply["kind"] == "invitation-withdrawn":
        say(_("The invitation for %(name)s is withdrawn: its code is worthless.") % worded)
    else:
        text = _("%(name)s, %(profession)s: invited, until %(expires_at)s")
        say(text % worded, "  ", reply["id"])


def _reply(row: "InvitationRow") -> Reply:
    ends = datetime.fromtimestamp(row.expires_at / 1000, UTC)
    return {
        "kind": "open-invitation",
        "id": row.id.hex(),
        "name": row.name,
        "profession": row.profession,
        "expires_at": ends.isoformat(timespec="seconds"),
    }
