"""Statements: what authorities, issuers, persons and devices sign besides certificates.

A statement on the wire is a MessagePack array `[1, type, body, chain, signature]`:

    type       text, the name of the class below ("revocation-list"…)
    body       bytes, the MessagePack array of the class's fields
    chain      the signer's certificates up to, not with, the authority's; () where the authority signs
    signature  64 bytes, Ed25519 over "pli statement v1" || 0x00 || type || 0x00 || body

| type                | signed by    | chain                    |
|---------------------|--------------|--------------------------|
| revocation-list     | an issuer    | (issuer,)                |
| device-revocation   | a person     | (person, issuer)         |
| replacement         | an issuer    | (issuer,)                |
| authority-change    | see its class | () or (issuer,)         |
| partner             | an authority | ()                       |
| enrolment-key       | an issuer    | (issuer,)                |
| leave               | a device     | (device, person, issuer) |
| return-request      | a device     | (device, person, issuer) |

There is one encoding of a statement: what does not encode to the same bytes again is refused.
Times are Unix seconds by the signer's clock.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from ..display_text import displayable
from ..relay.frames.values import Certificate, GroupId, Id16, Id32, Inline, Number, Position, Short
from . import chain as chains
from .errors import IdentityError, StatementError
from .keys import SigningKey, verify

MAX_STATEMENT = 4 * 1024 * 1024
"""Bytes of the largest statement (a revocation list of some 60,000 entries)."""

Reason = Literal["lost", "retired", "stolen", "left"]
RevokedKind = Literal["device", "person", "issuer"]

_WIPING: Final = {
    "device": frozenset({"lost", "stolen", "left"}),
    "person": frozenset({"lost", "left"}),
    "issuer": frozenset[str](),
}
"""By kind of entry: the reasons upon which a vault is wiped."""

MAX_CHANGES = 8
"""Authorities that follow an establishment's first one in all its life: one frame holds them."""

Signer = Literal["authority", "issuer", "person", "device", "authority or issuer"]


