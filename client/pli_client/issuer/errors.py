"""What can go wrong for an establishment's administrator."""

from ..errors import EXIT_USAGE, PliError
from ..i18n import N_


class NotAnIssuer(PliError):
    code = "not-an-issuer"
    exit_code = EXIT_USAGE
    CAUSE = N_("The vault in %(folder)s is not an establishment's.")
    REMEDY = N_("Name the administrator's vault with --vault, or found one with pli admin init.")


class FoundingUnfinished(NotAnIssuer):
    """The vault of an establishment that its relay has not taken yet."""

    code = "founding-unfinished"
    CAUSE = N_("The founding of the establishment in %(folder)s is not finished.")
    REMEDY = N_("Repeat pli admin init, with the same name; it goes on where it stopped.")


class EstablishmentExists(PliError):
    code = "establishment-exists"
    CAUSE = N_("The vault in %(folder)s has an establishment already: %(name)s.")
    REMEDY = N_("Use it, or choose another folder with --vault.")


class AuthorityFileDamaged(PliError):
    code = "authority-file-damaged"
    CAUSE = N_("The authority file %(file)s is damaged or is not one.")
    REMEDY = N_("Take another copy of it.")


class RegistrationRefused(PliError):
    """The relay did not take the establishment; the vault keeps what was made, to try again."""

    code = "registration-refused"
    CAUSE = N_("The relay does not accept this establishment code (%(refusal)s).")
    REMEDY = N_("Ask the relay's operator for a new code, then repeat the command with it.")


class UnknownAccount(PliError):
    code = "unknown-account"
    exit_code = EXIT_USAGE
    CAUSE = N_("Nobody of this establishment is known as %(who)s.")
    REMEDY = N_(
        "Write the name as it stands in the invitation, or the account's identifier. "
        "Who was only invited is uninvited with pli admin withdraw."
    )


class UnknownInvitation(PliError):
    code = "unknown-invitation"
    exit_code = EXIT_USAGE
    CAUSE = N_("There is no open invitation for %(who)s, or several.")
    REMEDY = N_("See pli admin invitations, and give the identifier that stands there.")


class BadPartnerCode(PliError):
    """The code cannot be read; `why` is the cause of InvitationError."""

    code = "bad-partner-code"
    exit_code = EXIT_USAGE
    CAUSE = N_("This is not a partner code, or a letter of it is wrong, missing or too many.")
    REMEDY = N_("Ask the other administrator for it again: pli admin partner code.")

    def __init__(self, why: str) -> None:
        super().__init__(why=why)


class OwnPartnerCode(PliError):
    code = "own-partner-code"
    exit_code = EXIT_USAGE
    CAUSE = N_("This is your own establishment's partner code.")
    REMEDY = N_("Give it to the other administrator, and use theirs here.")


class PartnerNotAtRelay(PliError):
    """The relay has no establishment of this fingerprint."""

    code = "partner-not-at-relay"
    CAUSE = N_("The establishment of this code is not at your relay; its code names %(relay)s.")
    REMEDY = N_(
        "Partners are establishments of the same relay; ask the host where the other one is."
    )


class OtherAuthority(PliError):
    code = "other-authority"
    exit_code = EXIT_USAGE
    CAUSE = N_("The authority file is another establishment's.")
    REMEDY = N_("Give this establishment's own with --authority-file.")


class PartnerNotTaken(PliError):
    """The relay refuses a statement."""

    code = "partner-not-taken"
    CAUSE = N_("The relay does not take what was signed about %(name)s (%(refusal)s).")
    REMEDY = N_("Look at pli admin partner list, then sign it again.")


class UnknownPartner(PliError):
    code = "unknown-partner"
    exit_code = EXIT_USAGE
    CAUSE = N_("There is no partner %(who)s.")
    REMEDY = N_("See the list: pli admin partner list.")


class NotAChange(PliError):
    code = "not-a-change"
    CAUSE = N_("This is no complete change of this establishment's authority (%(rule)s).")
    REMEDY = N_(
        "Where the authority is lost, two different issuers sign: pli admin authority sign."
    )


class UnknownIssuer(PliError):
    code = "unknown-issuer"
    exit_code = EXIT_USAGE
    CAUSE = N_("No other issuer of this establishment is known as %(which)s.")
    REMEDY = N_("See the list: pli admin issuer list; an issuer does not revoke itself.")
