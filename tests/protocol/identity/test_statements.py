"""Statements: who may sign what, and that one changed bit is noticed."""

import msgspec
import pytest

from pli_protocol.identity import (
    Device,
    DeviceRevocation,
    EnrolmentKey,
    IdentityError,
    Issuer,
    LeaveStatement,
    PartnerStatement,
    Person,
    ReturnRequest,
    RevocationEntry,
    RevocationList,
    StatementError,
    key_id,
    list_hash,
    person_id,
    sign,
    statement_type,
    verify_authority,
    verify_statement,
)
from pli_protocol.identity.keys import SigningKey
from pli_protocol.identity.statements import SignedStatement, Statement
from pli_protocol.relay.frames import Position

from .establishment import NOW, Establishment, establishment, key

HOME = establishment()
OTHER = establishment("Ailleurs", "other ")
ID = verify_authority(HOME.authority).establishment
PERSON = person_id(ID, HOME.identity.public)
DEVICE = key_id(HOME.device_key.public)
GROUP = bytes(range(32))

EXAMPLES: dict[str, tuple[Statement, SigningKey, tuple[bytes, ...]]] = {
    "revocation-list": (
        RevocationList(ID, 1, bytes(32), (RevocationEntry("device", bytes(16), "lost", NOW),), NOW),
        HOME.issuer_key,
        (HOME.issuer,),
    ),
    "device-revocation": (
        DeviceRevocation(ID, PERSON, bytes(16), "stolen", NOW),
        HOME.identity,
        (HOME.person, HOME.issuer),
    ),
    "partner": (
        PartnerStatement(
            ID, "Ailleurs", verify_authority(OTHER.authority).fingerprint, NOW + 1000, NOW
        ),
        HOME.authority_key,
        (),
    ),
    "enrolment-key": (
        EnrolmentKey(ID, bytes(range(32)), NOW),
        HOME.issuer_key,
        (HOME.issuer,),
    ),
    "leave": (LeaveStatement(GROUP, DEVICE, NOW), HOME.device_key, HOME.chain),
    "return-request": (
        ReturnRequest(GROUP, DEVICE, b"key package", "restored", Position(1, 7), NOW),
        HOME.device_key,
        HOME.chain,
    ),
}


def signed(name: str) -> bytes:
    statement, signer, chain = EXAMPLES[name]
    return sign(statement, signer, chain)


def verify(name: str, data: bytes, home: Establishment = HOME) -> object:
    return verify_statement(data, type(EXAMPLES[name][0]), home.authority, now=NOW).statement


@pytest.mark.parametrize("name", EXAMPLES)
def test_statement_comes_out_as_it_was_signed(name: str) -> None:
    data = signed(name)
    assert statement_type(data) == name
    assert verify(name, data) == EXAMPLES[name][0]


def test_signer_of_each_statement_is_the_one_of_its_kind() -> None:
    kinds = {
        name: type(verify_statement(signed(name), type(EXAMPLES[name][0]), HOME.authority).signer)
        for name in EXAMPLES
    }
    assert kinds["revocation-list"] is Issuer
    assert kinds["device-revocation"] is Person
    assert kinds["leave"] is kinds["return-request"] is Device


@pytest.mark.parametrize("name", EXAMPLES)
def test_one_changed_bit_of_a_statement_is_noticed(name: str) -> None:
    data = signed(name)
    for bit in range(0, len(data) * 8, 5):
        mangled = bytearray(data)
        mangled[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IdentityError):
            verify(name, bytes(mangled))


@pytest.mark.parametrize("name", EXAMPLES)
def test_statement_with_bytes_before_after_or_missing_is_refused(name: str) -> None:
    data = signed(name)
    for bad in (data + b"\0", data[:-1], b"", b"\xc0", data[1:], data + data):
        with pytest.raises(StatementError, match="form"):
            verify(name, bad)


@pytest.mark.parametrize("name", EXAMPLES)
def test_statement_of_another_signer_is_refused(name: str) -> None:
    statement, _, chain = EXAMPLES[name]
    with pytest.raises(IdentityError, match="signature"):
        verify(name, sign(statement, key("stranger"), chain))


@pytest.mark.parametrize("name", EXAMPLES)
def test_statement_of_another_establishment_is_refused(name: str) -> None:
    with pytest.raises(IdentityError):
        verify(name, signed(name), OTHER)


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"leave"}))
def test_statement_is_not_taken_for_one_of_another_type(name: str) -> None:
    with pytest.raises(StatementError, match="type"):
        verify("leave", signed(name))


