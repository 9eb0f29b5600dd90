"""Proof of one message: author, conversation, integrity; and every way to break it."""

from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from pli_protocol.content import (
    CONVERSATION_EXTENSION,
    Attach,
    Body,
    Detach,
    Filed,
    Forward,
    Message,
    Post,
    Proof,
    Receipt,
    RecordRef,
    Rename,
    TextPart,
    decode,
    encode,
    message_id,
)
from pli_protocol.content.proof import ProofError, verify_forward, verify_proof, verify_receipt
from pli_protocol.identity import (
    RevocationEntry,
    RevocationList,
    Trust,
    make_device,
    make_person,
    sign,
    verify_authority,
)
from pli_protocol.mls import (
    Capabilities,
    Extension,
    Group,
    Lifetime,
    SignatureKeyPair,
    SignaturePrivateKey,
    X509Credential,
    suite,
)
from pli_protocol.mls.codec import encode as encode_mls
from pli_protocol.mls.framing import FramedContent, Sender, SenderType, WireFormat, sign_content
from pli_protocol.mls.proposal import Remove
from pli_protocol.relay.frames import Position

from ..identity.establishment import NOW, establishment, key

HOME = establishment()
OTHER = establishment("Ailleurs", "other ")
TRUST = Trust(HOME.authority)
CONVERSATION, SERVICE = b"c" * 16, b"s" * 16
RECORD = RecordRef("dui", "IPP-1")


@dataclass(frozen=True)
class Author:
    """A device and a group in which it speaks."""

    chain: tuple[bytes, bytes, bytes]
    signer: SignatureKeyPair
    group: Group

    def prove(self, message: Message) -> Proof:
        sealed = self.group.seal(encode(message))
        return self.proof(sealed.signed)

    def proof(self, signed: bytes) -> Proof:
        conversation = self.group.extension(CONVERSATION_EXTENSION) or bytes(16)
        context = encode_mls(self.group.context)
        return Proof(signed, context, conversation, self.chain, Position(1, 7), 5)

    def say(self, body: Body, **fields: Any) -> tuple[Message, Proof]:
        message = Message(bytes(16), 5, body, **fields)
        return message, self.prove(message)


def author(conversation: bytes, kind: Any = "person", name: str = "one") -> Author:
    identity, device = key(f"{name} identity"), key(f"{name} device")
    person = make_person(
        HOME.issuer_key,
        HOME.issuer,
        account=name.encode().ljust(16),
        name=name,
        profession="x",
        identity_key=identity.public,
        kind=kind,
        now=NOW,
    )
    chain = (make_device(identity, person, device.public, now=NOW), person, HOME.issuer)
    signer = SignatureKeyPair(device.public, SignaturePrivateKey(device.seed))
    group = Group.create(
        suite(0x0003),
        b"group " + name.encode(),
        X509Credential(chain),
        signer,
        lifetime=Lifetime(NOW, NOW + 10**6),
        capabilities=Capabilities(
            cipher_suites=(0x0003,), extensions=(CONVERSATION_EXTENSION,), credentials=(2,)
        ),
        extensions=[Extension(CONVERSATION_EXTENSION, conversation)],
    ).group
    return Author(chain, signer, group)


ONE, TWO = author(CONVERSATION), author(CONVERSATION, name="two")
BOT, FAKE_BOT = author(SERVICE, "bot", "dui"), author(SERVICE, "person", "fake")
MESSAGE, PROOF = ONE.say(Post((TextPart("bonjour"),)), record=RECORD, note_type="OBS")
PERSON = TRUST.device(ONE.chain, NOW).person
MESSAGE_ID = message_id(CONVERSATION, PERSON.person_id, encode(MESSAGE))


def rule(proof: Proof, trust: Trust = TRUST, now: int | None = NOW) -> str:
    with pytest.raises(ProofError) as caught:
        verify_proof(proof, trust, now)
    return caught.value.rule


# --- one message ------------------------------------------------------------------------------


def test_proof_shows_message_author_and_place() -> None:
    verified = verify_proof(PROOF, TRUST, NOW)
    assert verified.message == MESSAGE
    assert verified.message_id == MESSAGE_ID
    assert verified.author.person.name == "one"
    assert verified.conversation_id == CONVERSATION
    assert (verified.group_id, verified.epoch) == (b"group one", 0)
    assert (verified.position, verified.time) == (Position(1, 7), 5)
    assert verified.refusal is None


def test_proof_survives_being_sent() -> None:
    carried = decode(encode(Message(bytes(16), 0, Forward(PROOF)))).body
    assert isinstance(carried, Forward)
    assert verify_proof(carried.proof, TRUST, NOW).message == MESSAGE


def test_proof_names_no_other_member() -> None:
    """Neither in the context nor in the content: a second author's proof shares nothing but fixed parts."""
    everything = encode(Message(bytes(16), 0, Forward(PROOF)))
    for part in (*TWO.chain[:2], TWO.signer.public, b"group two"):
        assert part not in everything


def test_one_changed_bit_of_message_or_context_is_noticed() -> None:
    for field in ("signed", "context"):
        data = getattr(PROOF, field)
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            assert rule(replace(PROOF, **{field: changed})) in {"signature", "conversation"}


def test_message_is_not_proven_in_the_name_of_another() -> None:
    assert rule(replace(PROOF, chain=TWO.chain)) == "signature"
    assert rule(replace(PROOF, chain=OTHER.chain)) == "name-chaining"


