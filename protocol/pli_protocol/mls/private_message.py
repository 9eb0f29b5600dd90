"""PrivateMessage: signed and encrypted, sender included (RFC 9420 §6.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

from ..secret import Secret
from .ciphersuite import CipherSuite
from .codec import Reader, Writer, decode, group_and_epoch, varint
from .errors import CodecError, CryptoError, UsageError, ValidationError
from .framing import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    SenderType,
    WireFormat,
    read_content,
    read_content_type,
    write_content,
)
from .labels import expand_with_label
from .quick import quick
from .secret_tree import Entries, MessageKey, RatchetKind, SecretTree


# struct {
#     opaque group_id<V>;
#     uint64 epoch;
#     ContentType content_type;
#     opaque authenticated_data<V>;
#     opaque encrypted_sender_data<V>;
#     opaque ciphertext<V>;
# } PrivateMessage;
@quick
@dataclass(frozen=True, slots=True)
class PrivateMessage:
    """An encrypted message; group, epoch, kind and authenticated_data can be read by anyone."""

    group_id: bytes
    epoch: int
    content_type: ContentType
    authenticated_data: bytes
    encrypted_sender_data: bytes
    ciphertext: bytes

    def write(self, w: Writer) -> None:
        """Append the struct of §6.3."""
        w.raw(group_and_epoch(self.group_id, self.epoch))
        w.u8(self.content_type)
        w.opaque(self.authenticated_data)
        w.opaque(self.encrypted_sender_data)
        w.opaque(self.ciphertext)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §6.3."""
        group_id, epoch, content_type = r.opaque(), r.u64(), read_content_type(r)
        return cls(group_id, epoch, content_type, r.opaque(), r.opaque(), r.opaque())


# struct {
#     uint32 leaf_index;
#     uint32 generation;
#     opaque reuse_guard[4];
# } SenderData;
@quick
@dataclass(frozen=True, slots=True)
class SenderData:
    """Who sent a PrivateMessage and with which key (§6.3.2)."""

    leaf_index: int
    generation: int
    reuse_guard: bytes

    def write(self, w: Writer) -> None:
        """Append the struct of §6.3.2."""
        w.u32(self.leaf_index)
        w.u32(self.generation)
        w.raw(self.reuse_guard)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §6.3.2."""
        return cls(r.u32(), r.u32(), r.bytes(4))


Padding = int | Callable[[int], int]
"""Zero bytes to add, or a function from the unpadded size in bytes to their number."""


class Sealed(NamedTuple):
    """A protected message, the secret tree after it, and the entries that change."""

    message: PrivateMessage
    secret_tree: SecretTree
    changes: Entries
    generation: int


class Opened(NamedTuple):
    """A decrypted content (its signature not yet checked) and what its opening changed."""

    signed: AuthenticatedContent
    secret_tree: SecretTree
    changes: Entries
    generation: int


def ratchet_kind(content_type: ContentType) -> RatchetKind:
    """Which ratchet a message uses."""
    if content_type is ContentType.APPLICATION:
        return RatchetKind.APPLICATION
    return RatchetKind.HANDSHAKE


# struct {
#     opaque group_id<V>;
#     uint64 epoch;
#     ContentType content_type;
#     opaque authenticated_data<V>;
# } PrivateContentAAD;
#
# struct {
#     opaque group_id<V>;
#     uint64 epoch;
#     ContentType content_type;
# } SenderDataAAD;
def _aad(group_id: bytes, epoch: int, content_type: int, authenticated_data: bytes | None) -> bytes:
    # PrivateContentAAD; without authenticated_data it is SenderDataAAD.
    start = group_and_epoch(group_id, epoch) + bytes((content_type,))
    if authenticated_data is None:
        return start
    return b"".join((start, varint(len(authenticated_data)), authenticated_data))


def _guarded(nonce: bytes, reuse_guard: bytes) -> Secret:
    start = int.from_bytes(nonce[:4], "big") ^ int.from_bytes(reuse_guard, "big")
    return Secret(start.to_bytes(4, "big") + nonce[4:])


def sender_data_key(
    suite: CipherSuite, sender_data_secret: bytes, ciphertext: bytes
) -> tuple[Secret, Secret]:
    """Key and nonce of the sender data, from a sample of the ciphertext (§6.3.2)."""
    sample = ciphertext[: suite.hash_size]
    key = expand_with_label(suite, sender_data_secret, "key", sample, suite.key_size)
    nonce = expand_with_label(suite, sender_data_secret, "nonce", sample, suite.nonce_size)
    return key, nonce


def _plaintext(signed: AuthenticatedContent, padding: Padding) -> bytes:
    # struct {
    #     select (PrivateMessage.content_type) {
    #         case application: opaque application_data<V>;
    #         case proposal:    Proposal proposal;
    #         case commit:      Commit commit;
    #     };
    #     FramedContentAuthData auth;
    #     opaque padding[length_of_padding];
    # } PrivateMessageContent;
    w = Writer()
    write_content(w, signed.content.content)
    signed.auth.write(w)
    plaintext = w.getvalue()
    count = padding(len(plaintext)) if callable(padding) else padding
    if count < 0:
        raise UsageError("padding cannot be negative")
    return plaintext + bytes(count)


def protect_private(
    suite: CipherSuite,
    signed: AuthenticatedContent,
    secret_tree: SecretTree,
    sender_data_secret: bytes,
    *,
    padding: Padding,
    random: Callable[[int], bytes],
) -> Sealed:
    """Encrypt a member's signed content with the next key of its ratchet."""
    content = signed.content
    if content.sender.sender_type is not SenderType.MEMBER:
        raise UsageError("only members send PrivateMessages", "sender-not-member", "§6.3.2")
    plaintext = _plaintext(signed, padding)
    leaf, kind = content.sender.index, ratchet_kind(content.content_type)
    key, tree, changes = secret_tree.next_key(suite, leaf, kind)
    guard = random(4)
    aad = _aad(content.group_id, content.epoch, content.content_type, content.authenticated_data)
    ciphertext = suite.aead_seal(key.key, _guarded(key.nonce, guard), aad, plaintext)

    sender_key, sender_nonce = sender_data_key(suite, sender_data_secret, ciphertext)
    sender_data = leaf.to_bytes(4, "big") + key.generation.to_bytes(4, "big") + guard
    sender_aad = _aad(content.group_id, content.epoch, content.content_type, None)
    encrypted = suite.aead_seal(sender_key, sender_nonce, sender_aad, sender_data)
    message = PrivateMessage(
        content.group_id,
        content.epoch,
        content.content_type,
        content.authenticated_data,
        encrypted,
        ciphertext,
    )
    return Sealed(message, tree, changes, key.generation)