class Statement(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A statement's body."""

    TYPE: ClassVar[str] = ""
    SIGNER: ClassVar[Signer] = "device"


class RevocationEntry(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A device, person or issuer that counts no more since `time`."""

    kind: RevokedKind
    id: Id16
    """Device id, person id, or issuer id (first 16 bytes of SHA-256 of its key)."""
    reason: Reason
    time: Number

    @property
    def wipes(self) -> bool:
        """Whether a vault whose device this entry refuses is wiped (decision 15)."""
        return self.reason in _WIPING[self.kind]


class RevocationList(Statement, frozen=True):
    """Everything revoked in an establishment; a list holds all entries of the one before it.

    `number` counts from 1; `previous` is `list_hash` of the list before, 32 zero bytes for the first.
    """

    TYPE: ClassVar[str] = "revocation-list"
    SIGNER: ClassVar[Signer] = "issuer"

    establishment: Id16
    number: Annotated[int, Meta(ge=1, lt=2**53)]
    previous: Id32
    entries: Annotated[tuple[RevocationEntry, ...], Meta(max_length=60_000)]
    time: Number


class DeviceRevocation(Statement, frozen=True):
    """A person's own word that a device of theirs counts no more; it counts at once."""

    TYPE: ClassVar[str] = "device-revocation"
    SIGNER: ClassVar[Signer] = "person"

    establishment: Id16
    person_id: Id16
    device_id: Id16
    reason: Reason
    time: Number


class Replacement(Statement, frozen=True):
    """A person's identity key was replaced: the account belongs to another key, which is another person.

    The person of before counts no more. Who follows inherits no conversation: members add them.
    """

    TYPE: ClassVar[str] = "replacement"
    SIGNER: ClassVar[Signer] = "issuer"

    establishment: Id16
    account: Id16
    replaced: Id16
    """The person id of before."""
    identity_key: Id32
    """The new one; the person id follows from it."""
    time: Number

    @property
    def successor(self) -> bytes:
        """The person id of who follows."""
        return chains.person_id(self.establishment, self.identity_key)


class AuthorityChange(Statement, frozen=True):
    """Another authority takes the place of an establishment's: the key of before is handed over, or lost.

    It counts when the same body is signed by the authority of before, or by two of its issuers where
    that key is lost, and by the new authority as well (`succession`).
    """

    TYPE: ClassVar[str] = "authority-change"
    SIGNER: ClassVar[Signer] = "authority or issuer"

    establishment: Id16
    """The first authority's: it stays the establishment's id for ever."""
    number: Annotated[int, Meta(ge=1, le=MAX_CHANGES)]
    previous: Id32
    """Fingerprint of the authority that is replaced."""
    authority: Certificate
    """The new one (DER)."""
    compromised: bool
    """The key of before is in wrong hands: nothing under it counts any more."""
    time: Number


class PartnerStatement(Statement, frozen=True):
    """Another establishment's authority is trusted until a date."""

    TYPE: ClassVar[str] = "partner"
    SIGNER: ClassVar[Signer] = "authority"

    establishment: Id16
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    fingerprint: Id32
    """SHA-256 of the partner authority's SubjectPublicKeyInfo."""
    until: Number
    time: Number


class EnrolmentKey(Statement, frozen=True):
    """The key to which requests to be enrolled are sealed: HPKE, DHKEM(X25519), 32 bytes."""

    TYPE: ClassVar[str] = "enrolment-key"
    SIGNER: ClassVar[Signer] = "issuer"

    establishment: Id16
    key: Id32
    time: Number


class LeaveStatement(Statement, frozen=True):
    """A person leaves a group with all its devices."""

    TYPE: ClassVar[str] = "leave"
    SIGNER: ClassVar[Signer] = "device"

    group: GroupId
    device_id: Id16
    time: Number


class ReturnRequest(Statement, frozen=True):
    """A device of a member lost its state and asks to be added again, with a new key package."""

    TYPE: ClassVar[str] = "return-request"
    SIGNER: ClassVar[Signer] = "device"

    group: GroupId
    device_id: Id16
    key_package: Inline
    reason: Short
    last: Position | None
    """The last position of the log that the device is sure of; None: nothing is left."""
    time: Number


class SignedStatement(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A statement as it travels; nothing of it is checked but its form."""

    version: Literal[1]
    type: Annotated[str, Meta(max_length=32)]
    body: bytes
    chain: Annotated[tuple[Certificate, ...], Meta(max_length=3)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


S = TypeVar("S", bound=Statement)


class Checked(Struct, Generic[S], frozen=True):
    """A statement whose signature and signer's chain were checked, with its bytes."""

    statement: S
    signer: chains.Authority | chains.Issuer | chains.Person | chains.Device
    signed: bytes


def sign(statement: Statement, key: SigningKey, chain: Sequence[bytes] = ()) -> bytes:
    """The statement's bytes, signed; `chain` as the table of this module says."""
    body = msgspec.msgpack.encode(statement)
    signature = key.sign(_signed_bytes(statement.TYPE, body))
    return msgspec.msgpack.encode(SignedStatement(1, statement.TYPE, body, tuple(chain), signature))


def statement_type(data: bytes) -> str:
    """The type of a statement, unchecked; raises StatementError when the form is wrong."""
    return _decode(data, SignedStatement, "statement").type


def verify_statement(
    data: bytes,
    expected: type[S],
    authority: bytes,
    *,
    now: int | None = None,
    lineage: bytes | None = None,
) -> Checked[S]:
    """Check form, type, the signer's chain up to `authority` (DER), the signature and the binding.

    Binding: the statement's establishment, person and device are those of the signer.

    Args:
        now: Unix seconds, for the dates of the signer's certificates; None: not checked.
        lineage: The establishment's id where this authority is not its first.

    Raises:
        StatementError: rule "form", "type", "size" or "binding".
        IdentityError: the chain or the signature does not check.
    """
    signed = _decode(data, SignedStatement, "statement")
    if signed.type != expected.TYPE:
        raise StatementError("type", f"a statement of type {expected.TYPE} was expected")
    signer = _signer(expected, signed.chain, authority, now, lineage)
    verify(_key(signer), _signed_bytes(signed.type, signed.body), signed.signature)
    statement = _decode(signed.body, expected, expected.TYPE)
    _check_binding(statement, signer)
    return Checked(_for_display(statement), signer, data)


def list_hash(data: bytes) -> bytes:
    """The hash (32 bytes) of a signed revocation list, over its body: what the next list names."""
    body = _decode(data, SignedStatement, "statement").body
    return hashlib.sha256(b"pli revocation list v1" + body).digest()


def _signed_bytes(name: str, body: bytes) -> bytes:
    return b"\0".join((b"pli statement v1", name.encode(), body))


T = TypeVar("T", bound=Struct)


def _decode(data: bytes, expected: type[T], what: str) -> T:
    if len(data) > MAX_STATEMENT:
        raise StatementError("size", "the statement is too large")
    try:
        value = msgspec.msgpack.decode(data, type=expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise StatementError("form", f"not a {what}") from None
    if msgspec.msgpack.encode(value) != data:
        raise StatementError("form", f"not the one encoding of a {what}")
    return value


def _signer(
    expected: type[Statement],
    chain: tuple[bytes, ...],
    authority: bytes,
    now: int | None,
    lineage: bytes | None,
) -> chains.Authority | chains.Issuer | chains.Person | chains.Device:
    kind = expected.SIGNER
    if kind == "authority or issuer":
        kind = "issuer" if chain else "authority"
    match kind:
        case "authority":
            if chain:
                raise IdentityError("chain-length", "an authority signs without a chain")
            return chains.verify_authority(authority, lineage=lineage)
        case "issuer":
            return chains.verify_issuer(chain, authority, lineage=lineage)
        case "person":
            return chains.verify_person(chain, authority, now=now, lineage=lineage)
        case _:
            return chains.verify_device(chain, authority, now=now, lineage=lineage)


def _key(signer: chains.Authority | chains.Issuer | chains.Person | chains.Device) -> bytes:
    match signer:
        case chains.Person():
            return signer.identity_key
        case chains.Device():
            return signer.signature_key
        case _:
            return signer.key


def _check_binding(
    statement: Statement,
    signer: chains.Authority | chains.Issuer | chains.Person | chains.Device,
) -> None:
    own = {
        "establishment": (
            signer.person.establishment
            if isinstance(signer, chains.Device)
            else signer.establishment
        ),
    }
    if isinstance(signer, chains.Person):
        own["person_id"] = signer.person_id
    if isinstance(signer, chains.Device):
        own["device_id"] = signer.device_id
    for name, value in own.items():
        if getattr(statement, name, value) != value:
            raise StatementError("binding", f"the statement names another {name}")


def _for_display(statement: S) -> S:
    if isinstance(statement, PartnerStatement):
        return msgspec.structs.replace(statement, name=displayable(statement.name, one_line=True))
    if isinstance(statement, ReturnRequest):
        reason = displayable(statement.reason, one_line=True)
        return msgspec.structs.replace(statement, reason=reason)
    return statement
