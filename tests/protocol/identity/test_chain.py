"""Each check of the chain profile, broken once in an otherwise valid chain."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from pli_protocol.identity import (
    IdentityError,
    SigningKey,
    fingerprint,
    make_authority,
    make_device,
    make_issuer,
    make_person,
    person_id,
    verify_authority,
    verify_device,
    verify_issuer,
    verify_person,
)

from .establishment import (
    DEVICE_NAME,
    NOW,
    Establishment,
    establishment,
    forge,
    key,
    names,
    person_name,
    usage,
)

END_ENTITY = x509.BasicConstraints(ca=False, path_length=None)


@pytest.fixture(name="home", scope="module")
def home_fixture() -> Establishment:
    return establishment()


def broken(chain: tuple[bytes, ...], home: Establishment, now: int | None = NOW) -> str:
    """The rule by which a device's chain is refused."""
    with pytest.raises(IdentityError) as caught:
        verify_device(chain, home.authority, now=now)
    return caught.value.rule


def device_of(home: Establishment, **changes: object) -> bytes:
    """A device certificate with one thing changed, truly signed by the person."""
    given: dict[str, object] = {"constraints": END_ENTITY}
    given.update(changes)
    subject = given.pop("subject", DEVICE_NAME)
    public = given.pop("public", home.device_key.public)
    return forge(subject, home.person, home.identity, public, **given)  # type: ignore[arg-type]


def person_of(home: Establishment, subject: x509.Name, **changes: object) -> tuple[bytes, ...]:
    """A chain whose person certificate has one thing changed, truly signed by the issuer."""
    given: dict[str, object] = {"constraints": x509.BasicConstraints(True, 0)}
    given.update(changes)
    person = forge(subject, home.issuer, home.issuer_key, home.identity.public, **given)  # type: ignore[arg-type]
    return make_device(home.identity, person, home.device_key.public, now=NOW), person, home.issuer


# --- what is accepted -------------------------------------------------------------------------


def test_valid_chain_says_who_the_device_belongs_to(home: Establishment) -> None:
    device = verify_device(home.chain, home.authority, now=NOW)
    person = device.person
    assert device.signature_key == home.device_key.public
    assert (person.name, person.profession, person.rpps, person.kind) == (
        "Amélie Dupont",
        "Infirmière",
        "10001234567",
        "person",
    )
    assert person.account == bytes(range(16))
    assert person.establishment == fingerprint(home.authority_key.public)[:16]
    assert person.establishment_name == "EHPAD Les Tilleuls"
    assert person.person_id == person_id(person.establishment, home.identity.public)
    assert person.not_after is None
    assert device.not_after == NOW + 400 * 86400


def test_fingerprint_is_over_the_subject_public_key_info_of_the_certificate(
    home: Establishment,
) -> None:
    public = x509.load_der_x509_certificate(home.authority).public_key()
    assert isinstance(public, Ed25519PublicKey)
    assert verify_authority(home.authority).fingerprint == fingerprint(public.public_bytes_raw())


def test_person_without_rpps_and_bot_are_accepted(home: Establishment) -> None:
    bot = make_person(
        home.issuer_key,
        home.issuer,
        account=bytes(16),
        name="DUI",
        profession="Dossier usager",
        identity_key=home.identity.public,
        kind="bot",
        now=NOW,
    )
    person = verify_person((bot, home.issuer), home.authority)
    assert (person.kind, person.rpps) == ("bot", None)


def test_forged_certificate_with_nothing_changed_is_accepted(home: Establishment) -> None:
    """The forger below breaks one thing at a time: with nothing broken it must pass."""
    verify_device((device_of(home), home.person, home.issuer), home.authority, now=NOW)
    verify_device(person_of(home, person_name()), home.authority, now=NOW)


def test_unknown_extension_that_is_not_critical_is_ignored(home: Establishment) -> None:
    extra = ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False),)
    device = device_of(home, extra=extra)
    assert verify_device((device, home.person, home.issuer), home.authority, now=NOW)


def test_making_a_certificate_twice_gives_the_same_bytes(home: Establishment) -> None:
    assert establishment() == home


