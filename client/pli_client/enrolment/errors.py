"""What can go wrong while joining."""

from typing import Final

from pli_protocol.identity.enrolment import RefusalCode

from ..errors import EXIT_USAGE, PliError
from ..i18n import N_


class BadInvitation(PliError):
    """The code cannot be read; `why` is the cause of InvitationError."""

    code = "bad-invitation"
    exit_code = EXIT_USAGE
    REMEDY = N_("Copy it again from the invitation, or ask for a new one.")

    CAUSES: Final = {
        "empty": N_("The invitation code is empty."),
        "character": N_("The invitation code has a character that no code has."),
        "too-short": N_("The invitation code is incomplete."),
        "checksum": N_("A letter of the invitation code is wrong, missing or too many."),
        "relay": N_("The invitation code names no relay that this Pli can use."),
    }

    def __init__(self, why: str) -> None:
        super().__init__()
        self.CAUSE = self.CAUSES[why]  # type: ignore[misc]  # here it belongs to the instance


class InvitationRefused(PliError):
    """The establishment turned the request away; `refusal` is unknown, used or expired."""

    code = "invitation-refused"
    REMEDY = N_("Ask your establishment for a new invitation.")

    CAUSES: Final = {
        "unknown": N_("Your establishment does not know this invitation."),
        "used": N_("This invitation was used already."),
        "expired": N_("This invitation is past its date."),
    }

    def __init__(self, refusal: RefusalCode) -> None:
        super().__init__()
        self.refusal = refusal
        self.CAUSE = self.CAUSES[refusal]  # type: ignore[misc]  # here it belongs to the instance


class EstablishmentUnknown(PliError):
    code = "establishment-unknown"
    CAUSE = N_("The relay does not know the establishment of this invitation.")
    REMEDY = N_("Check with who invited you.")


class EstablishmentForged(PliError):
    """What the relay gave does not carry the fingerprint of the invitation, or does not check."""

    code = "establishment-forged"
    CAUSE = N_("The relay's answer does not come from the establishment that invited you.")
    REMEDY = N_("Join nothing here; tell who invited you.")


class EnrolmentPending(PliError):
    """The request lies at the relay; nothing is lost by stopping here."""

    code = "enrolment-pending"
    CAUSE = N_("Your establishment has not answered yet.")
    REMEDY = N_("Run the same command again later: it goes on where it stopped.")


class AlreadyEnrolled(PliError):
    code = "already-enrolled"
    CAUSE = N_("This vault belongs to an enrolled device already.")
    REMEDY = N_("Use it, or choose another folder with --vault.")


class NotYourAccount(PliError):
    """An invitation for somebody else, or of another establishment: this vault is its person's."""

    code = "not-your-account"
    exit_code = EXIT_USAGE
    CAUSE = N_("This invitation is not for the person whose vault this is.")
    REMEDY = N_(
        "Join with it in another folder (pli join), or ask for one made by pli admin replace."
    )
