"""Revocation lists and statements beside them: fetched, checked by one's own trust, kept, acted upon."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from pli_protocol.identity import (
    DeviceRevocation,
    IdentityError,
    Replacement,
    decode_change,
    statement_type,
)
from pli_protocol.relay.frames import GetStatements, Statements

from ..store import groups, people
from ..store.device import (
    accept_authority_change,
    add_authority_change,
    add_device_revocation,
    add_replacement,
    add_revocations,
    read_meta,
    write_meta,
)
from ..vault import Database, transaction
from . import history
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

STATEMENTS: Final = transaction("statements")

_CURSOR: Final = "statements"
_MOST_PAGES: Final = 1000


# --- the list ---------------------------------------------------------------------------------


def take_list(work: Work, establishment: bytes, data: bytes | None, number: int) -> None:
    """The newest list as the relay gave it, and the number of the newest that is heard of."""
    if data is not None:
        try:
            newest = work.trust.accept_revocations(data)
        except IdentityError as error:
            work.event(None, "revocations-refused", reason=error.rule)
            return
        head = work.trust.head(newest.establishment)
        add_revocations(work.db, newest.establishment, newest.number, head.hash, data)
        for entry in newest.entries:
            if entry.kind == "person":
                people.mark_revoked(work.db, newest.establishment, entry.id, work.now)
        if any(entry.kind == "issuer" for entry in newest.entries):
            _mark_signed_by_revoked(work)
        work.event(None, "revocations", number=newest.number)
        work.wake_all()
    if number > work.trust.head(establishment).number:
        work.event(None, "revocations-behind", number=number)


def _mark_signed_by_revoked(work: Work) -> None:
    for person_id, certificate, issuer in people.counting_chains(work.db):
        with suppress(IdentityError):
            person = work.trust.person((certificate, issuer))
            if work.trust.refuses(person) is not None:
                people.mark_revoked(work.db, person.establishment, person_id, work.now)


# --- beside the list --------------------------------------------------------------------------


async def fetch(engine: Engine, timeline: int, establishment: bytes, newest: int) -> None:
    """Take what was stated since this vault asked last; a relay that was set back is asked anew.

    Args:
        establishment: one's own or a partner's.
        newest: the number of the newest statement that the relay has.
    """
    partner = None if establishment == engine.own.address.establishment else establishment
    cursor = _CURSOR if partner is None else f"{_CURSOR}-{partner.hex()}"
    for _page in range(_MOST_PAGES):
        after = await engine.read(lambda db: _read_cursor(db, cursor, timeline))
        if after >= newest:
            return
        page = await engine.connection.request(GetStatements(0, after, partner))
        await engine.write(
            lambda work, p=page: _take_page(work, p, cursor, timeline),  # type: ignore[misc]
            name=STATEMENTS,
        )
        if not page.more or not page.statements:
            return


def _take_page(work: Work, page: Statements, cursor: str, timeline: int) -> None:
    newest = _read_cursor(work.db, cursor, timeline)
    for numbered in page.statements:
        take_statement(work, numbered.statement)
        newest = max(newest, numbered.number)
    write_meta(work.db, cursor, msgspec.msgpack.encode((timeline, newest)))


def _read_cursor(db: Database, cursor: str, timeline: int) -> int:
    data = read_meta(db, cursor)
    if data is None:
        return 0
    seen, number = msgspec.msgpack.decode(data, type=tuple[int, int])
    return number if seen == timeline else 0


def take_statement(work: Work, data: bytes) -> bool:
    """Keep one statement and act on it; what does not check, or is known, changes nothing."""
    try:
        if _is_authority_change(data):
            return _take_authority_change(work, data)
        kind = statement_type(data)
        if kind == DeviceRevocation.TYPE:
            return _take_device_revocation(work, data)
        if kind == Replacement.TYPE:
            return _take_replacement(work, data)
    except IdentityError as error:
        if error.rule not in ("older", "revoked"):
            work.event(None, "revocations-refused", reason=error.rule)
    return False


def _is_authority_change(data: bytes) -> bool:
    try:
        return bool(decode_change(data))
    except IdentityError:
        return False


def _take_authority_change(work: Work, data: bytes) -> bool:
    """Kept and shown; nothing under the new authority counts before the person has said so."""
    change, _authority = work.trust.read_authority_change(data)
    if not add_authority_change(work.db, change.number, data, work.now):
        return False
    work.event(None, "authority-change", number=change.number, compromised=change.compromised)
    return True


def accept_authority(work: Work, number: int, data: bytes) -> None:
    """The person trusts the authority that follows; what was stated under it is asked for anew."""
    work.trust.accept_authority_change(data)
    accept_authority_change(work.db, number, work.now)
    work.db.execute("DELETE FROM meta WHERE key = ?", (_CURSOR,))
    work.event(None, "authority-trusted", number=number)
    work.wake_all()


def _take_device_revocation(work: Work, data: bytes) -> bool:
    statement = work.trust.accept_device_revocation(data)
    new = add_device_revocation(work.db, statement.device_id, statement.person_id, data, work.now)
    if new:
        work.event(
            None,
            "device-revoked",
            person=statement.person_id,
            device=statement.device_id,
            reason=statement.reason,
        )
        work.wake_all()
    return new


def _take_replacement(work: Work, data: bytes) -> bool:
    """Whom one knew under the key of before counts no more; who follows is added by members only.

    Nobody is added here, and no verification goes over to the new key: an administrator who replaces
    somebody's key gains a name in the directory, and every member is told.
    """
    new = work.trust.read_replacement(data)
    before = people.read_person(work.db, new.replaced)
    if before is not None and before.address != (new.establishment, new.account):
        raise IdentityError("binding", "the statement names another account of this person")
    if not add_replacement(work.db, new.replaced, new.successor, new.account, data, work.now):
        return False
    work.trust.accept_replacement(data)
    people.mark_revoked(work.db, new.establishment, new.replaced, work.now)
    people.mark_verified(work.db, new.replaced, None)
    for conversation_id in groups.shared_with(work.db, new.replaced):
        history.person_replaced(work, conversation_id, new.replaced, new.successor)
    work.event(None, "replaced", person=new.replaced, successor=new.successor)
    work.wake_all()
    return True
