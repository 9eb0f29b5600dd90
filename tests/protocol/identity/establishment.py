"""A small establishment for tests, and a forger that breaks one thing of a certificate at a time."""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pli_protocol.identity import (
    SigningKey,
    make_authority,
    make_device,
    make_issuer,
    make_person,
)

NOW = 1_800_000_000
"""Unix seconds at which everything here is made."""


def key(label: str) -> SigningKey:
    """A key that is the same in every run."""
    return SigningKey.from_seed(label.encode().ljust(32, b".")[:32])


@dataclass(frozen=True)
class Establishment:
    """An authority, its issuer, a person and a device, with all the private keys."""

    name: str
    authority_key: SigningKey
    issuer_key: SigningKey
    identity: SigningKey
    device_key: SigningKey
    authority: bytes
    issuer: bytes
    person: bytes
    device: bytes

    @property
    def chain(self) -> tuple[bytes, bytes, bytes]:
        return self.device, self.person, self.issuer


def establishment(name: str = "EHPAD Les Tilleuls", prefix: str = "") -> Establishment:
    """The same establishment for the same arguments."""
    authority_key, issuer_key = key(f"{prefix}authority"), key(f"{prefix}issuer")
    identity, device_key = key(f"{prefix}identity"), key(f"{prefix}device")
    authority = make_authority(name, authority_key, NOW)
    issuer = make_issuer(authority_key, authority, issuer_key.public, now=NOW)
    person = make_person(
        issuer_key,
        issuer,
        account=bytes(range(16)),
        name="Amélie Dupont",
        profession="Infirmière",
        rpps="10001234567",
        identity_key=identity.public,
        now=NOW,
    )
    device = make_device(identity, person, device_key.public, now=NOW)
    return Establishment(
        name,
        authority_key,
        issuer_key,
        identity,
        device_key,
        authority,
        issuer,
        person,
        device,
    )


def names(*fields: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in fields])


DEVICE_NAME = names((NameOID.COMMON_NAME, "device"))


def person_name(
    *,
    organisation: str = "EHPAD Les Tilleuls",
    kind: str = "person",
    name: str = "Amélie Dupont",
    title: str = "Infirmière",
    rpps: str | None = "10001234567",
    account: str = bytes(range(16)).hex(),
) -> x509.Name:
    fields = [
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, kind),
        (NameOID.COMMON_NAME, name),
        (NameOID.TITLE, title),
    ]
    if rpps is not None:
        fields.append((NameOID.SERIAL_NUMBER, rpps))
    return names(*fields, (NameOID.USER_ID, account))


def usage(*, sign: bool, certify: bool) -> x509.KeyUsage:
    return x509.KeyUsage(sign, False, False, False, False, certify, False, False, False)


def forge(
    subject: x509.Name,
    signer: bytes,
    signer_key: SigningKey,
    public: bytes | object,
    *,
    constraints: x509.BasicConstraints | None,
    constraints_critical: bool = True,
    key_usage: x509.KeyUsage | None = None,
    usage_critical: bool = True,
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    issuer_name: x509.Name | None = None,
    start: int = NOW,
    days: int = 400,
) -> bytes:
    """A certificate with a valid signature of `signer_key`, whatever else is wrong with it."""
    issuer = issuer_name or x509.load_der_x509_certificate(signer).subject
    ca = constraints is not None and constraints.ca
    begin = datetime.datetime.fromtimestamp(start, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(
            Ed25519PublicKey.from_public_bytes(public) if isinstance(public, bytes) else public  # type: ignore[arg-type]
        )
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=constraints_critical)
    builder = builder.add_extension(
        key_usage or usage(sign=True, certify=ca), critical=usage_critical
    )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    private = Ed25519PrivateKey.from_private_bytes(bytes(signer_key.seed))
    return builder.sign(private, None).public_bytes(Encoding.DER)
