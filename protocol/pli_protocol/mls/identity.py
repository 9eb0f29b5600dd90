"""The authentication hook: the application decides whom it accepts (RFC 9420 §5.3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from .credential import BasicCredential, Credential
from .errors import ValidationError


class IdentityCheck(Protocol):
    """What the application must decide about credentials."""

    def check(self, credential: Credential, signature_key: bytes) -> None:
        """Raise ValidationError("credential") unless the key belongs to that identity."""

    def same_identity(self, old: Credential, new: Credential) -> bool:
        """Whether a member may replace its credential `old` by `new`."""


class AcceptBasic:
    """Accepts every basic credential, and compares bytes. For tests and interoperability."""

    def check(self, credential: Credential, signature_key: bytes) -> None:
        """Accept any basic credential, and nothing else."""
        if not isinstance(credential, BasicCredential):
            raise ValidationError("credential", "§5.3.1")

    def same_identity(self, old: Credential, new: Credential) -> bool:
        """Equal bytes."""
        return old == new


class AcceptAll:
    """Accepts every credential: for what we say about ourselves."""

    def check(self, credential: Credential, signature_key: bytes) -> None:
        """Accept."""

    def same_identity(self, old: Credential, new: Credential) -> bool:
        """Accept."""
        return True


ACCEPT_BASIC: IdentityCheck = AcceptBasic()
ACCEPT_ALL: IdentityCheck = AcceptAll()


COMPARED: Final = 64
"""How many comparisons `all_among` makes at most, for each credential of either list."""


def all_among(
    identity: IdentityCheck, some: Sequence[Credential], others: Sequence[Credential], newer: bool
) -> bool:
    """Whether each of `some` is the same identity as one of `others`; `newer`: `some` are the new.

    Equal credentials are. Where they differ, the application is asked, first about the one that
    follows the last found: lists in one order cost one question for each. What costs more than
    COMPARED questions for each, which takes hundreds that were all renewed and mixed up, is False.
    """
    equal = set(others)
    left = COMPARED * (len(some) + len(others))
    position = -1
    for credential in some:
        if credential in equal:
            continue
        for step in range(1, len(others) + 1):
            at = (position + step) % len(others)
            left -= 1
            if left < 0:
                return False
            old, new = (others[at], credential) if newer else (credential, others[at])
            if identity.same_identity(old, new):
                position = at
                break
        else:
            return False
    return True