def test_message_is_not_proven_for_another_conversation_or_epoch() -> None:
    assert rule(replace(PROOF, conversation_id=b"x" * 16)) == "conversation"
    assert rule(replace(PROOF, context=encode_mls(TWO.group.context))) == "signature"


def test_group_without_a_conversation_proves_nothing() -> None:
    bare = Group.create(
        suite(0x0003), b"g", X509Credential(ONE.chain), ONE.signer, lifetime=Lifetime(0, 2**40)
    ).group
    proof = Author(ONE.chain, ONE.signer, bare).prove(MESSAGE)
    assert rule(proof) == "conversation"


def test_what_is_not_an_application_message_of_a_member_proves_nothing() -> None:
    group = ONE.group
    proposal = FramedContent(group.group_id, 0, Sender(SenderType.MEMBER, 0), b"", Remove(0))
    signed = sign_content(
        group.suite, ONE.signer, WireFormat.PRIVATE_MESSAGE, proposal, group.context
    )
    assert rule(ONE.proof(encode_mls(signed))) == "form"


def test_signed_bytes_that_are_no_message_prove_nothing() -> None:
    assert rule(ONE.proof(ONE.group.seal(b"garbage").signed)) == "content"


def test_expired_author_is_refused_now_and_proven_for_the_past() -> None:
    assert rule(PROOF, now=NOW + 500 * 86400) == "expired"
    assert verify_proof(PROOF, TRUST).message == MESSAGE


def test_revoked_author_is_shown_as_refused() -> None:
    establishment_id = verify_authority(HOME.authority).establishment
    entry = RevocationEntry("person", PERSON.person_id, "stolen", NOW)
    signed = sign(
        RevocationList(establishment_id, 1, bytes(32), (entry,), NOW),
        HOME.issuer_key,
        (HOME.issuer,),
    )
    verified = verify_proof(PROOF, Trust(HOME.authority, revocations=[signed]), NOW)
    assert str(verified.refusal) == "person stolen"


def test_garbage_proves_nothing() -> None:
    garbage = Proof(b"x", b"y", CONVERSATION, ONE.chain)
    assert rule(garbage) == "signature"
    assert rule(replace(garbage, chain=(b"a", b"b", b"c"))) == "encoding"


# --- forwarding to the bot --------------------------------------------------------------------


def test_record_written_on_the_message_is_the_authors_act() -> None:
    forwarded = verify_forward(Forward(PROOF), TRUST, NOW)
    assert (forwarded.record, forwarded.note_type, forwarded.detached) == (RECORD, "OBS", False)
    assert forwarded.by == forwarded.message.author
    assert forwarded.act is None


def test_record_attached_later_names_who_did_it() -> None:
    other = RecordRef("dui", "IPP-2")
    _, act = TWO.say(Attach(MESSAGE_ID, other, "INST"))
    forwarded = verify_forward(Forward(PROOF, act), TRUST, NOW)
    assert (forwarded.record, forwarded.note_type) == (other, "INST")
    assert forwarded.by.person.name == "two"
    assert forwarded.message.author.person.name == "one"


def test_detach_is_forwarded_as_such() -> None:
    _, act = TWO.say(Detach(MESSAGE_ID, RECORD))
    assert verify_forward(Forward(PROOF, act), TRUST, NOW).detached


@pytest.mark.parametrize(
    "act",
    [
        TWO.say(Attach(bytes(32), RECORD))[1],
        TWO.say(Rename("autre"))[1],
        BOT.say(Attach(MESSAGE_ID, RECORD))[1],
    ],
)
def test_act_about_something_else_is_refused(act: Proof) -> None:
    with pytest.raises(ProofError) as caught:
        verify_forward(Forward(PROOF, act), TRUST, NOW)
    assert caught.value.rule == "record"


def test_message_of_no_record_is_refused() -> None:
    _, proof = ONE.say(Post((TextPart("bonjour"),)))
    with pytest.raises(ProofError, match="record"):
        verify_forward(Forward(proof), TRUST, NOW)


def test_forged_act_is_refused() -> None:
    _, act = TWO.say(Attach(MESSAGE_ID, RECORD))
    with pytest.raises(ProofError, match="signature"):
        verify_forward(Forward(PROOF, replace(act, chain=ONE.chain)), TRUST, NOW)


# --- receipts ---------------------------------------------------------------------------------


def test_receipt_of_the_bot_proves_the_filing() -> None:
    _, receipt = BOT.say(Receipt(MESSAGE_ID, RECORD, True, "urn:uuid:1"))
    verified = verify_receipt(Filed(MESSAGE_ID, RECORD, receipt), TRUST, NOW)
    assert verified.author.person.kind == "bot"
    assert isinstance(verified.message.body, Receipt)
    assert verified.message.body.number == "urn:uuid:1"


@pytest.mark.parametrize(
    "receipt",
    [
        FAKE_BOT.say(Receipt(MESSAGE_ID, RECORD, True, "1"))[1],
        BOT.say(Receipt(bytes(32), RECORD, True, "1"))[1],
        BOT.say(Receipt(MESSAGE_ID, RecordRef("dui", "IPP-9"), True, "1"))[1],
        BOT.say(Receipt(MESSAGE_ID, RECORD, False, "", "unknown-record"))[1],
        BOT.say(Rename("autre"))[1],
        PROOF,
    ],
)
def test_receipt_of_somebody_or_something_else_is_refused(receipt: Proof) -> None:
    with pytest.raises(ProofError) as caught:
        verify_receipt(Filed(MESSAGE_ID, RECORD, receipt), TRUST, NOW)
    assert caught.value.rule == "receipt"
