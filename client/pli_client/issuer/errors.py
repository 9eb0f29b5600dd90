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
    REMEDY = N_("Write the name as it stands in the invitation, or the account's identifier.")
