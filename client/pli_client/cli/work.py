"""The work behind the commands: a request in, replies (JSON objects) out, on an open client."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pli_protocol.display_text import displayable

from ..client import Client
from ..conversation import Conversation, SentMessage
from ..engine.errors import (
    NotSettled,
    SendFailed,
    TooLate,
    UnknownConversation,
    UnknownMessage,
)
from ..errors import (
    EXIT_RELAY,
    FileUnwritable,
    InvalidInput,
    Offline,
    PliError,
    RelayError,
    system_reason,
)
from ..handover import Request
from ..i18n import _
from ..message import StoredMessage
from ..store import device, records
from . import account_work, audit_work
from .authority import perform_trust
from .replies import Names, conversation_reply, history_reply, message_reply, person_reply

Reply = dict[str, Any]
Arguments = dict[str, Any]
Replies = AsyncIterator[Reply]

_SHORTEST_ID: Final = 4
_PROGRESS: Final = 0.5
"""Seconds between two looks at how far a file is."""
_LEAST_WAIT: Final = 0.5
"""Seconds for what is here already, when the wait is used up."""


async def perform(client: Client, request: Request) -> Replies:
    """Carry out a request.

    Raises:
        PliError: what the person who asked should know; replies given before stand.
    """
    if request.command in account_work.FACTORS:
        yield await account_work.FACTORS[request.command](client.account, request.args)
        return
    work = _WORK.get(request.command)
    if work is None:
        raise InvalidInput(
            _("this Pli does not know the command %(name)s") % {"name": request.command}
        )
    args = dict(request.args)
    args["until"] = asyncio.get_running_loop().time() + float(args.get("wait") or 0)
    async for reply in work(client, args):
        yield reply


# --- reading ----------------------------------------------------------------------------------


async def _conversations(client: Client, args: Arguments) -> Replies:
    async for notice in _up_to_date(client, args):
        yield notice
    for conversation in await client.conversations():
        yield await conversation_reply(conversation)


async def _read(client: Client, args: Arguments) -> Replies:
    async for notice in _up_to_date(client, args):
        yield notice
    conversation = await _conversation(client, args)
    names = await Names.of(client)
    limit = int(args["limit"])
    if limit:
        shown = await conversation.page(limit=limit)
    else:
        shown = [message async for message in conversation.messages()][::-1]
    for message in shown:
        yield history_reply(message, names)
    await conversation.mark_read()


async def _inbox(client: Client, args: Arguments) -> Replies:
    async for notice in _up_to_date(client, args):
        yield notice
    titles = {c.id: c.title for c in await client.conversations()}
    names = await Names.of(client)
    for message in await client.unread():
        yield message_reply(message, names, titles.get(message.conversation_id, ""))


async def _search(client: Client, args: Arguments) -> Replies:
    titles = {c.id: c.title for c in await client.conversations()}
    names = await Names.of(client)
    for message in await client.search(args["words"], limit=int(args["limit"])):
        yield message_reply(message, names, titles.get(message.conversation_id, ""))


async def _people(client: Client, args: Arguments) -> Replies:
    notices = [notice async for notice in _up_to_date(client, args)]
    partner = args.get("establishment")
    refresh = not notices and bool(args["wait"])
    for person in await client.people(refresh=refresh, establishment=partner):
        if not person.revoked and (partner or person.outside is None):
            yield {
                "kind": "person",
                "name": person.name,
                "profession": person.profession,
                "rpps": person.rpps,
                "account": person.account.hex(),
                "establishment": person.outside,
                "bot": person.kind == "bot",
                "me": person.person_id == client.person.person_id,
            }
    for notice in notices:
        yield notice


async def _partners(client: Client, args: Arguments) -> Replies:
    notices = [notice async for notice in _up_to_date(client, args)]
    for partner in await client.partners(refresh=not notices and bool(args["wait"])):
        if partner.counts:
            yield {
                "kind": "partner",
                "name": partner.name,
                "establishment": partner.establishment.hex(),
                "until": datetime.fromtimestamp(partner.ends_at / 1000, UTC).isoformat(),
                "open": partner.open,
            }
    for notice in notices:
        yield notice


async def _record(client: Client, args: Arguments) -> Replies:
    async for notice in _up_to_date(client, args):
        yield notice
    titles = {c.id: c.title for c in await client.conversations()}
    names = await Names.of(client)
    shown: set[bytes] = set()
    for message, _attachment in await client.record(await _reference(client, args)):
        if message.message_id not in shown:
            shown.add(message.message_id)
            yield message_reply(message, names, titles.get(message.conversation_id, ""))


async def _save(client: Client, args: Arguments) -> Replies:
    message = await _message(client, args["message"], args)
    if not message.files:
        raise InvalidInput(_("this message has no file"))
    folder = Path(args["folder"])
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    except OSError as error:
        raise FileUnwritable(name=folder, reason=system_reason(error)) from None
    await _try_online(client, args)
    for part in message.files:
        reached = (0, 0)

        def told(done: int, total: int) -> None:
            nonlocal reached
            reached = done, total

        async def look() -> tuple[int, int]:
            return reached  # noqa: B023

        fetching = asyncio.ensure_future(client.fetch(part, folder, progress=told))
        async for reply in _progress(fetching, part.name, look):
            yield reply
        path = await fetching
        yield {"kind": "saved", "name": part.name, "path": str(path), "size": part.size}


# --- writing ----------------------------------------------------------------------------------


async def _send(client: Client, args: Arguments) -> Replies:
    conversation = await _conversation(client, args)
    reply_to = await _message(client, args["reply_to"], args) if args["reply_to"] else None
    record = await _reference(client, args) if args["record"] else None
    sent = await conversation.send(
        args["text"],
        record=record,
        note_type=args["note_type"],
        urgent=bool(args["urgent"]),
        files=[Path(file) for file in args["files"]],
        reply_to=reply_to,
    )
    async for reply in _sent(client, sent, args):
        yield reply


async def _cancel(client: Client, args: Arguments) -> Replies:
    """Nothing is waited for: what is to be taken back is here, or it is too late."""
    message = await _message(client, args["message"], args)
    sent = SentMessage(client, message.conversation_id, message.message_id)
    if not message.own or not await sent.cancel():
        raise TooLate()
    taken_back = await client.message(message.message_id)
    yield message_reply(taken_back or message, await Names.of(client))


async def _attach(client: Client, args: Arguments) -> Replies:
    message = await _message(client, args["message"], args)
    record = await _reference(client, args)
    sent = await client.attach(message, record, args["note_type"])
    async for reply in _acted(client, sent, message, args):
        yield reply


async def _detach(client: Client, args: Arguments) -> Replies:
    message = await _message(client, args["message"], args)
    record = await _reference(client, args, message)
    sent = await client.detach(message, record, args["reason"])
    act = await client.message(sent.message_id)
    if act is not None and act.kind == "objection":
        yield _notice(
            _(
                "Only its author and who attached it may detach it; your objection was noted instead."
            )
        )
    async for reply in _acted(client, sent, message, args):
        yield reply


async def _new(client: Client, args: Arguments) -> Replies:
    await _try_online(client, args)
    conversation = await client.start(args["title"], args["people"])
    notices = [notice async for notice in _up_to_date(client, args)]
    await conversation.refresh()
    reply = await conversation_reply(conversation)
    if not reply["members"]:
        found = [await client.find_person(person) for person in args["people"]]
        reply["members"] = [person_reply(person) for person in found]
    yield reply
    for notice in notices:
        yield notice


async def _add(client: Client, args: Arguments) -> Replies:
    async for reply in _changed(client, args, "add"):
        yield reply


async def _remove(client: Client, args: Arguments) -> Replies:
    async for reply in _changed(client, args, "remove"):
        yield reply


async def _changed(client: Client, args: Arguments, kind: str) -> Replies:
    await _try_online(client, args)
    conversation = await _conversation(client, args)
    change = conversation.add if kind == "add" else conversation.remove
    try:
        await change(args["person"], timeout=_left(args))
    except NotSettled as error:
        yield _kept(client, error)
    else:  # a newcomer learns the title from a message that follows the change
        async for notice in _up_to_date(client, args):
            yield notice
    yield await conversation_reply(await conversation.refresh())


async def _leave(client: Client, args: Arguments) -> Replies:
    await _try_online(client, args)
    conversation = await _conversation(client, args)
    try:
        await conversation.leave(timeout=_left(args))
    except NotSettled as error:
        yield _kept(client, error)
    yield await conversation_reply(await conversation.refresh())


async def _rename(client: Client, args: Arguments) -> Replies:
    conversation = await _conversation(client, args)
    sent = await conversation.rename(args["title"])
    notice = await _wait_for(client, sent, args)
    yield await conversation_reply(await conversation.refresh())
    if notice is not None:
        yield notice


async def _audit_status(client: Client, args: Arguments) -> Replies:
    async for notice in _up_to_date(client, args):
        yield notice
    async for reply in audit_work.status(client, args):
        yield reply


async def _audit_head(client: Client, args: Arguments) -> Replies:
    async for notice in _up_to_date(client, args):
        yield notice
    async for reply in audit_work.head(client, args):
        yield reply


async def _audit_check(client: Client, args: Arguments) -> Replies:
    await _try_online(client, args)
    async for reply in audit_work.check(client, args):
        yield reply


_WORK: Final[dict[str, Callable[[Client, Arguments], Replies]]] = {
    "conversations": _conversations,
    "read": _read,
    "inbox": _inbox,
    "search": _search,
    "people": _people,
    "partners": _partners,
    "record": _record,
    "save": _save,
    "send": _send,
    "cancel": _cancel,
    "attach": _attach,
    "detach": _detach,
    "new": _new,
    "add": _add,
    "remove": _remove,
    "leave": _leave,
    "rename": _rename,
    "trust": perform_trust,
    **account_work.WORK,
    "audit-status": _audit_status,
    "audit-head": _audit_head,
    "audit-check": _audit_check,
}


# --- the relay --------------------------------------------------------------------------------


def _left(args: Arguments) -> float:
    """Seconds that a command may still wait: all its waits together are the one it was given."""
    if not args["wait"]:
        return 0.0
    return max(_LEAST_WAIT, float(args["until"]) - asyncio.get_running_loop().time())


async def _up_to_date(client: Client, args: Arguments) -> Replies:
    """Receive and send everything first; a notice where that is not possible."""
    if not args["wait"]:
        return
    try:
        await client.settled(_left(args))
    except (RelayError, NotSettled) as error:
        yield _notice(
            _cause(client, error) + " " + _("What is shown is what this computer has already."),
            error.exit_code if isinstance(error, RelayError) else EXIT_RELAY,
        )
    if (warning := await audit_work.warning(client)) is not None:
        yield warning


async def _try_online(client: Client, args: Arguments) -> None:
    if args["wait"]:
        try:
            await client.online(_left(args))
        except Offline:
            return  # what needs the relay says so itself; the rest is kept


async def _wait_for(client: Client, sent: SentMessage, args: Arguments) -> Reply | None:
    """Wait until the relay has a message; a notice where it is kept for later."""
    if not args["wait"]:
        return None
    try:
        await client.online(_left(args))
        await sent.stored(_left(args))
        await client.settled(_left(args))
    except SendFailed:
        raise
    except (RelayError, NotSettled) as error:
        return _kept(client, error)
    return None


async def _progress(
    work: "asyncio.Future[Any]", name: str, look: Callable[[], Awaitable[tuple[int, int]]]
) -> Replies:
    """How far a file is, now and then, until the work is done; a command that ends ends it too."""
    shown = (0, 0)
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=_PROGRESS)
            reached = await look()
            if reached != shown and reached[1]:
                shown = reached
                yield {"kind": "progress", "name": name, "done": shown[0], "total": shown[1]}
    finally:
        work.cancel()


async def _sent(client: Client, sent: SentMessage, args: Arguments) -> Replies:
    waiting = asyncio.ensure_future(_wait_for(client, sent, args))
    async for reply in _progress(waiting, "", sent.uploaded):
        yield reply
    notice = await waiting
    message = await client.message(sent.message_id)
    if message is None:
        raise UnknownMessage()
    yield message_reply(message, await Names.of(client))
    if notice is not None:
        yield notice


async def _acted(
    client: Client, sent: SentMessage, message: StoredMessage, args: Arguments
) -> Replies:
    """After an attach or detach: the message that it is about, as it stands now."""
    notice = await _wait_for(client, sent, args)
    now = await client.message(message.message_id)
    yield message_reply(now or message, await Names.of(client))
    if notice is not None:
        yield notice


def _kept(client: Client, error: PliError) -> Reply:
    code = error.exit_code if isinstance(error, RelayError) else EXIT_RELAY
    if code == EXIT_RELAY:
        fate = _("It is kept here and is sent when the relay is back.")
    else:  # the relay was reached and refuses this device: nothing will go by itself
        fate = _("It is kept here and was not sent.")
    return _notice(_cause(client, error) + " " + fate, code)


def _cause(client: Client, error: PliError) -> str:
    state = client.state
    reason = getattr(state, "error", None)
    if isinstance(error, NotSettled) and isinstance(reason, PliError):
        return reason.cause
    return error.cause


def _notice(text: str, exit_code: int = 0) -> Reply:
    return {"kind": "notice", "text": text, "exit_code": exit_code}


# --- what people type -------------------------------------------------------------------------


async def _conversation(client: Client, args: Arguments) -> Conversation:
    """By title, by the beginning of a title (accents and case do not matter), by id."""
    which = str(args["conversation"])
    found = await _find_conversation(client, which)
    # One that is over may have begun again, when somebody added this person back.
    known = found is not None and found.state in ("starting", "active")
    if not known and await _receive(client, args):
        found = await _find_conversation(client, which)
    if found is None:
        raise UnknownConversation()
    return found


async def _find_conversation(client: Client, which: str) -> Conversation | None:
    try:
        return await client.conversation(which)
    except UnknownConversation:
        begun = [
            found
            for found in await client.conversations()
            if which.strip() and _plain(found.title).startswith(_plain(which))
        ]
        return begun[0] if len(begun) == 1 else None


async def _message(client: Client, which: str, args: Arguments) -> StoredMessage:
    wanted = which.strip().lstrip("#")
    found = await _find_message(client, wanted)
    if found is None and await _receive(client, args):
        found = await _find_message(client, wanted)
    if found is None:
        raise UnknownMessage()
    return found


async def _find_message(client: Client, wanted: str) -> StoredMessage | None:
    found = await client.message(wanted) if len(wanted) >= _SHORTEST_ID else None
    return found if found is not None and found.kind == "post" else None


async def _receive(client: Client, args: Arguments) -> bool:
    """Look whether the relay has what is not known here; whether it could be asked."""
    return not [notice async for notice in _up_to_date(client, args)] and bool(args.get("wait"))


async def _reference(client: Client, args: Arguments, on: StoredMessage | None = None) -> str:
    """A record; a number alone is of the system where it is known, else of the one used last.

    With a message `on`, first of the system under which that message bears it.
    """
    # As it will come back: what the vault holds of a record was made safe to show.
    record = displayable(str(args["record"]), one_line=True)
    system, bar, _identifier = record.partition("|")
    if not bar:
        number = record.strip()
        borne = [a.record for a in (on.records if on else ()) if a.record.id == number]
        if borne:
            return str(borne[-1])
        known = await client.vault.read(lambda db: records.system_of(db, number))
        if known is None and await _receive(client, args):
            known = await client.vault.read(lambda db: records.system_of(db, number))
        return str(client.record_ref(f"{known}|{record}" if known else record))
    reference = client.record_ref(record)
    if system.strip() != client.record_system:
        client.record_system = system.strip()
        await client.vault.write(
            lambda db: device.write_meta(db, "record-system", client.record_system.encode())
        )
    return str(reference)


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFD", text.strip().casefold())
    return "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")
