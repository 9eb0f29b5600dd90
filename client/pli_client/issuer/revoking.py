"""Revocation lists: numbered, hash-chained, each holding all entries of the one before it."""

from collections.abc import Iterable

from pli_protocol.identity import (
    RevocationEntry,
    RevocationList,
    list_hash,
    sign,
    verify_statement,
)
from pli_protocol.identity.statements import Reason, RevokedKind

from ..vault import Database, transaction
from . import tables
from .tables import IssuerKeys

REVOKE = transaction("revoke")


def revoke(
    db: Database,
    keys: IssuerKeys,
    revoked: Iterable[tuple[RevokedKind, bytes]],
    reason: Reason,
    now: int,
) -> tuple[int, bytes]:
    """Sign the next list with these entries besides those of the last; (number, signed list).

    What is revoked already is not revoked again; with nothing new the list stays the same.

    Args:
        now: Unix seconds.
    """
    known = tables.newest_list(db)
    number, previous, entries = _continued(keys, known)
    listed = {(entry.kind, entry.id) for entry in entries}
    new = tuple(RevocationEntry(*what, reason, now) for what in revoked if what not in listed)
    if known is not None and not new:
        return known
    statement = RevocationList(keys.authority.establishment, number, previous, entries + new, now)
    signed = sign(statement, keys.key, (keys.certificate,))
    tables.keep_list(db, number, signed, False, now * 1000)
    return number, signed


def adopt(db: Database, keys: IssuerKeys, signed: bytes, now: int) -> int:
    """Take over a newer list that the relay holds (another issuer's, or lost with an old backup).

    Returns its number. Raises IdentityError when it does not check or lacks an entry of ours.
    """
    checked = verify_statement(signed, RevocationList, keys.authority.certificate)
    known = tables.newest_list(db)
    if known is None or checked.statement.number > known[0]:
        tables.keep_list(db, checked.statement.number, signed, True, now * 1000)
    return checked.statement.number


def _continued(
    keys: IssuerKeys, known: tuple[int, bytes] | None
) -> tuple[int, bytes, tuple[RevocationEntry, ...]]:
    if known is None:
        return 1, bytes(32), ()
    number, signed = known
    checked = verify_statement(signed, RevocationList, keys.authority.certificate)
    return number + 1, list_hash(signed), checked.statement.entries
