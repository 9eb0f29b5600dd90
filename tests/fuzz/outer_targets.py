"""Targets beyond MLS: frames, content, certificates, statements, invitations, enrolment."""

from __future__ import annotations

import hashlib
from typing import Any, get_args

import msgspec

from pli_protocol.content import (
    Attach,
    Body,
    ContentError,
    Filed,
    Forward,
    Message,
    Post,
    Proof,
    RecordRef,
    TextPart,
)
from pli_protocol.content import decode as decode_content
from pli_protocol.content import encode as encode_content
from pli_protocol.content.proof import ProofError, verify_forward, verify_receipt
from pli_protocol.identity import (
    IdentityError,
    Invitation,
    InvitationError,
    Trust,
    letters,
    list_hash,
    statement_type,
    statements,
    verify_authority,
    verify_device,
    verify_statement,
)
from pli_protocol.identity.enrolment import (
    Enrolled,
    EnrolmentError,
    EnrolmentRefused,
    ReplyKey,
    open_answer,
    open_request,
    seal_answer,
    seal_request,
)
from pli_protocol.mls import hpke
from pli_protocol.relay.codec import (
    FrameError,
    decode_client_frame,
    decode_relay_frame,
)
from pli_protocol.relay.codec import encode as encode_frame
from pli_protocol.relay.log import RosterChange
from pli_protocol.secret import Secret
from tests.protocol.identity import establishment as places
from tests.protocol.identity.test_statements import EXAMPLES
from tests.protocol.relay.values import CLIENT_FRAMES, RELAY_FRAMES

from .target import Target, target

HOME, OTHER = places.establishment(), places.establishment("Ailleurs", "other ")
NOW = places.NOW


# --- frames ---------------------------------------------------------------------------------------


def plain(info: Any) -> Any:
    """The smallest value of a field's type."""
    from msgspec import inspect

    match info:
        case inspect.IntType():
            return info.ge or (info.gt + 1 if info.gt is not None else 0)
        case inspect.BytesType() | inspect.StrType():
            size = info.min_length or 0
            return bytes(size) if isinstance(info, inspect.BytesType) else "x" * size
        case inspect.BoolType():
            return True
        case inspect.NoneType():
            return None
        case inspect.UnionType(types=types):
            return plain(types[0])
        case inspect.VarTupleType(item_type=item):
            return (plain(item),) * max(info.min_length or 0, 1)
        case inspect.TupleType(item_types=items):
            return tuple(plain(item) for item in items)
        case inspect.StructType():
            return info.cls(**{field.name: plain(field.type) for field in info.fields})
        case inspect.Metadata(type=inner):
            return plain(inner)
        case inspect.LiteralType(values=values):
            return values[0]
    raise AssertionError(f"no value for {info}")


def frames_target(name: str, decode: Any, kinds: tuple[type[msgspec.Struct], ...]) -> Target:
    """One direction of the relay protocol."""

    def run(data: bytes) -> None:
        frame = decode(data)
        assert decode(encode_frame(frame)) == frame

    seeds = [encode_frame(plain(msgspec.inspect.type_info(kind))) for kind in kinds]
    return target(name, run, seeds, FrameError, longest=70_000)


def client_frames_target() -> Target:
    return frames_target("relay-from-client", decode_client_frame, CLIENT_FRAMES)


def relay_frames_target() -> Target:
    return frames_target("relay-from-relay", decode_relay_frame, RELAY_FRAMES)


def roster_target() -> Target:
    """The AAD of a commit."""
    change = RosterChange((bytes(16), b"b" * 16), (b"c" * 16,))

    def run(data: bytes) -> None:
        try:
            found = RosterChange.decode(data)
        except ValueError as error:
            assert type(error) is ValueError  # noqa: PT017
            return
        assert found.encode() == data

    return target("relay-roster", run, [change.encode(), RosterChange().encode()])


# --- content --------------------------------------------------------------------------------------


def content_target() -> Target:
    """Messages, and the proofs that some carry."""
    trust = Trust(HOME.authority)
    proof = plain(msgspec.inspect.type_info(Proof))
    bodies: list[Any] = [
        *(plain(msgspec.inspect.type_info(kind)) for kind in get_args(Body)),
        Post((TextPart("Bonjour"), TextPart("[/"))),
        Attach(bytes(32), RecordRef("dui", "IPP-1"), None),
        Forward(proof, None),
    ]
    seeds = [encode_content(Message(bytes(16), 5, body)) for body in bodies]

    def run(data: bytes) -> None:
        body = decode_content(data).body
        if isinstance(body, Forward):
            verify_forward(body, trust, NOW)
        if isinstance(body, Filed):
            verify_receipt(body, trust, NOW)

    return target("content", run, seeds, ContentError, ProofError, longest=45_000)


# --- identity -------------------------------------------------------------------------------------


