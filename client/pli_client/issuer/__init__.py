"""The establishment's administration: its authority file, invitations, enrolments, revocations.

`establish` founds an establishment on a relay; `Issuer` is what its administrator's vault can do:
invite, answer requests to be enrolled (`serve`), revoke.
"""

from .authority_file import AUTHORITY_FILE, open_authority, seal_authority
from .errors import (
    AuthorityFileDamaged,
    EstablishmentExists,
    FoundingUnfinished,
    NotAChange,
    NotAnIssuer,
    RegistrationRefused,
    UnknownAccount,
    UnknownInvitation,
    UnknownIssuer,
)
from .establishing import Established, establish
from .issuer import Issuer
from .partners import Partnership
from .reports import EnrolmentAnswered, Report, RevocationsPublished, ServiceOffline, ServiceOnline
from .succeeding import IssuerState, add_issuer
from .tables import AccountRow, InvitationRow, Invited

__all__ = [
    "AUTHORITY_FILE",
    "AccountRow",
    "AuthorityFileDamaged",
    "EnrolmentAnswered",
    "Established",
    "EstablishmentExists",
    "FoundingUnfinished",
    "InvitationRow",
    "Invited",
    "Issuer",
    "IssuerState",
    "NotAChange",
    "NotAnIssuer",
    "Partnership",
    "RegistrationRefused",
    "Report",
    "RevocationsPublished",
    "ServiceOffline",
    "ServiceOnline",
    "UnknownAccount",
    "UnknownInvitation",
    "UnknownIssuer",
    "add_issuer",
    "establish",
    "open_authority",
    "seal_authority",
]
