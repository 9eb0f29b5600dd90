"""Making certificates: authority, issuer, person, device (X.509 v3 with Ed25519, RFC 8410).

| kind      | signed by | constraints   | subject                          | ends              |
|-----------|-----------|---------------|----------------------------------|-------------------|
| authority | itself    | CA, pathlen 2 | O establishment, CN "authority"  | never             |
| issuer    | authority | CA, pathlen 1 | O establishment, CN "issuer"     | never             |
| person    | issuer    | CA, pathlen 0 | O, OU, CN, title, number, UID    | with the account  |
| device    | person    | not a CA      | CN "device"                      | after 400 days    |

A person's subject: O establishment, OU "person" or "bot", CN name, title profession, serialNumber RPPS
(only where there is one), UID account (32 hexadecimal digits).

Never ends = 9999-12-31T23:59:59Z (RFC 5280 §4.1.2.5). A serial number is a hash of what is certified,
so that making a certificate needs no randomness.
"""

import datetime
import hashlib
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from .keys import KEY_SIZE, SigningKey

Kind = Literal["person", "bot"]

DEVICE_DAYS = 400
"""Days that a device certificate lasts; it renews itself at two thirds."""

MAX_FIELD = 64
"""Code points of the longest field of a subject (RFC 5280 appendix A, ub-common-name)."""

RPPS_DIGITS = 11

NEVER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
NEVER_SECONDS = 253402300799
"""NEVER as Unix seconds."""

AUTHORITY_PATHLEN, ISSUER_PATHLEN, PERSON_PATHLEN = 2, 1, 0


def make_authority(name: str, key: SigningKey, now: int) -> bytes:
    """The self-signed root of an establishment (DER). `name` is the establishment's, `now` Unix seconds.

    Raises:
        ValueError: a name that is empty, over 64 code points, or has control characters.
    """
    subject = _name((NameOID.ORGANIZATION_NAME, name), (NameOID.COMMON_NAME, "authority"))
    return _make(subject, subject, key.public, key, AUTHORITY_PATHLEN, now, None)


def make_issuer(
    authority_key: SigningKey, authority: bytes, issuer_key: bytes, *, now: int
) -> bytes:
    """The certificate (DER) of an issuer's public key, signed by the authority."""
    signer = x509.load_der_x509_certificate(authority).subject
    establishment = _only(signer, NameOID.ORGANIZATION_NAME)
    subject = _name((NameOID.ORGANIZATION_NAME, establishment), (NameOID.COMMON_NAME, "issuer"))
    return _make(subject, signer, issuer_key, authority_key, ISSUER_PATHLEN, now, None)


def make_person(
    issuer_key: SigningKey,
    issuer: bytes,
    *,
    account: bytes,
    name: str,
    profession: str,
    identity_key: bytes,
    now: int,
    rpps: str | None = None,
    kind: Kind = "person",
    not_after: int | None = None,
) -> bytes:
    """The certificate (DER) of a person's (or a bot's) identity key, signed by the issuer.

    Args:
        account: 16 bytes.
        rpps: The 11 digits of the national register, where the profession has one.
        not_after: Unix seconds of the account's end; None: ends by revocation only.

    Raises:
        ValueError: a field that is malformed.
    """
    if len(account) != 16:
        raise ValueError("an account has 16 bytes")
    if rpps is not None and not (len(rpps) == RPPS_DIGITS and rpps.isascii() and rpps.isdigit()):
        raise ValueError("an RPPS number has 11 digits")
    signer = x509.load_der_x509_certificate(issuer).subject
    fields = [
        (NameOID.ORGANIZATION_NAME, _only(signer, NameOID.ORGANIZATION_NAME)),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, kind),
        (NameOID.COMMON_NAME, name),
        (NameOID.TITLE, profession),
    ]
    if rpps is not None:
        fields.append((NameOID.SERIAL_NUMBER, rpps))
    fields.append((NameOID.USER_ID, account.hex()))
    return _make(_name(*fields), signer, identity_key, issuer_key, PERSON_PATHLEN, now, not_after)


def make_device(
    identity: SigningKey, person: bytes, signature_key: bytes, *, now: int, days: int = DEVICE_DAYS
) -> bytes:
    """The certificate (DER) of a device's MLS signature key, signed by the person's identity key."""
    signer = x509.load_der_x509_certificate(person).subject
    subject = _name((NameOID.COMMON_NAME, "device"))
    return _make(subject, signer, signature_key, identity, None, now, now + days * 86400)


def _make(
    subject: x509.Name,
    issuer: x509.Name,
    public: bytes,
    key: SigningKey,
    pathlen: int | None,
    now: int,
    not_after: int | None,
) -> bytes:
    if len(public) != KEY_SIZE:
        raise ValueError("an Ed25519 public key has 32 bytes")
    ca = pathlen is not None
    until = NEVER if not_after is None else datetime.datetime.fromtimestamp(not_after, datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(Ed25519PublicKey.from_public_bytes(public))
        .serial_number(_serial(subject, key.public, public, now))
        .not_valid_before(datetime.datetime.fromtimestamp(now, datetime.UTC))
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=pathlen), critical=True)
        .add_extension(_usage(ca), critical=True)
        .sign(Ed25519PrivateKey.from_private_bytes(bytes(key.seed)), None)
    )
    return certificate.public_bytes(Encoding.DER)


def _usage(ca: bool) -> x509.KeyUsage:
    """All of them sign statements, challenges or messages; a CA signs certificates besides."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _serial(subject: x509.Name, signer: bytes, public: bytes, now: int) -> int:
    parts = (b"pli certificate v1", signer, public, now.to_bytes(8, "big"), subject.public_bytes())
    # 16 bytes with the highest bit clear and the lowest set: positive, never zero (RFC 5280 §4.1.2.2).
    number = int.from_bytes(hashlib.sha256(b"".join(parts)).digest()[:16], "big")
    return (number & (2**127 - 1)) | 1


def _name(*fields: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    for _, text in fields:
        if not 1 <= len(text) <= MAX_FIELD or not text.isprintable() or text != text.strip():
            raise ValueError("a name has 1 to 64 printable characters and no space at either end")
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in fields])


def _only(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    values = [attribute.value for attribute in name.get_attributes_for_oid(oid)]
    if len(values) != 1 or not isinstance(values[0], str):
        raise ValueError("the signer's certificate is not one of Pli's")
    return values[0]
