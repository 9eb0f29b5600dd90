"""The values of a message: its parts, its record, what is done to records and conversations.

The model is the IETF MIMI content draft's (salted id, sent at, in reply to, replaces, expires, parts)
with our own additions (record, note type, urgency, attach, detach, filing). Each class is a MessagePack
map; a body's and a part's key `t` names its class.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from ..relay.frames import Certificate, Id16, Id32, Number, Position, Time
from ..transparency.heads import SignedHead

CONVERSATION_EXTENSION: Final = 0xF0C0
"""GroupContext extension (private use, RFC 9420 §17.3) that holds the conversation's 16 random bytes."""

NoteType = Literal["GEN", "OBS", "INTERV", "INST", "DEM-AVIS"]
NOTE_TYPES: Final[tuple[NoteType, ...]] = ("GEN", "OBS", "INTERV", "INST", "DEM-AVIS")
"""Note types of the cahier de liaison: general, observation, intervention, instruction, advice asked."""

MAX_PARTS = 32
MAX_TEXT = 32 * 1024
"""Code points of the longest text part (the whole message is bounded in bytes by MAX_CONTENT)."""

Label = Annotated[str, Meta(min_length=1, max_length=128)]
Reason = Annotated[str, Meta(max_length=1024)]


class _Value(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A value inside a message."""


class _Tagged(_Value, frozen=True, tag_field="t"):
    """A value with alternatives."""


class RecordRef(_Value, frozen=True):
    """A usager's record: the DUI that holds it and the DUI's own id of it."""

    system: Label
    id: Label

    def __str__(self) -> str:
        return f"{self.system}|{self.id}"

    @classmethod
    def parse(cls, text: str, default_system: str | None = None) -> "RecordRef":
        """Read `system|id` (a system has no bar), or `id` alone where the establishment has a default system.

        Raises:
            ValueError: empty, too long, or no system.
        """
        first, bar, rest = text.partition("|")
        system, identifier = (first, rest) if bar else (default_system or "", first)
        system, identifier = system.strip(), identifier.strip()
        if not (1 <= len(system) <= 128 and 1 <= len(identifier) <= 128):
            raise ValueError("a record is written system|id, each of 1 to 128 characters")
        return cls(system, identifier)


class TextPart(_Tagged, frozen=True, tag="text"):
    """Plain text."""

    text: Annotated[str, Meta(max_length=MAX_TEXT)]

    def __repr__(self) -> str:
        return f"TextPart(<{len(self.text)} characters>)"


class FilePart(_Tagged, frozen=True, tag="file"):
    """A file that lies encrypted at the relay: where, how to open it, what must come out."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    mime: Annotated[str, Meta(min_length=1, max_length=128)]
    size: Number
    """Bytes of the plaintext."""
    sha256: Id32
    """Of the plaintext."""
    blob: Id32
    key: Id32
    """Of the encryption (secretstream)."""
    chunk_size: Annotated[int, Meta(ge=2**10, le=2**20)]
    """Bytes; each chunk costs its receiver a step and 17 bytes, hence not too small."""
    description: Reason = ""
    blob_size: Number = 0
    """Bytes of the ciphertext, padding included."""

    def __repr__(self) -> str:
        return f"FilePart(<{self.size} bytes>)"


Part = TextPart | FilePart


class RevocationHead(_Value, frozen=True):
    """Number and hash of the newest revocation list that the sender knows."""

    number: Number
    hash: Id32


class LogHead(_Value, frozen=True):
    """A position of this group's log and its hash chain there, as the sender saw them last."""

    position: Position
    chain: Id32


# --- bodies -----------------------------------------------------------------------------------


class Post(_Tagged, frozen=True, tag="post"):
    """What a person writes: parts, in order."""

    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=MAX_PARTS)]


class Rename(_Tagged, frozen=True, tag="rename"):
    """The conversation has another title from here on."""

    title: Label