def test_certificates_verify_with_an_independent_library(home: Establishment) -> None:
    """`cryptography` checks names and signature of each link itself."""
    chain = [x509.load_der_x509_certificate(der) for der in (*home.chain, home.authority)]
    for certificate, signer in zip(chain, [*chain[1:], chain[-1]], strict=True):
        certificate.verify_directly_issued_by(signer)


# --- length and order -------------------------------------------------------------------------


@pytest.mark.parametrize("take", [0, 1, 2, 4])
def test_chain_of_another_length_is_refused(home: Establishment, take: int) -> None:
    assert broken((*home.chain, home.authority)[:take], home) == "chain-length"


def test_person_and_issuer_chains_of_another_length_are_refused(home: Establishment) -> None:
    with pytest.raises(IdentityError, match="chain-length"):
        verify_person(home.chain, home.authority)
    with pytest.raises(IdentityError, match="chain-length"):
        verify_issuer((), home.authority)


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0), (0, 0, 2), (1, 1, 2)])
def test_chain_in_another_order_is_refused(home: Establishment, order: tuple[int, ...]) -> None:
    assert broken(tuple(home.chain[i] for i in order), home) in {"constraints", "signature"}


def test_device_is_not_taken_for_an_authority(home: Establishment) -> None:
    with pytest.raises(IdentityError):
        verify_authority(home.device)
    with pytest.raises(IdentityError):
        verify_device(home.chain, home.issuer, now=NOW)


# --- signatures and names ---------------------------------------------------------------------


def test_device_signed_by_another_person_is_refused(home: Establishment) -> None:
    device = make_device(key("stranger"), home.person, home.device_key.public, now=NOW)
    assert broken((device, home.person, home.issuer), home) == "signature"


def test_person_signed_by_another_issuer_is_refused(home: Establishment) -> None:
    person = forge(
        person_name(),
        home.issuer,
        key("stranger"),
        home.identity.public,
        constraints=x509.BasicConstraints(True, 0),
    )
    device = make_device(home.identity, person, home.device_key.public, now=NOW)
    assert broken((device, person, home.issuer), home) == "signature"


def test_person_who_signs_another_person_is_refused(home: Establishment) -> None:
    """A person's key must never certify anything but devices."""
    other = forge(
        person_name(name="Directrice"),
        home.person,
        home.identity,
        key("other").public,
        constraints=x509.BasicConstraints(True, 0),
    )
    device = make_device(key("other"), other, home.device_key.public, now=NOW)
    assert broken((device, other, home.issuer), home) == "name-chaining"
    assert broken((device, other, home.person), home) == "constraints"


def test_issuer_of_another_authority_is_refused(home: Establishment) -> None:
    other = establishment(prefix="other ")
    assert broken(other.chain, home) == "signature"


def test_authority_of_the_same_name_and_another_key_is_refused(home: Establishment) -> None:
    impostor = make_authority(home.name, key("impostor"), NOW)
    with pytest.raises(IdentityError, match="fingerprint"):
        verify_authority(impostor, fingerprint_start=fingerprint(home.authority_key.public)[:16])
    with pytest.raises(IdentityError, match="signature"):
        verify_device(home.chain, impostor, now=NOW)


def test_certificate_that_names_another_signer_is_refused(home: Establishment) -> None:
    device = device_of(home, issuer_name=names((NameOID.COMMON_NAME, "somebody")))
    assert broken((device, home.person, home.issuer), home) == "name-chaining"


def test_person_of_another_establishment_is_refused(home: Establishment) -> None:
    assert broken(person_of(home, person_name(organisation="Ailleurs")), home) == "name-chaining"


