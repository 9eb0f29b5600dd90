"""Values of the SDK as replies: JSON objects with ids in hexadecimal and times in ISO 8601."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pli_protocol.content import Attach, Detach, Filed, Objection

from ..client import Client
from ..conversation import Conversation
from ..i18n import _
from ..message import Attachment, StoredMessage
from ..store.people import KnownPerson

Reply = dict[str, Any]


class Names:
    """Who is who, for replies."""

    def __init__(self, people: Sequence[KnownPerson]) -> None:
        self._people = {person.person_id: person for person in people}

    @classmethod
    async def of(cls, client: Client) -> "Names":
        return cls(await client.people())

    def __getitem__(self, person_id: bytes) -> str:
        person = self._people.get(person_id)
        return _("somebody unknown") if person is None else person.shown


def person_reply(person: KnownPerson) -> Reply:
    return {
        "name": person.name,
        "profession": person.profession,
        "account": person.account.hex(),
        "establishment": person.outside,
    }


async def conversation_reply(conversation: Conversation) -> Reply:
    members = await conversation.members()
    return {
        "kind": "conversation",
        "id": conversation.id.hex(),
        "title": conversation.title,
        "state": conversation.state,
        "unread": conversation.unread,
        "last_activity": _moment(conversation.last_activity),
        "members": [{**person_reply(m.person), "leaving": m.leaving} for m in members],
    }


def history_reply(message: StoredMessage, names: Names) -> Reply:
    if message.kind == "post":
        return message_reply(message, names)
    reply: Reply = {
        "kind": "event",
        "event": message.kind,
        "conversation": message.conversation_id.hex(),
        "time": _moment(message.time or message.sent_at),
        "by": names[message.sender_id],
    }
    change, body = message.change, message.content.body if message.content else None
    if change is not None:
        for what in ("added", "removed", "returned"):
            reply[what] = [names[person] for person in getattr(change, what)]
        if change.replaced:
            reply["replaced"] = [person.hex() for person in change.replaced]
    if isinstance(body, Attach | Detach | Objection | Filed):
        reply |= {"message": body.message_id.hex(), "record": str(body.record)}
    if isinstance(body, Detach | Objection):
        reply["reason"] = body.reason
    if message.kind == "rename":
        reply["title"] = message.text
    return reply


def message_reply(message: StoredMessage, names: Names, title: str = "") -> Reply:
    sender = message.sender
    reply: Reply = {
        "kind": "message",
        "id": message.message_id.hex(),
        "conversation": message.conversation_id.hex(),
        "sender": person_reply(sender) if sender else {"name": names[message.sender_id]},
        "own": message.own,
        "time": _moment(message.time or message.sent_at),
        "state": message.state,
        "unread": message.unread,
        "urgent": message.urgent,
        "reply_to": message.in_reply_to.hex() if message.in_reply_to else None,
        "text": message.text,
        "files": [
            {"name": part.name, "mime": part.mime, "size": part.size} for part in message.files
        ],
        "records": [_attachment_reply(attachment, names) for attachment in message.records],
    }
    return {**reply, "title": title} if title else reply


def _attachment_reply(attachment: Attachment, names: Names) -> Reply:
    if attachment.detached:
        state, by = "detached", attachment.detached_by or attachment.attached_by
    else:
        state, by = attachment.filing or "attached", attachment.attached_by
    return {
        "record": str(attachment.record),
        "note_type": attachment.note_type,
        "state": state,
        "by": names[by],
        "number": attachment.number,
        "reason": attachment.refusal,
    }


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
