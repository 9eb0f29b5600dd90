"""What a caller of the SDK may have asked wrongly, or too early."""

from ..errors import EXIT_USAGE, PliError
from ..i18n import N_


class NotEnrolled(PliError):
    """A vault whose person has not joined an establishment."""

    code = "not-enrolled"
    CAUSE = N_("Nobody has joined an establishment with this vault yet.")
    REMEDY = N_("Join with an invitation: pli join CODE.")


class UnknownPerson(PliError):
    """`who` is nobody in the directory, or more than one person."""

    code = "unknown-person"
    exit_code = EXIT_USAGE
    CAUSE = N_("There is no person %(who)s in the directory.")
    REMEDY = N_("Check the name; who joined lately is known once the relay was reached.")

    def __init__(self, who: str) -> None:
        super().__init__(who=who)


class AmbiguousPerson(PliError):
    code = "ambiguous-person"
    exit_code = EXIT_USAGE
    CAUSE = N_("There are several persons that %(who)s could mean.")
    REMEDY = N_("Write the whole name, or the account's number.")

    def __init__(self, who: str) -> None:
        super().__init__(who=who)


class UnknownPartner(PliError):
    """`who` is no partner establishment, or several."""

    code = "unknown-partner"
    exit_code = EXIT_USAGE
    CAUSE = N_("There is no partner establishment %(who)s.")
    REMEDY = N_("See the list: pli partners.")

    def __init__(self, who: str) -> None:
        super().__init__(who=who)


class NotPartner(PliError):
    """An establishment whose people cannot be asked for, or added, now."""

    code = "not-partner"
    CAUSE = N_("%(name)s is not a partner of your establishment now.")
    REMEDY = N_("Both establishments' administrators have to sign it: pli admin partner.")

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class UnknownConversation(PliError):
    code = "unknown-conversation"
    exit_code = EXIT_USAGE
    CAUSE = N_("There is no such conversation.")
    REMEDY = N_("See the list: pli conversations.")


class UnknownMessage(PliError):
    code = "unknown-message"
    exit_code = EXIT_USAGE
    CAUSE = N_("There is no such message.")


class NotInRecord(PliError):
    """A message that is to be taken off a record does not stand in it."""

    code = "not-in-record"
    exit_code = EXIT_USAGE
    CAUSE = N_("This message does not stand in the record %(record)s.")
    REMEDY = N_("See in which records it stands: pli read.")

    def __init__(self, record: str) -> None:
        super().__init__(record=record)


class ConversationOver(PliError):
    """One cannot write in it any more: removed, left, or never begun."""

    code = "conversation-over"
    CAUSE = N_("This conversation is over for you: nothing more can be written in it.")


class ChangeFailed(PliError):
    """A change of members did not come about."""

    code = "change-failed"
    CAUSE = N_("The change of members did not come about (%(reason)s).")
    REMEDY = N_("Try again; who has no device yet cannot be added.")

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)
        self.reason = reason


class OldSoftware(ChangeFailed):
    """Somebody's devices understand only a cipher suite of before; event `ChangeRefused` names them."""

    code = "old-software"
    CAUSE = N_(
        "The change of members did not come about: somebody still has an older version of Pli."
    )
    REMEDY = N_(
        "Who is to come in, and everybody in this conversation, must have updated Pli and have been "
        "online once since."
    )


class NotAllPartners(ChangeFailed):
    """The relay lets nobody in whose establishment is not a partner of everybody's who is there."""

    code = "not-all-partners"
    CAUSE = N_(
        "The change of members did not come about: not all establishments in this conversation are "
        "partners of each other."
    )
    REMEDY = N_("Every two of them have to sign it; or open a conversation without the others.")


class SendFailed(PliError):
    """A message was refused for good; it stays in the conversation, shown as failed."""

    code = "send-failed"
    CAUSE = N_("The message was not sent (%(reason)s).")

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)


class TooLate(PliError):
    """A message that cannot be taken back."""

    code = "too-late"
    CAUSE = N_("This message cannot be taken back: it is on its way, was sent, or is not yours.")


class NotSettled(PliError):
    """Something still waits when the time was over."""

    code = "not-settled"
    CAUSE = N_("Not everything was sent or received in time.")
    REMEDY = N_("What waits is kept, and goes on when the relay is there.")
