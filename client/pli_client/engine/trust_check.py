"""The authentication hook of MLS (RFC 9420 §5.3.1): a chain to a trusted authority, nothing else."""

from typing import Final

from pli_protocol.identity import Device, IdentityError, Trust
from pli_protocol.mls.credential import Credential, X509Credential
from pli_protocol.mls.epoch import Member
from pli_protocol.mls.errors import ValidationError

OF_ANOTHER_AUTHORITY: Final = ("authority", "name-chaining", "signature")
"""Rules that a chain breaks whose authority is not known here."""


class TrustCheck:
    """Accepts x509 credentials whose chain verifies and whose key is the leaf's.

    Dates and revocation are not looked at here: an old member stays readable. Whoever adds, or
    accepts an Add, asks for both.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self.strange = False
        """A chain was of an authority that is not trusted here: a partner perhaps that is new."""

    def check(self, credential: Credential, signature_key: bytes) -> None:
        """Raises ValidationError("credential")."""
        if self.device(credential).signature_key != signature_key:
            raise ValidationError("credential", "§5.3.1")

    def same_identity(self, old: Credential, new: Credential) -> bool:
        """The same device of the same person, with a newer certificate perhaps."""
        try:
            before, after = self.device(old), self.device(new)
        except ValidationError:
            return False
        same_person = before.person.person_id == after.person.person_id
        return same_person and before.device_id == after.device_id

    def device(self, credential: Credential) -> Device:
        """Who a credential is about. Raises ValidationError("credential")."""
        if not isinstance(credential, X509Credential):
            raise ValidationError("credential", "§5.3.1")
        try:
            return self._trust.device(credential.certificates, None)
        except IdentityError as error:
            self.strange = self.strange or error.rule in OF_ANOTHER_AUTHORITY
            raise ValidationError("credential", "§5.3.1", error.rule) from error

    def member(self, member: Member) -> Device:
        """Who sits at a leaf. Raises ValidationError("credential")."""
        return self.device(member.credential)
