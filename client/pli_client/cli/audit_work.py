"""The work behind `pli audit`, and the warning that other commands give."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

from pli_protocol.transparency import HeadFile, SignedHead, head_code

from ..audit_log import AuditLog
from ..client import Client
from ..errors import EXIT_FAILED, InvalidInput
from ..i18n import _
from ..store import device, people
from ..store.log_heads import Contradiction
from ..vault import Database
from .reasons import contradiction_told

Reply = dict[str, Any]
Arguments = dict[str, Any]

_WARNED: Final = "log-warned"


async def status(client: Client, args: Arguments) -> AsyncIterator[Reply]:
    """What is kept of the log."""
    log = await _known(client)
    yield {
        "kind": "audit",
        "relay": log.relay,
        "log_key": log.log_key.hex(),
        "heads": [_head(signed) for signed in log.heads],
        "contradictions": [await _contradiction(client, one) for one in log.contradictions],
    }
    if log.contradictions:
        yield {"kind": "notice", "text": _warning(log), "exit_code": EXIT_FAILED}


async def head(client: Client, args: Arguments) -> AsyncIterator[Reply]:
    """The newest proven head, as a file and as a code."""
    newest = (await _known(client)).newest
    yield {"kind": "audit-head", **_head(newest.signed), "file": newest.encode()}


async def check(client: Client, args: Arguments) -> AsyncIterator[Reply]:
    """A head from outside, compared; exit code 1 where it contradicts."""
    try:
        given = HeadFile.decode(str(args["file"]))
    except ValueError:
        raise InvalidInput(_("this is no head of an audit log; ask for the file again")) from None
    reason = await client.check_head(given)
    yield {"kind": "audit-check", **_head(given.signed), "agrees": reason is None, "reason": reason}
    if reason is not None:
        text = _("The relay's audit log contradicts this head: %(why)s. The evidence is kept.")
        yield {
            "kind": "notice",
            "text": text % {"why": contradiction_told(reason)},
            "exit_code": EXIT_FAILED,
        }


async def warning(client: Client) -> Reply | None:
    """Once for each new contradiction: a notice for whoever works with this vault."""
    log = await client.audit_log()
    if log is None or not log.contradictions:
        return None
    newest = log.contradictions[-1].number.to_bytes(8, "big")

    def first(db: Database) -> bool:
        if device.read_meta(db, _WARNED) == newest:
            return False
        device.write_meta(db, _WARNED, newest)
        return True

    if not await client.vault.write(first):
        return None
    return {"kind": "notice", "text": _warning(log), "exit_code": 0}


def _warning(log: AuditLog) -> str:
    text = _(
        "Warning: the relay's audit log is not what it committed to (%(why)s). Messages go on. "
        "Tell your establishment's administrator; the evidence is shown by: pli audit status"
    )
    return text % {"why": contradiction_told(log.contradictions[-1].reason)}


async def _known(client: Client) -> AuditLog:
    log = await client.audit_log()
    if log is None:
        raise InvalidInput(_("this vault was never signed in, and knows no log yet"))
    return log


def _head(signed: SignedHead) -> Reply:
    shown = signed.head
    return {
        "timeline": shown.timeline,
        "size": shown.size,
        "root": shown.root.hex(),
        "code": head_code(shown),
        "time": _moment(shown.time),
    }


async def _contradiction(client: Client, one: Contradiction) -> Reply:
    by = one.by
    person = None
    if by:
        person = await client.vault.read(lambda db: people.read_person(db, by))
    return {
        "reason": one.reason,
        "time": _moment(one.time),
        "by": None if person is None else person.name,
        "ours": None if one.ours is None else _signed(one.ours),
        "other": _signed(one.other),
    }


def _signed(signed: SignedHead) -> Reply:
    return {**_head(signed), "signature": signed.signature.hex()}


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="seconds")
