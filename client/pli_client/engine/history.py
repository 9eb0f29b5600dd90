"""What a message does to the vault: history, title, records. The same for own and others' messages."""

import hashlib
from dataclasses import dataclass

import msgspec

from pli_protocol.content import (
    Attach,
    Detach,
    Filed,
    FilePart,
    Forward,
    Info,
    Message,
    Objection,
    Post,
    Receipt,
    Rename,
)
from pli_protocol.identity import Device
from pli_protocol.relay.frames import Position

from ..store import conversations, groups, messages, people
from . import records
from .work import Work

KINDS: dict[type, str] = {
    Post: "post",
    Rename: "rename",
    Info: "info",
    Attach: "attach",
    Detach: "detach",
    Objection: "objection",
    Filed: "filed",
    Forward: "forward",
    Receipt: "receipt",
}
"""Content class to the kind of its history row."""

SHOWN = ("post", "rename", "attach", "detach", "objection", "filed", "members")
"""Kinds that a person sees in a conversation."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the relay's log has a message."""

    group: groups.GroupRow
    position: Position
    epoch: int
    time: int
    signed: bytes


@dataclass(frozen=True, slots=True)
class Said:
    """A message and who said it."""

    conversation_id: bytes
    message_id: bytes
    message: Message
    content: bytes
    device: Device
    own: bool

    @property
    def person_id(self) -> bytes:
        return self.device.person.person_id


def note(work: Work, said: Said, state: str) -> None:
    """Add a message to the history, without a place in the log yet."""
    message, now = said.message, work.now
    post = isinstance(message.body, Post)
    messages.add(
        work.db,
        message_id=said.message_id,
        conversation_id=said.conversation_id,
        sender=said.person_id,
        device_id=said.device.device_id,
        kind=KINDS[type(message.body)],
        content=said.content,
        text=_searchable(message),
        sent_at=message.sent_at,
        state=state,
        in_reply_to=message.in_reply_to,
        urgent=message.urgent,
        expires_at=message.expires_at,
        read_at=None if post and not said.own else now,
    )
    if KINDS[type(message.body)] in SHOWN:
        conversations.touch(work.db, said.conversation_id, now, int(post and not said.own))


def place(work: Work, said: Said, where: Place, state: str) -> None:
    """Note where the log has it. The earliest place stays: on a restored relay a message may come twice."""
    held = messages.read(work.db, said.message_id)
    if held is not None and held.timeline is not None and held.seq is not None:
        before = (held.generation, held.timeline, held.seq)
        if before < (where.group.generation, where.position.timeline, where.position.seq):
            return messages.set_state(work.db, said.message_id, state)
    messages.place(
        work.db,
        said.message_id,
        generation=where.group.generation,
        group_id=where.group.group_id,
        timeline=where.position.timeline,
        seq=where.position.seq,
        epoch=where.epoch,
        time=where.time,
        signed=where.signed,
        state=state,
    )


def apply(work: Work, said: Said, at: int) -> None:
    """What the message changes besides standing in the history. May be done twice.

    Args:
        at: the relay's time, or this computer's for an own message that waits.
    """
    match said.message.body:
        case Post():
            _files(work, said)
            records.written(work, said, at)
        case Rename(title):
            _rename(work, said, title)
        case Info(title, kind):
            _inform(work, said, title, kind)
        case Attach() | Detach() | Objection() | Forward() | Receipt() | Filed():
            records.acted(work, said, at)


