"""Proving one message: who wrote it, in which conversation, that nothing was altered.

A proof is checked with nothing but the trust in an establishment. It needs no group, no key and no
other message (design: the DUI's bot stands outside the conversation).
"""

from dataclasses import dataclass

from ..identity import Device, IdentityError, Refusal, Trust
from ..mls.codec import decode as decode_mls
from ..mls.errors import MLSError
from ..mls.framing import FramedContent, SenderType, verify_signed
from ..mls.group_context import GroupContext
from ..relay.frames import Position
from .codec import ContentError, decode, message_id
from .messages import (
    CONVERSATION_EXTENSION,
    Attach,
    Detach,
    Filed,
    Forward,
    Message,
    NoteType,
    Proof,
    Receipt,
    RecordRef,
)


class ProofError(Exception):
    """A proof that proves nothing. `rule` is a short stable id; the text quotes nothing of it.

    Rules: "form", "signature", "conversation", "content", "record", "receipt", or a rule of
    IdentityError for the author's chain.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{text} [{rule}]")
        self.rule = rule
        self.text = text


@dataclass(frozen=True, slots=True)
class VerifiedMessage:
    """A message whose author was proven. `data` are the bytes that were signed."""

    message: Message
    message_id: bytes
    data: bytes
    author: Device
    conversation_id: bytes
    group_id: bytes
    epoch: int
    position: Position | None
    """Not proven: as whoever made the proof said."""
    time: int | None
    """Not proven: milliseconds since 1970, as whoever made the proof said."""
    refusal: Refusal | None
    """The author's device, person or issuer was revoked."""


@dataclass(frozen=True, slots=True)
class VerifiedForward:
    """A message, the record it belongs to, and whose act put it there or took it off."""

    message: VerifiedMessage
    record: RecordRef
    note_type: NoteType | None
    by: Device
    """The author of the attach or detach; of the message, where the record stands on it."""
    detached: bool
    act: VerifiedMessage | None


def verify_proof(proof: Proof, trust: Trust, now: int | None = None) -> VerifiedMessage:
    """Check a proof by itself.

    Args:
        now: Unix seconds, for the dates of the author's certificates; None: they are not checked,
            as is right for what was signed in the past.

    Raises:
        ProofError: .rule names the check.
    """
    try:
        author = trust.device(proof.chain, now)
    except IdentityError as error:
        raise ProofError(error.rule, "the author's chain does not check") from error
    framed, context = _verify_signature(proof, author.signature_key)
    if context.extension(CONVERSATION_EXTENSION) != proof.conversation_id:
        raise ProofError("conversation", "the group belongs to another conversation")
    if framed.sender.sender_type is not SenderType.MEMBER or not isinstance(framed.content, bytes):
        raise ProofError("form", "not an application message of a member")
    data = framed.content
    try:
        message = decode(data)
    except ContentError as error:
        raise ProofError("content", "the signed bytes are not a message") from error
    return VerifiedMessage(
        message,
        message_id(proof.conversation_id, author.person.person_id, data),
        data,
        author,
        proof.conversation_id,
        context.group_id,
        context.epoch,
        proof.position,
        proof.time,
        trust.refuses(author),
    )


def verify_forward(forward: Forward, trust: Trust, now: int | None = None) -> VerifiedForward:
    """Check what a member forwards to the DUI's bot: the message and what was done with it.

    Raises:
        ProofError: a proof does not check; "record": no record on the message, or the act is of
            another conversation, about another message, or neither attach nor detach.
    """
    message = verify_proof(forward.proof, trust, now)
    if forward.act is None:
        record = message.message.record
        if record is None:
            raise ProofError("record", "the message belongs to no record")
        note_type = message.message.note_type
        return VerifiedForward(message, record, note_type, message.author, False, None)
    act = verify_proof(forward.act, trust, now)
    body = act.message.body
    if not isinstance(body, Attach | Detach):
        raise ProofError("record", "neither an attach nor a detach")
    if body.message_id != message.message_id or act.conversation_id != message.conversation_id:
        raise ProofError("record", "the act is about another message")
    note_type = body.note_type if isinstance(body, Attach) else None
    return VerifiedForward(
        message, body.record, note_type, act.author, isinstance(body, Detach), act
    )


def verify_receipt(filed: Filed, trust: Trust, now: int | None = None) -> VerifiedMessage:
    """Check the bot's receipt that somebody posted: signed by a bot, about this message and record.

    Raises:
        ProofError: the proof does not check; "receipt": not a bot's receipt of this filing.
    """
    verified = verify_proof(filed.receipt, trust, now)
    body = verified.message.body
    if not isinstance(body, Receipt) or verified.author.person.kind != "bot":
        raise ProofError("receipt", "not a receipt of a bot")
    if not body.filed or (body.message_id, body.record) != (filed.message_id, filed.record):
        raise ProofError("receipt", "the receipt is about something else")
    return verified


def _verify_signature(proof: Proof, key: bytes) -> tuple[FramedContent, GroupContext]:
    try:
        context = decode_mls(GroupContext, proof.context)
        framed = verify_signed(proof.signed, context, key)
    except MLSError as error:
        raise ProofError("signature", "the message's signature does not verify") from error
    return framed, context
