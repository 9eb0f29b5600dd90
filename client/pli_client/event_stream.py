"""From the vault's event rows to the SDK's events; and the stream of them."""

from collections.abc import Callable
from typing import Any

from pli_protocol.content import RecordRef

from . import events as e
from .message import StoredMessage, read_message
from .store.events import Body
from .vault import Database

Make = Callable[["Reading"], "e.Event | None"]


class Reading:
    """One row of the events and the vault it stands in."""

    def __init__(
        self, db: Database, number: int, conversation: bytes | None, body: Body, own: bytes
    ) -> None:
        self._db, self._own = db, own
        self.number = number
        self.conversation = conversation or bytes(16)
        self._body = body

    def __getitem__(self, name: str) -> Any:
        return self._body.get(name)

    def ids(self, name: str) -> tuple[bytes, ...]:
        return tuple(self._body.get(name) or ())  # type: ignore[arg-type]

    @property
    def record(self) -> RecordRef:
        return RecordRef(self["system"], self["record"])

    @property
    def message(self) -> StoredMessage | None:
        return read_message(self._db, self["message_id"], self._own)


def _with_message(
    kind: "type[e.MessageReceived] | type[e.RecordForwarded]",
) -> Make:
    def make(r: Reading) -> e.Event | None:
        message = r.message
        return None if message is None else kind(r.number, r.conversation, message)

    return make


_MAKERS: dict[str, Make] = {
    "forwarded": _with_message(e.RecordForwarded),
    "stored": lambda r: e.MessageSent(r.number, r.conversation, r["message_id"]),
    "failed": lambda r: e.MessageFailed(r.number, r.conversation, r["message_id"], r["reason"]),
    "refused": lambda r: e.MessageRefused(r.number, r.conversation, r["by"], r["reason"]),
    "joined": lambda r: e.ConversationJoined(r.number, r.conversation, r["by"]),
    "renamed": lambda r: e.ConversationRenamed(r.number, r.conversation, r["title"], r["by"]),
    "titled": lambda r: e.ConversationRenamed(r.number, r.conversation, r["title"], r["by"]),
    "members": lambda r: e.MemberChanged(
        r.number,
        r.conversation,
        r["by"],
        r.ids("added"),
        r.ids("removed"),
        r.ids("returned"),
        r["time"],
    ),
    "replaced": lambda r: e.PersonReplaced(r.number, r.conversation, r["person"], r["successor"]),
    "leaving": lambda r: e.MemberLeaving(r.number, r.conversation, r["person"]),
    "left": lambda r: e.ConversationLeft(r.number, r.conversation),
    "add-failed": lambda r: e.ChangeRefused(
        r.number, r.conversation, r["reason"] or "no-device", r.ids("accounts")
    ),
    "change-failed": lambda r: e.ChangeRefused(r.number, r.conversation, r["reason"]),
    "attached": lambda r: e.RecordAttached(
        r.number, r.conversation, r["message_id"], r.record, r["note_type"], r["by"], r["act"]
    ),
    "detached": lambda r: e.RecordDetached(
        r.number, r.conversation, r["message_id"], r.record, r["by"], r["act"], r["reason"]
    ),
    "objected": lambda r: e.RecordObjected(
        r.number, r.conversation, r["message_id"], r.record, r["by"], r["reason"]
    ),
    "filed": lambda r: e.Filed(
        r.number, r.conversation, r["message_id"], r.record, r["number"], r["by"]
    ),
    "filing-refused": lambda r: e.FilingRefused(
        r.number, r.conversation, r["message_id"], r.record, r["code"], r["text"]
    ),
    "gap": lambda r: e.HistoryGap(r.number, r.conversation, r["rows"], r["reason"]),
    "trouble": lambda r: e.CannotGoOn(
        r.number, r.conversation, r["state"], r["reason"], r["culprit"]
    ),
    "refounded": lambda r: e.ConversationRefounded(
        r.number, r.conversation, r["by"], r.ids("left_out"), r["culprit"]
    ),
    "stopped": lambda r: e.ConversationStopped(r.number, r.conversation, r["reason"]),
    "forked": lambda r: e.RelayContradicted(r.number, r.conversation, r["by"], r["seq"]),
    "welcome-refused": lambda r: e.WelcomeRefused(r.number, r["reason"]),
    "revocations": lambda r: e.RevocationsChanged(r.number, r["number"]),
    "partner": lambda r: e.PartnerChanged(
        r.number, r["establishment"], r["name"], r["counts"], r["until"]
    ),
    "partner-refused": lambda r: e.PartnerRefused(r.number, r["reason"]),
    "revocations-behind": lambda r: e.RevocationsHidden(r.number, "behind"),
    "authority-change": lambda r: e.AuthorityChanged(r.number, r["number"], r["compromised"]),
    "device-revoked": lambda r: e.DeviceRevoked(r.number, r["person"], r["device"], r["reason"]),
    "log-contradicted": lambda r: e.LogContradicted(r.number, r["reason"], r["by"]),
    "log-anew": lambda r: e.LogBegunAnew(r.number, r["timeline"], r["before"], r["size"]),
    "revocations-refused": lambda r: e.RevocationsHidden(r.number, r["reason"]),
}


def event_of(
    db: Database, number: int, conversation: bytes | None, kind: str, body: Body, own: bytes
) -> e.Event | None:
    """The event of a row; None for what is not told, or whose message is gone."""
    reading = Reading(db, number, conversation, body, own)
    if kind == "message":
        message = reading.message
        if message is None or message.kind != "post":
            return None
        return e.MessageReceived(number, reading.conversation, message)
    maker = _MAKERS.get(kind)
    return None if maker is None else maker(reading)