def members_changed(
    work: Work,
    where: Place,
    by: Device,
    added: list[bytes],
    removed: list[bytes],
    returned: list[bytes],
) -> None:
    """A change of members stands in the history like a message, with who and when."""
    if not (added or removed or returned):
        return
    group = where.group
    if not _with_a_bot(work, group.conversation_id):
        _show(work, group.conversation_id)
    content = msgspec.msgpack.encode({"added": added, "removed": removed, "returned": returned})
    tag = msgspec.msgpack.encode(
        (group.group_id, where.position.timeline, where.position.seq, where.epoch)
    )
    message_id = hashlib.sha256(b"pli members v1" + tag).digest()
    if messages.exists(work.db, message_id):
        return
    messages.add(
        work.db,
        message_id=message_id,
        conversation_id=group.conversation_id,
        sender=by.person.person_id,
        device_id=by.device_id,
        kind="members",
        content=content,
        text="",
        sent_at=where.time,
        state="received",
        read_at=work.now,
    )
    messages.place(
        work.db,
        message_id,
        generation=group.generation,
        group_id=group.group_id,
        timeline=where.position.timeline,
        seq=where.position.seq,
        epoch=where.epoch,
        time=where.time,
        signed=where.signed,
    )
    conversations.touch(work.db, group.conversation_id, work.now)
    work.event(
        group.conversation_id,
        "members",
        by=by.person.person_id,
        added=added,
        removed=removed,
        returned=returned,
        time=where.time,
    )


def person_replaced(work: Work, conversation_id: bytes, person_id: bytes, successor: bytes) -> None:
    """That a member's key was replaced stands in the history, behind what came before."""
    group = groups.current(work.db, conversation_id)
    if group is None:
        return
    content = msgspec.msgpack.encode({"replaced": [person_id, successor]})
    tag = msgspec.msgpack.encode((conversation_id, person_id, successor))
    message_id = hashlib.sha256(b"pli replaced v1" + tag).digest()
    if messages.exists(work.db, message_id):
        return
    messages.add(
        work.db,
        message_id=message_id,
        conversation_id=conversation_id,
        sender=person_id,
        device_id=work.own.device_id,
        kind="members",
        content=content,
        text="",
        sent_at=work.now,
        state="received",
        read_at=work.now,
    )
    messages.place(
        work.db,
        message_id,
        generation=group.generation,
        group_id=group.group_id,
        timeline=group.timeline,
        seq=max(group.next_seq - 1, 0),
        epoch=group.epoch,
        time=work.now,
        signed=b"",
    )
    conversations.touch(work.db, conversation_id, work.now)
    work.event(conversation_id, "replaced", person=person_id, successor=successor)


def _searchable(message: Message) -> str:
    names = [part.name for part in message.files]
    return "\n".join(filter(None, [message.text, *names]))


def _files(work: Work, said: Said) -> None:
    if said.own or not isinstance(said.message.body, Post):
        return
    for index, part in enumerate(said.message.body.parts):
        if isinstance(part, FilePart):
            messages.add_file(
                work.db,
                part,
                said.message_id,
                index,
                work.now,
                sealed_file=None,
                sealed_size=part.blob_size,
                state="remote",
            )


def _rename(work: Work, said: Said, title: str) -> None:
    before = conversations.read(work.db, said.conversation_id)
    if before is None or before.title == title:
        return
    conversations.set_title(work.db, said.conversation_id, title)
    work.event(said.conversation_id, "renamed", title=title, by=said.person_id)


def _inform(work: Work, said: Said, title: str, kind: str) -> None:
    """Only for newcomers: who knows the title does not take another one from an Info."""
    known = conversations.read(work.db, said.conversation_id)
    if said.own or known is None or known.title or known.kind == "service":
        return
    if kind == "service" and _with_a_bot(work, said.conversation_id):
        conversations.set_kind(work.db, said.conversation_id, "service")
    elif title:
        conversations.set_title(work.db, said.conversation_id, title)
        work.event(said.conversation_id, "titled", title=title, by=said.person_id)


def _with_a_bot(work: Work, conversation_id: bytes) -> bool:
    """Whether it is between one person and one bot: nothing else may be left out of the list."""
    group = groups.current(work.db, conversation_id)
    rows = [] if group is None else groups.members(work.db, group.group_id)
    persons = {row.person_id for row in rows}
    known = [people.read_person(work.db, person_id) for person_id in persons]
    return len(persons) <= 2 and any(p is not None and p.kind == "bot" for p in known)


def _show(work: Work, conversation_id: bytes) -> None:
    known = conversations.read(work.db, conversation_id)
    if known is not None and known.kind == "service":
        conversations.set_kind(work.db, conversation_id, "team")
