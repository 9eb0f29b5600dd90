"""Joining with an invitation: a device makes its keys, has its person signed, signs itself.

What it needs to go on after a crash is in the vault before anything is sent: the keys, the request as
it was sealed, and the key for the answer. The row is complete, and the invitation's secret gone, in
the transaction that keeps the certificates.
"""

from .asking import Step
from .errors import (
    AlreadyEnrolled,
    BadInvitation,
    EnrolmentPending,
    EstablishmentForged,
    EstablishmentUnknown,
    InvitationRefused,
    NotYourAccount,
)
from .joining import enrol, parse_invitation
from .rejoining import Rejoined, rejoin

__all__ = [
    "AlreadyEnrolled",
    "BadInvitation",
    "EnrolmentPending",
    "EstablishmentForged",
    "EstablishmentUnknown",
    "InvitationRefused",
    "NotYourAccount",
    "Rejoined",
    "Step",
    "enrol",
    "parse_invitation",
    "rejoin",
]
