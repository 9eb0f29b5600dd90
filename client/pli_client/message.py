"""A message of the history as a program sees it: a value, read from the vault at one moment."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from pli_protocol.content import (
    FilePart,
    Message,
    NoteType,
    Post,
    Proof,
    RecordRef,
    Rename,
    decode,
)

from .store import messages, people, records
from .store.people import KnownPerson
from .vault import Database


@dataclass(frozen=True, slots=True)
class Attachment:
    """A message's place in a record."""

    record: RecordRef
    note_type: NoteType | None
    attached_by: bytes
    attached_at: int
    act: bytes
    """Id of the message that attached it: its own where it was written so."""
    detached_by: bytes | None
    detached_at: int | None
    filing: str | None
    """None (no DUI was told), waiting, filed, refused."""
    number: str = ""
    """The document's number in the DUI, when filed."""
    refusal: str = ""
    """Why the DUI refused."""

    @property
    def detached(self) -> bool:
        return self.detached_at is not None


@dataclass(frozen=True, slots=True)
class MembersChange:
    """What a row of kind `members` says; persons by id."""

    added: tuple[bytes, ...] = ()
    removed: tuple[bytes, ...] = ()
    returned: tuple[bytes, ...] = ()
    replaced: tuple[bytes, ...] = ()
    """(the member of before, who follows under another key): the latter is no member by that."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message, or another thing that happened in a conversation.

    `kind`: post, rename, attach, detach, objection, filed, members, and not shown to people info,
    forward, receipt. `state`: queued, stored (own), received, failed, refused.
    """

    message_id: bytes
    conversation_id: bytes
    sender: KnownPerson | None
    sender_id: bytes
    own: bool
    kind: str
    state: str
    sent_at: int
    time: int | None
    in_reply_to: bytes | None
    urgent: bool
    unread: bool
    content: Message | None = field(repr=False)
    """None for kind `members`."""
    change: MembersChange | None
    records: tuple[Attachment, ...]
    data: bytes = field(repr=False)
    """The signed bytes."""
    place: messages.Place

    @property
    def id(self) -> bytes:
        return self.message_id

    @property
    def text(self) -> str:
        """What was written; the new title of a rename; empty for other kinds."""
        if self.content is None:
            return ""
        if isinstance(self.content.body, Rename):
            return self.content.body.title
        return self.content.text

    @property
    def files(self) -> tuple[FilePart, ...]:
        if self.content is None or not isinstance(self.content.body, Post):
            return ()
        return self.content.files


def read_message(db: Database, message_id: bytes, own: bytes) -> StoredMessage | None:
    """The message as the vault has it; `own` is this person's id."""
    row = messages.read(db, message_id)
    return None if row is None else of_row(db, row, own)


def of_row(db: Database, row: messages.MessageRow, own: bytes) -> StoredMessage:
    """The value for a row of the history."""
    change, content = None, None
    if row.kind == "members":
        body: dict[str, Any] = msgspec.msgpack.decode(row.content)
        change = MembersChange(**{what: tuple(persons) for what, persons in body.items()})
    else:
        content = decode(row.content)
    return StoredMessage(
        row.message_id,
        row.conversation_id,
        people.read_person(db, row.sender),
        row.sender,
        row.sender == own,
        row.kind,
        row.state,
        row.sent_at,
        row.time,
        row.in_reply_to,
        row.urgent,
        row.read_at is None,
        content,
        change,
        tuple(map(_attachment, records.of_message(db, row.message_id))),
        row.content,
        messages.place_of(row),
    )


def _attachment(row: records.AttachmentRow) -> Attachment:
    number = refusal = ""
    if row.receipt is not None and row.filing == "filed":
        number, _ = msgspec.msgpack.decode(row.receipt, type=tuple[str, Proof])
    elif row.receipt is not None:
        code, text = msgspec.msgpack.decode(row.receipt, type=tuple[str, str])
        refusal = text or code
    note_type: Any = row.note_type
    return Attachment(
        row.record,
        note_type,
        row.attached_by,
        row.attached_at,
        row.attach_message,
        row.detached_by,
        row.detached_at,
        row.filing,
        number,
        refusal,
    )
