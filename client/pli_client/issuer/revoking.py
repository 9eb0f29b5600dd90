"""Revocation lists: numbered, hash-chained, each holding all entries of the one before it.

Of two entries about the same the later counts. One follows another only where it wipes vaults and the
one before did not: a first choice is corrected so, and a wiped vault does not come back.
"""

from collections.abc import Iterable

from pli_protocol.identity import (
    IdentityError,
    Issuer,
    RevocationEntry,
    RevocationList,
    list_hash,
    sign,
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

    What is revoked already is revoked again only to wipe its vaults; with nothing new the list stays
    the same.

    Args:
        now: Unix seconds.
    """
    return add(db, keys, [RevocationEntry(*what, reason, now) for what in revoked], now)


def add(
    db: Database, keys: IssuerKeys, entries: Iterable[RevocationEntry], now: int
) -> tuple[int, bytes]:
    """As `revoke`, each entry with a reason of its own."""
    known = tables.newest_list(db)
    new = _lacking(() if known is None else _entries(keys, known[1]), entries)
    if known is not None and not new:
        return known
    return _next(db, keys, new, now)


def adopt(db: Database, keys: IssuerKeys, held: bytes, now: int) -> tuple[int, bytes]:
    """Go on from the list that the relay holds; (number, signed list) of ours afterwards.

    It is another issuer's, or was lost here with an old copy of the vault. What it lacks of our
    entries is listed anew in the list after it; so is all of it where its issuer's authority was stolen,
    since nobody takes it any more.

    Raises:
        IdentityError: it does not check, or we revoked its issuer.
    """
    trust = keys.trust()
    checked = trust.verify_own(held, RevocationList)
    known = tables.newest_list(db)
    ours = () if known is None else _entries(keys, known[1])
    counts = True
    if isinstance(checked.signer, Issuer):
        counts = trust.refuses(checked.signer) is None
        signer = ("issuer", checked.signer.issuer_id)
        if signer in {(entry.kind, entry.id) for entry in ours}:
            raise IdentityError("revoked", "the list's issuer was revoked")
    tables.replace_lists(db, checked.statement.number, held, now * 1000)
    missing = _lacking(checked.statement.entries, ours)
    if counts and not missing:
        return checked.statement.number, held
    return _next(db, keys, missing, now)


def reason_for(db: Database, keys: IssuerKeys, kind: RevokedKind, identifier: bytes) -> Reason:
    """Why the newest list revokes this. Raises KeyError: it does not."""
    known = tables.newest_list(db)
    entries = () if known is None else _entries(keys, known[1])
    return {(entry.kind, entry.id): entry.reason for entry in entries}[kind, identifier]


def _lacking(
    listed: Iterable[RevocationEntry], entries: Iterable[RevocationEntry]
) -> tuple[RevocationEntry, ...]:
    """Those of the entries that say more than what is listed."""
    wiped = {(entry.kind, entry.id): entry.wipes for entry in listed}
    new = []
    for entry in entries:
        before = wiped.get((entry.kind, entry.id))
        if before is None or (entry.wipes and not before):
            wiped[entry.kind, entry.id] = entry.wipes
            new.append(entry)
    return tuple(new)


def _next(
    db: Database, keys: IssuerKeys, new: tuple[RevocationEntry, ...], now: int
) -> tuple[int, bytes]:
    known = tables.newest_list(db)
    number, previous, entries = 1, bytes(32), new
    if known is not None:
        number, previous = known[0] + 1, list_hash(known[1])
        entries = _entries(keys, known[1]) + new
    statement = RevocationList(keys.authority.establishment, number, previous, entries, now)
    signed = sign(statement, keys.key, (keys.certificate,))
    tables.keep_list(db, number, signed, now * 1000)
    return number, signed


def _entries(keys: IssuerKeys, signed: bytes) -> tuple[RevocationEntry, ...]:
    return keys.trust().verify_own(signed, RevocationList).statement.entries