class Info(_Tagged, frozen=True, tag="info"):
    """Title and kind, repeated by who added somebody, so that newcomers know them.

    A `service` conversation is between one person and one bot.
    """

    title: Annotated[str, Meta(max_length=128)]
    kind: Literal["team", "service"] = "team"


class Attach(_Tagged, frozen=True, tag="attach"):
    """An earlier message belongs to a record."""

    message_id: Id32
    record: RecordRef
    note_type: NoteType | None = None


class Detach(_Tagged, frozen=True, tag="detach"):
    """A message belongs no more to a record (by its attacher or its author)."""

    message_id: Id32
    record: RecordRef
    reason: Reason = ""


class Objection(_Tagged, frozen=True, tag="objection"):
    """Somebody who may not detach says that the message does not belong to the record."""

    message_id: Id32
    record: RecordRef
    reason: Reason = ""


class Proof(_Value, frozen=True):
    """What shows, to one who has nothing else, who wrote one message and in which conversation.

    It names no other member and no other message: a group id, an epoch and two hashes.
    """

    signed: Annotated[bytes, Meta(min_length=1, max_length=48 * 1024)]
    """The MLS AuthenticatedContent (RFC 9420 §6)."""
    context: Annotated[bytes, Meta(min_length=1, max_length=4096)]
    """The GroupContext of its epoch (RFC 9420 §8.1)."""
    conversation_id: Id16
    chain: tuple[Certificate, Certificate, Certificate]
    """The author's device, person and issuer."""
    position: Position | None = None
    """Where the relay's log has it; None: not known to who made the proof."""
    time: Time | None = None
    """When the relay took it, as the relay said: milliseconds since 1970."""

    def __repr__(self) -> str:
        return f"Proof(<{len(self.signed)} bytes>)"


class Forward(_Tagged, frozen=True, tag="forward"):
    """To the DUI's bot, which stands outside: one message, and what was done with it.

    `act` proves the Attach or Detach, where the record does not stand on the message itself.
    """

    proof: Proof
    act: Proof | None = None


class Receipt(_Tagged, frozen=True, tag="receipt"):
    """The bot's answer in the service conversation, signed as every MLS message is."""

    message_id: Id32
    record: RecordRef
    filed: bool
    number: Annotated[str, Meta(max_length=128)] = ""
    """The document's identifier in the DUI, when it was filed."""
    code: Annotated[str, Meta(max_length=64)] = ""
    """Why not, for programs, when it was refused."""
    text: Reason = ""
    """Why not, for people."""


class Filed(_Tagged, frozen=True, tag="filed"):
    """Posted into the conversation: the bot's receipt for a message, with the proof of the receipt."""

    message_id: Id32
    record: RecordRef
    receipt: Proof


Body = Post | Rename | Info | Attach | Detach | Objection | Forward | Receipt | Filed


class Message(_Value, frozen=True):
    """One message. What a version does not know it cannot read: it is put aside, not half shown."""

    salt: Id16
    """Random, so that equal messages have different ids and an id tells nothing of its content."""
    sent_at: Time
    """Milliseconds since 1970 by the sender's clock; for display only."""
    body: Body
    in_reply_to: Id32 | None = None
    record: RecordRef | None = None
    note_type: NoteType | None = None
    urgent: bool = False
    expires_at: Time | None = None
    replaces: Id32 | None = None
    revocations: RevocationHead | None = None
    log: LogHead | None = None
    tree: SignedHead | None = None
    """The newest head of the relay's audit log that the sender was shown, where it is another than the
    one that it carried last in this conversation."""

    @property
    def text(self) -> str:
        """The text parts of a Post, one below the other; empty for other bodies."""
        if not isinstance(self.body, Post):
            return ""
        return "\n".join(part.text for part in self.body.parts if isinstance(part, TextPart))

    @property
    def files(self) -> tuple[FilePart, ...]:
        """The file parts of a Post."""
        if not isinstance(self.body, Post):
            return ()
        return tuple(part for part in self.body.parts if isinstance(part, FilePart))