def certificates_target() -> Target:
    """Chains with one certificate of the input's choice: the first byte says which place it takes."""
    chain = [HOME.authority, HOME.issuer, HOME.person, HOME.device]

    def run(data: bytes) -> None:
        if not data:
            return
        place = data[0] & 3
        authority, issuer, person, device = [
            data[1:] if at == place else certificate for at, certificate in enumerate(chain)
        ]
        if place == 0:
            verify_authority(authority)
        verify_device((device, person, issuer), authority, now=NOW)

    seeds = [bytes([at]) + certificate for at, certificate in enumerate(chain)]
    return target("identity-certificates", run, seeds, IdentityError, longest=4200)


def statements_target() -> Target:
    """Statements as they are, and bodies of the input's choice that the right key signed.

    First byte: the type; with bit 7 the rest is a body, which is signed.
    """
    kinds = list(EXAMPLES.values())

    def run(data: bytes) -> None:
        if not data:
            return
        statement, signer, chain = kinds[(data[0] & 0x7F) % len(kinds)]
        signed = data[1:]
        if data[0] & 0x80:
            name = type(statement).TYPE
            signature = signer.sign(statements._signed_bytes(name, signed))
            signed = msgspec.msgpack.encode(
                statements.SignedStatement(1, name, signed, tuple(chain), signature)
            )
        for read in (
            lambda: statement_type(signed),
            lambda: list_hash(signed),
            lambda: verify_statement(signed, type(statement), HOME.authority, now=NOW),
            lambda: Trust(HOME.authority).accept_revocations(signed),
            lambda: Trust(HOME.authority).accept_device_revocation(signed),
            lambda: Trust(HOME.authority).accept_partner(signed, OTHER.authority),
        ):
            try:
                read()
            except IdentityError:
                continue

    seeds = []
    for at, (statement, key, chain) in enumerate(kinds):
        seeds.append(bytes([at]) + statements.sign(statement, key, chain))
        seeds.append(bytes([at | 0x80]) + msgspec.msgpack.encode(statement))
    return target("identity-statements", run, seeds, IdentityError)


def invitations_target() -> Target:
    """Codes as text, and what a code holds under a right checksum (first byte 1)."""
    good = Invitation(Secret(bytes(16)), b"e" * 16, "wss://relay.example:8443/pli")
    body = bytes(16) + good.establishment + good.relay.encode()

    def run(data: bytes) -> None:
        text = data[1:].decode("utf-8", "replace")
        if data[:1] == b"\1":
            checked = data[1:] + hashlib.sha256(b"pli invitation v1" + data[1:]).digest()[:4]
            text = letters.grouped(checked, 5)
        found = Invitation.parse(text)
        assert Invitation.parse(found.text()) == found

    seeds = [b"\0" + good.text().encode(), b"\1" + body]
    return target("identity-invitations", run, seeds, InvitationError, longest=1000)


def enrolment_target() -> Target:
    """Sealed requests and answers, and what is in them under the right key.

    First byte: 0 a request, 1 an answer, 2 a request's plaintext, 3 an answer's plaintext.
    """
    key = ReplyKey.from_private(bytes(range(32)))
    request_id = b"r" * 16
    invitation = Invitation(Secret(bytes(16)), b"e" * 16, "wss://relay.example")
    random = lambda size: bytes(range(size))  # noqa: E731
    request = seal_request(invitation, [key.public], HOME.identity, key.public, request_id, random)
    opened = open_request(request, request_id, invitation.establishment, key)
    answers = (Enrolled(HOME.person, HOME.issuer), EnrolmentRefused("used"))

    def sealed_request(plaintext: bytes) -> bytes:
        from pli_protocol.identity import enrolment

        info = b"pli enrolment v1" + request_id
        enc, ciphertext = hpke.seal(enrolment.SUITE, key.public, info, b"", plaintext, random)
        copy = enrolment._SealedFor(enrolment.enrolment_key_id(key.public), enc, ciphertext)
        return msgspec.msgpack.encode(enrolment._SealedRequest(1, (copy,)))

    def sealed_answer(plaintext: bytes) -> bytes:
        from pli_protocol.identity import enrolment

        info = b"pli enrolment answer v1" + request_id
        enc, ciphertext = hpke.seal(enrolment.SUITE, key.public, info, b"", plaintext, random)
        return msgspec.msgpack.encode(enrolment._SealedAnswer(1, enc, ciphertext))

    def run(data: bytes) -> None:
        kind, body = data[:1], data[1:]
        if kind in (b"\0", b"\2"):
            sealed = body if kind == b"\0" else sealed_request(body)
            open_request(sealed, request_id, invitation.establishment, key)
        else:
            sealed = sealed_answer(body) if kind == b"\3" else body
            open_answer(sealed, request_id, key)

    seeds = [
        b"\0" + request,
        *(b"\1" + seal_answer(answer, key.public, request_id, random) for answer in answers),
        b"\2" + msgspec.msgpack.encode(opened),
        *(b"\3" + msgspec.msgpack.encode(answer) for answer in answers),
    ]
    return target("identity-enrolment", run, seeds, EnrolmentError, longest=8192)