def open_sender_data(
    suite: CipherSuite, message: PrivateMessage, sender_data_secret: bytes
) -> SenderData:
    """Who sent it, with which key. Raises ValidationError("sender-data")."""
    key, nonce = sender_data_key(suite, sender_data_secret, message.ciphertext)
    aad = _aad(message.group_id, message.epoch, message.content_type, None)
    try:
        return decode(SenderData, suite.aead_open(key, nonce, aad, message.encrypted_sender_data))
    except (CryptoError, CodecError) as error:
        raise ValidationError("sender-data", "§6.3.2") from error


def unprotect_private(
    suite: CipherSuite, message: PrivateMessage, sender: SenderData, secret_tree: SecretTree
) -> Opened:
    """Decrypt a message of a known sender; its signature is the caller's to check.

    Raises:
        GenerationError: its key was used before or is outside the windows.
        ValidationError: "decrypt", "padding" or "content".

    """
    kind = ratchet_kind(message.content_type)
    key, tree, changes = secret_tree.open_key(suite, sender.leaf_index, kind, sender.generation)
    plaintext = _decrypt(suite, message, key, sender.reuse_guard)
    r = Reader(plaintext)
    try:
        content = read_content(r, message.content_type)
        encoded_content = r.since(0)
        auth = FramedContentAuthData.read(r, message.content_type)
    except CodecError as error:
        raise ValidationError("content", "§6.3.1") from error
    padding = plaintext[r.position :]
    if padding.count(0) != len(padding):
        raise ValidationError("padding", "§6.3.1")
    framed = FramedContent(
        message.group_id,
        message.epoch,
        Sender(SenderType.MEMBER, sender.leaf_index),
        message.authenticated_data,
        content,
    ).with_encoded(encoded_content)
    signed = AuthenticatedContent(WireFormat.PRIVATE_MESSAGE, framed, auth)
    return Opened(signed, tree, changes, sender.generation)


def _decrypt(
    suite: CipherSuite, message: PrivateMessage, key: MessageKey, reuse_guard: bytes
) -> bytes:
    aad = _aad(message.group_id, message.epoch, message.content_type, message.authenticated_data)
    nonce = _guarded(key.nonce, reuse_guard)
    try:
        return suite.aead_open(key.key, nonce, aad, message.ciphertext)
    except CryptoError as error:
        raise ValidationError("decrypt", "§6.3.1") from error
