"""Checking certificate chains: the short profile of our own.

What is checked, each a rule id of IdentityError: `chain-length`, `encoding` (one DER certificate, no
more bytes, at most 4096), `version`, `algorithm` (Ed25519 and nothing else), `key` (no key of small
order), `extensions` (no unknown critical one), `constraints` (the kind, by position), `usage`,
`subject` (exactly the fields of the kind), `name-chaining`, `signature`, `expired`, `not-yet`, `lifetime`.
Nothing here depends on the machine's clock or Unicode tables: two clients never disagree on a chain.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from ..display_text import displayable
from . import certificates
from .errors import IdentityError
from .keys import SIGNATURE_SIZE, is_public_key, verify

MAX_CERTIFICATE = 4096
"""Bytes of the largest certificate."""

CLOCK_TOLERANCE = 86400
"""Seconds by which a clock may be wrong before a date counts."""

# What a certificate of ours looks like from outside, checked before a parser sees it: version 3, a
# positive serial number, Ed25519 named within and around, a signature of whole 64 bytes. The parser
# warns on standard error about some of these and lets others pass (unused bits of the signature).
_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..)"
_SERIAL = rb"\x02(?:\x01[\x01-\x7f]|[\x02-\x14][\x00-\x7f])"
_HEAD = re.compile(
    rb"\x30" + _LENGTH + rb"\x30" + _LENGTH + rb"\xa0\x03\x02\x01\x02" + _SERIAL, re.DOTALL
)
_ED25519 = bytes.fromhex("300506032b6570")
_TAIL = _ED25519 + bytes.fromhex("034100")

_SPKI = bytes.fromhex("302a300506032b6570032100")
_FIELDS: dict[str, tuple[tuple[x509.ObjectIdentifier, ...], ...]] = {
    "authority": ((NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME),),
    "issuer": ((NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME),),
    "person": tuple(
        (
            NameOID.ORGANIZATION_NAME,
            NameOID.ORGANIZATIONAL_UNIT_NAME,
            NameOID.COMMON_NAME,
            NameOID.TITLE,
            *rpps,
            NameOID.USER_ID,
        )
        for rpps in ((), (NameOID.SERIAL_NUMBER,))
    ),
    "device": ((NameOID.COMMON_NAME,),),
}
_PATHLEN: dict[str, int | None] = {
    "authority": certificates.AUTHORITY_PATHLEN,
    "issuer": certificates.ISSUER_PATHLEN,
    "person": certificates.PERSON_PATHLEN,
    "device": None,
}

_Kind = Literal["authority", "issuer", "person", "device"]


@dataclass(frozen=True, slots=True)
class Authority:
    """An establishment's root. `fingerprint` is SHA-256 of its key (32 bytes)."""

    fingerprint: bytes
    name: str
    key: bytes
    certificate: bytes = field(repr=False)
    lineage: bytes | None = None
    """The establishment's id where this authority followed another one; None: it is the first."""

    @property
    def establishment(self) -> bytes:
        """The establishment's id: the first 16 bytes of its first authority's fingerprint."""
        return self.lineage or self.fingerprint[:16]


@dataclass(frozen=True, slots=True)
class Issuer:
    """A key that signs persons. `issuer_id` is the first 16 bytes of SHA-256 of the key."""

    issuer_id: bytes
    key: bytes
    establishment: bytes
    establishment_name: str
    certificate: bytes = field(repr=False)
    root: bytes = b""
    """Fingerprint (32 bytes) of the authority that signed it: an establishment may have had several."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person or a bot, as an issuer signed it. The texts are safe to display."""

    person_id: bytes
    account: bytes
    name: str
    profession: str
    rpps: str | None
    kind: certificates.Kind
    establishment: bytes
    establishment_name: str
    identity_key: bytes
    issuer_id: bytes
    not_after: int | None
    """Unix seconds of the account's end; None: none."""
    not_before: int
    certificate: bytes = field(repr=False)
    root: bytes = b""
    """Fingerprint (32 bytes) of the authority that signed its issuer."""