def test_type_is_covered_by_the_signature() -> None:
    """A leave statement's bytes under another name of the same shape must not verify."""
    outer = msgspec.msgpack.decode(signed("leave"), type=SignedStatement)
    renamed = msgspec.structs.replace(outer, type="return-request")
    with pytest.raises(IdentityError, match="signature"):
        verify("return-request", msgspec.msgpack.encode(renamed))


@pytest.mark.parametrize("chain", [(), (HOME.person, HOME.issuer), HOME.chain])
def test_revocation_list_needs_the_chain_of_an_issuer(chain: tuple[bytes, ...]) -> None:
    statement, signer, _ = EXAMPLES["revocation-list"]
    with pytest.raises(IdentityError, match="chain-length"):
        verify("revocation-list", sign(statement, signer, chain))


def test_person_cannot_sign_a_revocation_list() -> None:
    statement, _, _ = EXAMPLES["revocation-list"]
    with pytest.raises(IdentityError, match="constraints"):
        verify("revocation-list", sign(statement, HOME.identity, (HOME.person,)))


def test_partner_statement_takes_no_chain() -> None:
    statement, signer, _ = EXAMPLES["partner"]
    with pytest.raises(IdentityError, match="chain-length"):
        verify("partner", sign(statement, signer, (HOME.issuer,)))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("revocation-list", {"establishment": bytes(16)}),
        ("device-revocation", {"establishment": bytes(16)}),
        ("device-revocation", {"person_id": bytes(16)}),
        ("partner", {"establishment": bytes(16)}),
        ("enrolment-key", {"establishment": bytes(16)}),
        ("leave", {"device_id": bytes(16)}),
        ("return-request", {"device_id": bytes(16)}),
    ],
)
def test_statement_in_the_name_of_another_is_refused(name: str, changes: dict[str, bytes]) -> None:
    statement, signer, chain = EXAMPLES[name]
    forged = msgspec.structs.replace(statement, **changes)
    with pytest.raises(StatementError, match="binding"):
        verify(name, sign(forged, signer, chain))


def test_body_that_is_not_canonical_is_refused() -> None:
    statement, signer, chain = EXAMPLES["leave"]
    body = msgspec.msgpack.encode(statement)
    at = body.index(b"\xce")  # NOW as uint32; the same number as uint64 is another encoding
    longer = body[:at] + b"\xcf\0\0\0\0" + body[at + 1 :]
    assert msgspec.msgpack.decode(longer) == msgspec.msgpack.decode(body)
    signature = signer.sign(b"pli statement v1\0leave\0" + longer)
    data = msgspec.msgpack.encode(SignedStatement(1, "leave", longer, chain, signature))
    with pytest.raises(StatementError, match="form"):
        verify("leave", data)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc0", b"\x90", msgspec.msgpack.encode([GROUP, DEVICE, NOW, 1]), b"\x91" * 2000],
)
def test_body_of_another_shape_is_refused(body: bytes) -> None:
    _, signer, chain = EXAMPLES["leave"]
    signature = signer.sign(b"pli statement v1\0leave\0" + body)
    data = msgspec.msgpack.encode(SignedStatement(1, "leave", body, chain, signature))
    with pytest.raises(StatementError, match="form"):
        verify("leave", data)


def test_expired_device_signs_nothing_more_and_its_past_can_be_read() -> None:
    data = signed("leave")
    with pytest.raises(IdentityError, match="expired"):
        verify_statement(data, LeaveStatement, HOME.authority, now=NOW + 500 * 86400)
    assert verify_statement(data, LeaveStatement, HOME.authority, now=None)


def test_texts_of_a_statement_are_safe_to_display() -> None:
    statement, signer, chain = EXAMPLES["return-request"]
    hostile = msgspec.structs.replace(statement, reason="lost\x1b[2J\u202e")
    shown = verify("return-request", sign(hostile, signer, chain))
    assert isinstance(shown, ReturnRequest)
    assert shown.reason == "lost␛[2J�"


def test_list_hash_depends_on_the_content_only() -> None:
    statement, _, chain = EXAMPLES["revocation-list"]
    assert list_hash(signed("revocation-list")) == list_hash(sign(statement, key("x"), chain))
    assert list_hash(signed("revocation-list")) != list_hash(
        sign(msgspec.structs.replace(statement, number=2), HOME.issuer_key, chain)
    )


def test_endless_statement_is_refused_before_it_is_read() -> None:
    with pytest.raises(StatementError, match="size"):
        verify("leave", bytes(4 * 1024 * 1024 + 1))
