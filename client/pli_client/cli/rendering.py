"""Replies as people read them. Every text passes the gate of `output`."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from ..i18n import _, ngettext
from .output import Styled, paragraph, say
from .professions import profession_shown
from .reasons import contradiction_told

Reply = Mapping[str, Any]

SHORT_ID: Final = 8
"""Characters of a message's or conversation's id as they are shown; more are accepted."""


def show(reply: Reply) -> None:
    """Print one reply of any kind."""
    _KINDS.get(reply.get("kind", ""), _other)(reply)


def short(identifier: str) -> str:
    return identifier[:SHORT_ID]


def clock(moment: str) -> str:
    """The hour of today, the date and hour of other days."""
    then = datetime.fromisoformat(moment).astimezone()
    today = then.date() == datetime.now().astimezone().date()
    return then.strftime("%H:%M" if today else "%d/%m/%Y %H:%M")


def _message(reply: Reply) -> None:
    sender = reply["sender"]
    head: list[str | Styled] = [
        Styled(f"#{short(reply['id'])}", dim=True),
        f"  {clock(reply['time'])}  ",
        Styled(sender["name"], bold=True),
    ]
    if sender.get("profession"):
        head.append(f", {profession_shown(sender['profession'])}")
    if sender.get("establishment"):
        head.append(Styled(f" ({sender['establishment']})", fg="magenta"))
    if reply.get("title"):
        head.append(f"  [{reply['title']}]")
    if reply.get("urgent"):
        head.append(Styled("  " + _("URGENT"), fg="red", bold=True))
    if reply.get("reply_to"):
        head.append("  " + _("in reply to #%(id)s") % {"id": short(reply["reply_to"])})
    if reply["state"] in _STATES:
        head.append(Styled("  " + _STATES[reply["state"]](), fg="yellow"))
    say(*head)
    if reply.get("text"):
        paragraph(reply["text"])
    for file in reply.get("files", ()):
        say("    ", _("file: %(name)s (%(size)s)") % {**file, "size": size(file["size"])})
    for record in reply.get("records", ()):
        say("    ", _record_line(record))


_STATES: Final[Mapping[str, Callable[[], str]]] = {
    "queued": lambda: _("waiting to be sent"),
    "failed": lambda: _("not sent"),
    "refused": lambda: _("refused: this device was revoked"),
}


def _record_line(record: Reply) -> str:
    where = _("record %(record)s") % {"record": _number(record["record"])}
    if record.get("note_type"):
        where += f" ({record['note_type']})"
    return (
        where
        + ": "
        + _FILINGS[record["state"]]()
        % {
            "number": record.get("number") or "",
            "by": record.get("by") or "",
            "reason": record.get("reason") or "",
        }
    )


_FILINGS: Final[Mapping[str, Callable[[], str]]] = {
    "attached": lambda: _("attached by %(by)s"),
    "waiting": lambda: _("attached by %(by)s, not yet filed"),
    "filed": lambda: _("attached by %(by)s, filed in the DUI as %(number)s"),
    "refused": lambda: _("attached by %(by)s, refused by the DUI: %(reason)s"),
    "detached": lambda: _("detached by %(by)s"),
}


def _event(reply: Reply) -> None:
    for text in _told(reply):
        say(Styled(f"           {clock(reply['time'])}  {text}", dim=True))


def _told(reply: Reply) -> Iterator[str]:
    """What happened, besides messages, in sentences."""
    words = {
        **reply,
        "id": short(reply.get("message") or ""),
        "record": _number(reply.get("record") or ""),
    }
    match reply["event"]:
        case "members":
            if reply.get("added"):
                words["what"] = ", ".join(reply["added"])
                yield _("%(by)s added %(what)s") % words
            if reply.get("removed"):
                words["what"] = ", ".join(reply["removed"])
                yield _("%(by)s removed %(what)s") % words
            if reply.get("returned"):
                words["what"] = ", ".join(reply["returned"])
                yield _("%(by)s let %(what)s back in") % words
            if reply.get("replaced"):
                yield (
                    _(
                        "your establishment gave %(by)s a new key; once you know that it is really them, "
                        "add them again (pli add)"
                    )
                    % words
                )
        case "rename":
            yield _("%(by)s renamed the conversation: %(title)s") % words
        case "attach":
            yield _("%(by)s attached #%(id)s to record %(record)s") % words
        case "detach":
            yield _("%(by)s detached #%(id)s from record %(record)s") % words
        case "objection":
            yield _("%(by)s objects to #%(id)s in record %(record)s") % words
        case "filed":
            yield _("the DUI's receipt for #%(id)s in record %(record)s") % words


def _conversation(reply: Reply) -> None:
    unread = reply["unread"]
    pieces: list[str | Styled] = [
        Styled(short(reply["id"]), dim=True),
        "  ",
        Styled(reply["title"], bold=True),
    ]
    if unread:
        count = ngettext("%(count)s unread", "%(count)s unread", unread) % {"count": unread}
        pieces += ["  ", Styled(count, fg="cyan")]
    if reply["state"] in _CONVERSATION_STATES:
        pieces.append(f"  ({_CONVERSATION_STATES[reply['state']]()})")
    say(*pieces)
    say("          ", ", ".join(map(_with_establishment, reply["members"])))


_CONVERSATION_STATES: Final[Mapping[str, Callable[[], str]]] = {
    "leaving": lambda: _("leaving"),
    "left": lambda: _("left"),
    "removed": lambda: _("you were removed"),
    "closed": lambda: _("closed"),
    "starting": lambda: _("being set up"),
    "failed": lambda: _("did not come about"),
}


def _with_establishment(person: Reply) -> str:
    """Who is from outside is never shown without it."""
    outside = person.get("establishment")
    return f"{person['name']} ({outside})" if outside else str(person["name"])


def _person(reply: Reply) -> None:
    say(
        Styled(reply["name"], bold=True),
        f", {profession_shown(reply['profession'])}" if reply["profession"] else "",
        f", RPPS {reply['rpps']}" if reply.get("rpps") else "",
        Styled(f" ({reply['establishment']})" if reply.get("establishment") else "", fg="magenta"),
        "  ",
        Styled(short(reply["account"]), dim=True),
        "  " + _("(you)") if reply.get("me") else "",
    )


def _partner(reply: Reply) -> None:
    last = datetime.fromisoformat(reply["until"]).astimezone() - timedelta(seconds=1)
    state = _("open") if reply["open"] else _("not open")
    say(
        Styled(reply["name"], bold=True),
        _(", until %(until)s") % {"until": f"{last:%d/%m/%Y}"},
        f" ({state})",
    )


def _number(record: str) -> str:
    """A record as people know it: its number, without the system that keeps it."""
    return record.partition("|")[2] or record


def _saved(reply: Reply) -> None:
    say(_("saved: %(path)s") % {"path": reply["path"]})


def _done(reply: Reply) -> None:
    say(reply["text"])


def _other(reply: Reply) -> None:
    say(str(reply.get("text", "")))


def size(count: int) -> str:
    """Bytes as people say them."""
    if count < 1024:
        return _("%(count)s bytes") % {"count": count}
    if count < 1024 * 1024:
        return _("%(count)s KB") % {"count": round(count / 1024)}
    return _("%(count)s MB") % {"count": round(count / 1024 / 1024, 1)}


def _audit(reply: Reply) -> None:
    say(_("Relay: %(relay)s") % reply)
    say(_("Its log's key: %(key)s") % {"key": reply["log_key"]})
    for head in reply["heads"]:
        _audit_head(head)
    for found in reply["contradictions"]:
        words = {"why": contradiction_told(found["reason"]), "when": clock(found["time"])}
        say(Styled(_("%(when)s: contradiction, %(why)s") % words, fg="red"))
        if found["by"]:
            say("    ", _("shown by a message of %(by)s") % found)
        for name in ("ours", "other"):
            if found[name]:
                say("    ", found[name]["code"])


def _audit_head(reply: Reply) -> None:
    words = {**reply, "when": clock(reply["time"])}
    say(_("Head %(code)s: %(size)s entries, signed %(when)s") % words)


def _audit_check(reply: Reply) -> None:
    if reply["agrees"]:
        say(_("The relay's log holds all that it held at head %(code)s.") % reply)


_KINDS: Final[Mapping[str, Callable[[Reply], None]]] = {
    "message": _message,
    "event": _event,
    "conversation": _conversation,
    "person": _person,
    "partner": _partner,
    "saved": _saved,
    "done": _done,
    "audit": _audit,
    "audit-head": _audit_head,
    "audit-check": _audit_check,
}