def test_authority_that_did_not_sign_itself_is_refused(home: Establishment) -> None:
    subject = x509.load_der_x509_certificate(home.authority).subject
    forged = forge(
        subject,
        home.authority,
        key("stranger"),
        home.authority_key.public,
        constraints=x509.BasicConstraints(True, 2),
    )
    with pytest.raises(IdentityError, match="signature"):
        verify_authority(forged)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bit_of_any_certificate_breaks_the_chain(home: Establishment, place: int) -> None:
    """Every bit around the signature (a parser ignores some there), one of each byte elsewhere."""
    certificate = home.chain[place]
    around = range(8 * (len(certificate) - 75), 8 * (len(certificate) - 60))
    for bit in (*(8 * at + at % 8 for at in range(len(certificate))), *around):
        mangled = bytearray(certificate)
        mangled[bit // 8] ^= 1 << bit % 8
        chain = list(home.chain)
        chain[place] = bytes(mangled)
        assert broken(tuple(chain), home)


@pytest.mark.parametrize("serial", ["020100", "0210ff"])
def test_serial_number_that_is_not_positive_is_refused(home: Establishment, serial: str) -> None:
    """The parser would take it, and print a warning."""
    begin = home.device.index(bytes.fromhex("a003020102")) + 5
    changed = home.device[:begin] + bytes.fromhex(serial) + home.device[begin + 3 :]
    assert broken((changed, home.person, home.issuer), home) == "encoding"


# --- constraints and extensions ---------------------------------------------------------------


@pytest.mark.parametrize(
    "constraints",
    [
        x509.BasicConstraints(True, None),
        x509.BasicConstraints(True, 0),
        x509.BasicConstraints(True, 1),
        None,
    ],
)
def test_device_with_other_constraints_is_refused(
    home: Establishment, constraints: x509.BasicConstraints | None
) -> None:
    device = device_of(home, constraints=constraints, key_usage=usage(sign=True, certify=False))
    assert broken((device, home.person, home.issuer), home) == "constraints"


@pytest.mark.parametrize("constraints", [(True, None), (True, 1), (True, 2), (False, None)])
def test_person_with_another_path_length_is_refused(
    home: Establishment, constraints: tuple[bool, int | None]
) -> None:
    chain = person_of(
        home,
        person_name(),
        constraints=x509.BasicConstraints(*constraints),
        key_usage=usage(sign=True, certify=True),
    )
    assert broken(chain, home) == "constraints"


@pytest.mark.parametrize(("pathlen", "kind"), [(0, "issuer"), (2, "issuer"), (1, "authority")])
def test_issuer_or_authority_with_another_path_length_is_refused(
    home: Establishment, pathlen: int, kind: str
) -> None:
    subject = names((NameOID.ORGANIZATION_NAME, home.name), (NameOID.COMMON_NAME, kind))
    public = (home.issuer_key if kind == "issuer" else home.authority_key).public
    forged = forge(
        subject,
        home.authority,
        home.authority_key,
        public,
        constraints=x509.BasicConstraints(True, pathlen),
        issuer_name=subject if kind == "authority" else None,
    )
    with pytest.raises(IdentityError, match="constraints"):
        verify_issuer((forged,), home.authority) if kind == "issuer" else verify_authority(forged)


def test_constraints_that_are_not_critical_are_refused(home: Establishment) -> None:
    device = device_of(home, constraints_critical=False)
    assert broken((device, home.person, home.issuer), home) == "constraints"


@pytest.mark.parametrize(
    "changes",
    [
        {"key_usage": usage(sign=True, certify=True)},
        {"key_usage": usage(sign=False, certify=True)},
        {"usage_critical": False},
    ],
)
def test_device_with_another_key_usage_is_refused(
    home: Establishment, changes: dict[str, object]
) -> None:
    assert broken((device_of(home, **changes), home.person, home.issuer), home) == "usage"


@pytest.mark.parametrize(
    "extension",
    [
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
        x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")]),
        x509.NameConstraints([x509.DNSName("example.org")], None),
    ],
)
def test_unknown_critical_extension_is_refused(
    home: Establishment, extension: x509.ExtensionType
) -> None:
    device = device_of(home, extra=((extension, True),))
    assert broken((device, home.person, home.issuer), home) == "extensions"


def test_extension_that_stands_twice_is_refused(home: Establishment) -> None:
    """Two unknown extensions, made one by changing the object identifier in the bytes."""
    first, second = (x509.ObjectIdentifier(f"1.2.3.{i}") for i in (4, 5))
    extra = tuple((x509.UnrecognizedExtension(oid, b"\x05\x00"), False) for oid in (first, second))
    device = device_of(home, extra=extra)
    assert device.count(bytes.fromhex("06032a0305")) == 1
    twice = device.replace(bytes.fromhex("06032a0305"), bytes.fromhex("06032a0304"))
    assert broken((twice, home.person, home.issuer), home) == "extensions"


# --- algorithms and keys ----------------------------------------------------------------------


def test_key_that_is_not_ed25519_is_refused(home: Establishment) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    device = device_of(home, public=public)
    assert broken((device, home.person, home.issuer), home) == "algorithm"


def test_signature_that_is_not_ed25519_is_refused(home: Establishment) -> None:
    begin = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    authority = x509.load_der_x509_certificate(home.authority)
    forged = (
        x509.CertificateBuilder()
        .subject_name(authority.subject)
        .issuer_name(authority.subject)
        .public_key(authority.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, 2), critical=True)
        .sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
    )
    with pytest.raises(IdentityError, match="algorithm"):
        verify_authority(forged.public_bytes(Encoding.DER))


SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("small", SMALL_ORDER)
def test_key_of_small_order_is_refused(home: Establishment, small: bytes) -> None:
    """Under such a key one signature verifies for any message; `cryptography` takes it."""
    device = device_of(home, public=small)
    assert broken((device, home.person, home.issuer), home) == "key"


def test_person_with_a_key_of_small_order_is_refused(home: Establishment) -> None:
    person = make_person(
        home.issuer_key,
        home.issuer,
        account=bytes(16),
        name="Nobody",
        profession="None",
        identity_key=SMALL_ORDER[1],
        now=NOW,
    )
    with pytest.raises(IdentityError, match="key"):
        verify_person((person, home.issuer), home.authority)


# --- encoding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"\0", b"\x30\x00", b"garbage"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_trailing_garbage_is_refused(home: Establishment, place: int, garbage: bytes) -> None:
    chain = list(home.chain)
    chain[place] += garbage
    assert broken(tuple(chain), home) in {"encoding", "algorithm"}


@pytest.mark.parametrize("bad", [b"", b"\0", b"\x30\x80", bytes(5000), b"\x30\x82\xff\xff"])
def test_what_is_not_a_certificate_is_refused(home: Establishment, bad: bytes) -> None:
    assert broken((bad, home.person, home.issuer), home) == "encoding"


def test_every_truncation_is_refused(home: Establishment) -> None:
    for length in range(0, len(home.device), 13):
        rule = broken((home.device[:length], home.person, home.issuer), home)
        assert rule in {"encoding", "algorithm"}


def test_endless_certificate_is_refused(home: Establishment) -> None:
    oid = x509.ObjectIdentifier("1.2.3.4")
    device = device_of(home, extra=((x509.UnrecognizedExtension(oid, bytes(5000)), False),))
    assert broken((device, home.person, home.issuer), home) == "encoding"


def test_pem_is_refused(home: Establishment) -> None:
    pem = x509.load_der_x509_certificate(home.device).public_bytes(Encoding.PEM)
    assert broken((pem, home.person, home.issuer), home) == "encoding"


# --- dates ------------------------------------------------------------------------------------


def test_expired_device_is_refused_and_the_past_can_still_be_proven(home: Establishment) -> None:
    late = NOW + 402 * 86400
    assert broken(home.chain, home, late) == "expired"
    assert verify_device(home.chain, home.authority, now=None)


def test_clock_that_is_wrong_by_hours_refuses_nobody(home: Establishment) -> None:
    assert verify_device(home.chain, home.authority, now=NOW + 400 * 86400 + 3600)
    assert verify_device(home.chain, home.authority, now=NOW - 3600)


def test_device_certificate_that_lasts_too_long_is_refused(home: Establishment) -> None:
    assert broken((device_of(home, days=401), home.person, home.issuer), home) == "lifetime"


def test_account_past_its_end_date_is_refused(home: Establishment) -> None:
    person = make_person(
        home.issuer_key,
        home.issuer,
        account=bytes(16),
        name="Vacataire",
        profession="Aide-soignant",
        identity_key=home.identity.public,
        not_after=NOW + 10 * 86400,
        now=NOW,
    )
    device = make_device(home.identity, person, home.device_key.public, now=NOW)
    chain = (device, person, home.issuer)
    assert verify_device(chain, home.authority, now=NOW + 5 * 86400).person.not_after
    assert broken(chain, home, NOW + 12 * 86400) == "expired"


