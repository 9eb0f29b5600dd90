"""What can go wrong while linking a device."""

from ..errors import EXIT_USAGE, PliError
from ..i18n import N_


class WrongAddress(PliError):
    """The address of the account cannot be read; `why` is the cause of InvitationError."""

    code = "bad-address"
    exit_code = EXIT_USAGE
    CAUSE = N_("The account's address is not one, or a letter of it is wrong or missing.")
    REMEDY = N_("On a device of yours run: pli account show, and copy the address it shows.")

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class NothingToLink(PliError):
    code = "nothing-to-link"
    CAUSE = N_("No device asks to be linked to your account.")
    REMEDY = N_("On the new device run: pli devices link, then this command within two minutes.")


class WrongLinkingCode(PliError):
    """What was typed is not the code of what the relay gave: nothing was signed."""

    code = "wrong-code"
    CAUSE = N_("This is not the code of the device that asks; nothing was linked.")
    REMEDY = N_(
        "Type the code that the new device shows now. If it is right and refused again, "
        "somebody is in between: link nothing and tell your administrator."
    )


class LinkingOver(PliError):
    """Two minutes are over, or another request came."""

    code = "linking-over"
    CAUSE = N_("The request to link the device is over: it is good for two minutes.")
    REMEDY = N_(
        "Begin again on the new device with pli devices link. Without any enrolled device, ask your "
        "administrator, who gives you a new invitation (pli admin replace)."
    )


class LetterForged(PliError):
    """The answer does not lead to the account of the address."""

    code = "letter-forged"
    CAUSE = N_("The answer does not come from a device of this account.")
    REMEDY = N_("Link nothing here; tell your administrator.")
