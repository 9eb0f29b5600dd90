"""The authentication hook: the application decides whom it accepts (RFC 9420 §5.3.1)."""

from __future__ import annotations

from typing import Protocol

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