@dataclass(frozen=True, slots=True)
class Device:
    """A person's device. `chain` is (device, person, issuer), DER, as in its MLS credential."""

    device_id: bytes
    signature_key: bytes
    person: Person
    not_after: int
    not_before: int
    chain: tuple[bytes, bytes, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Certificate:
    der: bytes
    parsed: x509.Certificate
    issuer: x509.Name
    key: bytes
    subject: dict[x509.ObjectIdentifier, str]
    not_before: int
    not_after: int


def fingerprint(key: bytes) -> bytes:
    """SHA-256 (32 bytes) of an Ed25519 key's DER SubjectPublicKeyInfo (RFC 8410)."""
    return hashlib.sha256(_SPKI + key).digest()


def person_id(establishment: bytes, identity_key: bytes) -> bytes:
    """A person's id (16 bytes): the same account under another key is another person."""
    return hashlib.sha256(b"pli person v1" + establishment + identity_key).digest()[:16]


def key_id(key: bytes) -> bytes:
    """A device's or an issuer's id (16 bytes): the first half of SHA-256 of its key."""
    return hashlib.sha256(key).digest()[:16]


def verify_authority(
    certificate: bytes, *, fingerprint_start: bytes | None = None, lineage: bytes | None = None
) -> Authority:
    """Check a root certificate, and that its fingerprint begins with `fingerprint_start` if given.

    Raises:
        IdentityError: any rule of the profile, or "fingerprint".
    """
    root = _read(certificate, "authority")
    _check_signed(root, root)
    whole = fingerprint(root.key)
    if fingerprint_start is not None and not whole.startswith(fingerprint_start):
        raise IdentityError("fingerprint", "not the authority that was expected")
    name = displayable(root.subject[NameOID.ORGANIZATION_NAME], one_line=True)
    return Authority(whole, name, root.key, certificate, None if lineage == whole[:16] else lineage)


def verify_issuer(
    chain: Sequence[bytes], authority: bytes, *, lineage: bytes | None = None
) -> Issuer:
    """Check a chain (issuer,) up to the authority's certificate. Raises IdentityError.

    Args:
        lineage: the establishment's id where this authority is not its first.
    """
    _length(chain, 1)
    return _issuer(chain[0], authority, lineage)[0]


def verify_person(
    chain: Sequence[bytes],
    authority: bytes,
    *,
    now: int | None = None,
    lineage: bytes | None = None,
) -> Person:
    """Check a chain (person, issuer) up to the authority's certificate.

    Args:
        now: Unix seconds, for the account's end date; None: dates are not checked.

    Raises:
        IdentityError: .rule names the check.
    """
    _length(chain, 2)
    person, _ = _person(chain, authority, now, lineage)
    return person


def verify_device(
    chain: Sequence[bytes],
    authority: bytes,
    *,
    now: int | None,
    lineage: bytes | None = None,
) -> Device:
    """Check a chain (device, person, issuer) up to the authority's certificate.

    Args:
        now: Unix seconds, for the dates of device and account; None: dates are not checked (for
            what was signed in the past).

    Raises:
        IdentityError: .rule names the check.
    """
    _length(chain, 3)
    person, signer = _person(chain[1:], authority, now, lineage)
    device = _read(chain[0], "device")
    _check_signed(device, signer)
    if device.not_after - device.not_before > certificates.DEVICE_DAYS * 86400:
        raise IdentityError("lifetime", "a device certificate lasts at most 400 days")
    _check_date(device, now)
    return Device(
        key_id(device.key),
        device.key,
        person,
        device.not_after,
        device.not_before,
        (chain[0], chain[1], chain[2]),
    )


def kind_of(person: bytes) -> certificates.Kind:
    """Whether a person's certificate is a person's or a bot's; its signature is not checked.

    Raises IdentityError where it is no person's certificate.
    """
    fields = _read(person, "person").subject
    return "bot" if fields[NameOID.ORGANIZATIONAL_UNIT_NAME] == "bot" else "person"


def _length(chain: Sequence[bytes], length: int) -> None:
    if len(chain) != length:
        raise IdentityError("chain-length", f"a chain of {length} certificates was expected")


@lru_cache(maxsize=64)
def _issuer(
    certificate: bytes, authority: bytes, lineage: bytes | None
) -> tuple[Issuer, _Certificate]:
    """Checked once for all the persons that it signed: a pure function, remembered."""
    root = verify_authority(authority)
    issuer = _read(certificate, "issuer")
    _check_signed(issuer, _read(authority, "authority"))
    establishment = lineage or root.establishment
    value = Issuer(
        key_id(issuer.key), issuer.key, establishment, root.name, issuer.der, root.fingerprint
    )
    return value, issuer


def _person(
    chain: Sequence[bytes], authority: bytes, now: int | None, lineage: bytes | None
) -> tuple[Person, _Certificate]:
    issuer, parsed = _issuer(chain[1], authority, lineage)
    person = _read(chain[0], "person")
    _check_signed(person, parsed)
    _check_date(person, now)
    subject = person.subject
    rpps = subject.get(NameOID.SERIAL_NUMBER)
    kind = subject[NameOID.ORGANIZATIONAL_UNIT_NAME]
    value = Person(
        person_id(issuer.establishment, person.key),
        bytes.fromhex(subject[NameOID.USER_ID]),
        displayable(subject[NameOID.COMMON_NAME], one_line=True),
        displayable(subject[NameOID.TITLE], one_line=True),
        rpps,
        "bot" if kind == "bot" else "person",
        issuer.establishment,
        issuer.establishment_name,
        person.key,
        issuer.issuer_id,
        None if person.not_after == certificates.NEVER_SECONDS else person.not_after,
        person.not_before,
        chain[0],
        issuer.root,
    )
    return value, person


def _read(der: bytes, kind: _Kind) -> _Certificate:
    """Parse one certificate and check all that concerns it alone."""
    if not isinstance(der, bytes) or not 0 < len(der) <= MAX_CERTIFICATE:
        raise IdentityError("encoding", "a certificate has 1 to 4096 bytes")
    if not _HEAD.match(der):
        raise IdentityError("encoding", "not a certificate that can be read")
    if der[-len(_TAIL) - SIGNATURE_SIZE : -SIGNATURE_SIZE] != _TAIL:
        raise IdentityError("algorithm", "the signature is not Ed25519")
    try:
        parsed = x509.load_der_x509_certificate(der)
        return _profile(der, parsed, kind)
    except IdentityError:
        raise
    # The parser is lazy: names, keys and extensions may turn out malformed only when they are read.
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise IdentityError("encoding", "not a certificate that can be read") from error
    except x509.DuplicateExtension:
        raise IdentityError("extensions", "an extension stands twice") from None


def _profile(der: bytes, parsed: x509.Certificate, kind: _Kind) -> _Certificate:
    if parsed.public_bytes(Encoding.DER) != der:
        raise IdentityError("encoding", "the certificate is not in its one encoding")
    if parsed.version is not x509.Version.v3:
        raise IdentityError("version", "a certificate of X.509 version 3 was expected")
    if parsed.signature_algorithm_oid != SignatureAlgorithmOID.ED25519:
        raise IdentityError("algorithm", "the signature is not Ed25519")
    public = parsed.public_key()
    if not isinstance(public, Ed25519PublicKey):
        raise IdentityError("algorithm", "the key is not Ed25519")
    key = public.public_bytes_raw()
    if not is_public_key(key):
        raise IdentityError("key", "not a usable Ed25519 public key")
    _check_extensions(parsed, kind)
    return _Certificate(
        der,
        parsed,
        parsed.issuer,
        key,
        _subject(parsed.subject, kind),
        int(parsed.not_valid_before_utc.timestamp()),
        int(parsed.not_valid_after_utc.timestamp()),
    )


def _check_extensions(parsed: x509.Certificate, kind: _Kind) -> None:
    constraints: x509.BasicConstraints | None = None
    usage: x509.KeyUsage | None = None
    for extension in parsed.extensions:
        if extension.oid == ExtensionOID.BASIC_CONSTRAINTS:
            constraints = extension.value if extension.critical else None
        elif extension.oid == ExtensionOID.KEY_USAGE:
            usage = extension.value if extension.critical else None
        elif extension.critical:
            raise IdentityError("extensions", "an unknown critical extension")
    ca = kind != "device"
    if constraints is None or constraints.ca != ca or constraints.path_length != _PATHLEN[kind]:
        raise IdentityError("constraints", f"not the basic constraints of a certificate of {kind}")
    if usage is None or not usage.digital_signature or usage.key_cert_sign != ca:
        raise IdentityError("usage", f"not the key usage of a certificate of {kind}")


def _subject(name: x509.Name, kind: _Kind) -> dict[x509.ObjectIdentifier, str]:
    """The subject's fields: exactly those of the kind, in order, one each, with plausible values."""
    fields: dict[x509.ObjectIdentifier, str] = {}
    for relative in name.rdns:
        attributes = list(relative)
        if len(attributes) != 1 or attributes[0].oid in fields:
            raise IdentityError("subject", "a field of the subject stands twice")
        value = attributes[0].value
        if not isinstance(value, str) or not 1 <= len(value) <= certificates.MAX_FIELD:
            raise IdentityError(
                "subject", "a field of the subject is not a text of 1 to 64 characters"
            )
        fields[attributes[0].oid] = value
    if tuple(fields) not in _FIELDS[kind] or not _plausible(fields, kind):
        raise IdentityError("subject", f"not the subject of a certificate of {kind}")
    return fields


def _plausible(fields: dict[x509.ObjectIdentifier, str], kind: _Kind) -> bool:
    if kind != "person":
        return fields[NameOID.COMMON_NAME] == kind
    account, rpps = fields[NameOID.USER_ID], fields.get(NameOID.SERIAL_NUMBER)
    return (
        fields[NameOID.ORGANIZATIONAL_UNIT_NAME] in ("person", "bot")
        and len(account) == 32
        and all(digit in "0123456789abcdef" for digit in account)
        and (rpps is None or (len(rpps) == 11 and all(digit in "0123456789" for digit in rpps)))
    )


def _check_signed(certificate: _Certificate, signer: _Certificate) -> None:
    """Name chaining, the same establishment all the way, and the signature."""
    if certificate.issuer != signer.parsed.subject:
        raise IdentityError("name-chaining", "the certificate names another signer")
    own = certificate.subject.get(NameOID.ORGANIZATION_NAME)
    if own is not None and own != signer.subject[NameOID.ORGANIZATION_NAME]:
        raise IdentityError("name-chaining", "the certificate names another establishment")
    try:
        verify(signer.key, certificate.parsed.tbs_certificate_bytes, certificate.parsed.signature)
    except IdentityError as error:
        raise IdentityError("signature", "the certificate's signature does not verify") from error


def _check_date(certificate: _Certificate, now: int | None) -> None:
    if now is None:
        return
    if now > certificate.not_after + CLOCK_TOLERANCE:
        raise IdentityError("expired", "the certificate is past its end date")
    if now < certificate.not_before - CLOCK_TOLERANCE:
        raise IdentityError("not-yet", "the certificate is not valid yet")
