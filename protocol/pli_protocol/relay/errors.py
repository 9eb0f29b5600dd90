"""The error codes of the relay protocol, as on the wire."""

from typing import Final

CODES: Final = {
    # the connection is closed after these
    "unsupported-version": "no protocol version in common; the detail says which side to update",
    "bad-frame": "not a frame, or one too large, too deep, or of a wrong type",
    "out-of-order": "a frame that is not allowed yet or any more (before Hello, before SignIn)",
    "sign-in-failed": "unknown, revoked or closed account or device, or a wrong signature",
    "clone": "another token than the one given last: this device's vault was copied or rolled back",
    "replaced": "the same device signed in on another connection",
    "shutting-down": "the relay stops; connect again",
    # the request is refused, the connection goes on
    "not-found": "does not exist, or is not yours to see",
    "stale-epoch": "the group is in another epoch; read the log, then try again",
    "predecessor-missing": "the send named as the one before is not the last one held",
    "roster": "the commit's AAD is malformed, or names devices that it may not",
    "conflict": "somebody else did it first (a successor, a registration, an id taken)",
    "restored": "no change yet: the relay was restored, and devices of the group have not come back",
    "too-large": "over a size limit; the detail names it",
    "limit": "over a count limit; the detail names it",
    "try-later": "cannot be stored now (disk full, load); nothing was stored, retry_after says when",
    "invalid": "well-formed but wrong: a certificate, statement or message that does not check",
    "not-accepted": "wrong password or code, or no such account; retry_after: locked until then",
    "step-up": "password and second factor come first (StepUp)",
    "used": "an invitation or code that was used already",
}
"""Code to meaning, for documentation and tests."""
