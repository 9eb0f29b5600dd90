"""Linking a further device: the new one asks, an enrolled one approves, the relay only carries.

The new device shows a code over its request's keys; whoever approves types it on the enrolled device,
which signs nothing unless it is the code of what the relay gave it. What the new device needs to go on
after a crash is in its vault before anything is sent; the conversations are asked to add the new device
by intents in the enrolled one's vault, so both can stop at any point.
"""

from .approving import Waiting, add_when_ready, approve, waiting
from .asking import LinkStep, link
from .errors import (
    LetterForged,
    LinkingOver,
    NothingToLink,
    WrongAddress,
    WrongLinkingCode,
)

__all__ = [
    "LetterForged",
    "LinkStep",
    "LinkingOver",
    "NothingToLink",
    "Waiting",
    "WrongAddress",
    "WrongLinkingCode",
    "add_when_ready",
    "approve",
    "link",
    "waiting",
]
