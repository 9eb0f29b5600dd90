"""Credentials (RFC 9420 §5.3): who a member says it is."""

from dataclasses import dataclass
from enum import IntEnum

from .codec import Reader, Writer
from .quick import quick


# uint16 CredentialType;
class CredentialType(IntEnum):
    """The registered types of RFC 9420 (§17.5); others are plain numbers."""

    BASIC = 0x0001
    X509 = 0x0002


# struct {
#     opaque cert_data<V>;
# } Certificate;
#
# struct {
#     CredentialType credential_type;
#     select (Credential.credential_type) {
#         case basic: opaque identity<V>;
#         case x509:  Certificate certificates<V>;
#     };
# } Credential;
@quick
@dataclass(frozen=True, slots=True)
class BasicCredential:
    """A bare identity; whether it is true is for the application to know."""

    identity: bytes

    @property
    def credential_type(self) -> int:
        return CredentialType.BASIC

    def write(self, w: Writer) -> None:
        w.u16(CredentialType.BASIC)
        w.opaque(self.identity)


@quick
@dataclass(frozen=True, slots=True)
class X509Credential:
    """A chain of DER certificates, the leaf's first; its key is the leaf node's signature key."""

    certificates: tuple[bytes, ...]

    @property
    def credential_type(self) -> int:
        return CredentialType.X509

    def write(self, w: Writer) -> None:
        w.u16(CredentialType.X509)
        w.vector(self.certificates, Writer.opaque)


@quick
@dataclass(frozen=True, slots=True)
class UnknownCredential:
    """A credential of a type that this library does not know (GREASE among them)."""

    credential_type: int
    data: bytes

    def write(self, w: Writer) -> None:
        w.u16(self.credential_type)
        w.opaque(self.data)


Credential = BasicCredential | X509Credential | UnknownCredential


def read_credential(r: Reader) -> Credential:
    """Decode a credential; of an unknown type one opaque vector is taken (§13.5)."""
    match r.u16():
        case CredentialType.BASIC:
            return BasicCredential(r.opaque())
        case CredentialType.X509:
            return X509Credential(r.vector(Reader.opaque))
        case unknown:
            return UnknownCredential(unknown, r.opaque())


def write_credential(w: Writer, credential: Credential) -> None:
    credential.write(w)