def test_authority_and_issuer_do_not_end_by_date(home: Establishment) -> None:
    assert verify_person((home.person, home.issuer), home.authority, now=NOW + 10**10)


# --- subjects ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subject",
    [
        names((NameOID.COMMON_NAME, "phone")),
        names((NameOID.COMMON_NAME, "device"), (NameOID.TITLE, "Directrice")),
        x509.Name([]),
        x509.Name(
            [
                x509.RelativeDistinguishedName(
                    [
                        x509.NameAttribute(NameOID.COMMON_NAME, "device"),
                        x509.NameAttribute(NameOID.TITLE, "Directrice"),
                    ]
                )
            ]
        ),
        names((NameOID.COMMON_NAME, "device"), (NameOID.COMMON_NAME, "device")),
    ],
)
def test_device_with_another_subject_is_refused(home: Establishment, subject: x509.Name) -> None:
    assert broken((device_of(home, subject=subject), home.person, home.issuer), home) == "subject"


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "director"},
        {"rpps": "1234"},
        {"rpps": "1000123456X"},
        {"account": "00" * 15},
        {"account": "00" * 17},
        {"account": "AB" * 16},
        {"account": "zz" * 16},
    ],
)
def test_person_with_a_malformed_field_is_refused(
    home: Establishment, changes: dict[str, str]
) -> None:
    assert broken(person_of(home, person_name(**changes)), home) == "subject"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "oid",
    [
        NameOID.ORGANIZATION_NAME,
        NameOID.ORGANIZATIONAL_UNIT_NAME,
        NameOID.COMMON_NAME,
        NameOID.TITLE,
        NameOID.USER_ID,
    ],
)
def test_person_without_a_field_is_refused(home: Establishment, oid: x509.ObjectIdentifier) -> None:
    left = [attribute for attribute in person_name() if attribute.oid != oid]
    assert broken(person_of(home, x509.Name(left)), home) == "subject"


def test_person_with_a_field_more_is_refused(home: Establishment) -> None:
    more = [*person_name(), x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@example.org")]
    assert broken(person_of(home, x509.Name(more)), home) == "subject"


def test_names_of_a_person_are_safe_to_display(home: Establishment) -> None:
    name = person_name(name="Amélie\x1b[2J\u202eDupont", title="Infirm\u200bière")
    person = verify_device(person_of(home, name), home.authority, now=NOW).person
    assert person.name == "Amélie␛[2J�Dupont"
    assert person.profession == "Infirmière"


# --- making -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 65},
        {"name": "a\nb"},
        {"name": " a"},
        {"profession": "\x1b[31m"},
        {"rpps": "123"},
        {"rpps": "1000123456٧"},
        {"account": b"short"},
        {"identity_key": b"short"},
    ],
)
def test_malformed_person_is_never_made(home: Establishment, changes: dict[str, object]) -> None:
    fields: dict[str, object] = {
        "account": bytes(16),
        "name": "A",
        "profession": "B",
        "identity_key": home.identity.public,
        "now": NOW,
    }
    fields.update(changes)
    with pytest.raises(ValueError, match=r"name|RPPS|account|key"):
        make_person(home.issuer_key, home.issuer, **fields)  # type: ignore[arg-type]


def test_issuer_made_by_make_issuer_verifies(home: Establishment) -> None:
    issuer = verify_issuer((home.issuer,), home.authority)
    assert issuer.key == home.issuer_key.public
    second = make_issuer(home.authority_key, home.authority, key("second").public, now=NOW)
    assert verify_issuer((second,), home.authority).issuer_id != issuer.issuer_id


def test_private_keys_are_not_shown() -> None:
    pair = SigningKey.from_seed(b"secret seed of thirty-two bytes!")
    assert "secret" not in repr(pair)


def test_constraints_oid_of_the_profile_is_the_one_of_rfc_5280() -> None:
    assert ExtensionOID.BASIC_CONSTRAINTS.dotted_string == "2.5.29.19"
