"""Which establishments see each other: those whose authorities have both signed it, by the relay's clock.

Every question is asked of the database each time, so an end counts at once, on every node.
"""

from collections.abc import Collection
from itertools import permutations
from typing import Final

import sqlalchemy as sa

from ..errors import Refusal
from . import tables as t

AT_ONCE: Final = 500
"""Values in one statement."""


def partners_of(db: sa.Connection, establishment: bytes, now: int) -> list[bytes]:
    """The establishments that see this one, and that it sees, at `now` (milliseconds)."""
    return list(db.scalars(_OPEN, {"establishment": establishment, "now": now}))


def concerned(db: sa.Connection, establishment: bytes, now: int) -> list[bytes]:
    """Whom a new statement of this one concerns: whom it has signed, ended or not, and who trust it now.

    Whoever has signed nothing, or has ended it, learns nothing.
    """
    return list(db.scalars(_CONCERNED, {"establishment": establishment, "now": now}))


def sees(db: sa.Connection, viewer: bytes, other: bytes, now: int) -> bool:
    """Whether people of `viewer` may know that `other` exists: it is their own, or a partner."""
    return viewer == other or other in partners_of(db, viewer, now)


def may_see(db: sa.Connection, viewer: bytes, other: bytes, now: int) -> None:
    """Raises Refusal "not-found" unless `viewer` sees `other`; the same whether it exists or not."""
    if not sees(db, viewer, other, now):
        raise Refusal("not-found")


def all_partners(db: sa.Connection, establishments: Collection[bytes], now: int) -> bool:
    """Whether each of these is a partner of every other one."""
    if len(establishments) < 2:
        return True
    signed = {
        (row.establishment, row.partner)
        for row in db.execute(
            sa.select(t.partners.c.establishment, t.partners.c.partner).where(
                t.partners.c.establishment.in_(establishments), t.partners.c.until > now
            )
        )
    }
    return set(permutations(establishments, 2)) <= signed


def establishments_of(db: sa.Connection, accounts: Collection[int]) -> set[bytes]:
    """The establishments of accounts, by their numbers here."""
    numbers, found = sorted(accounts), set[bytes]()
    for start in range(0, len(numbers), AT_ONCE):
        part = t.accounts.c.no.in_(numbers[start : start + AT_ONCE])
        found.update(db.scalars(sa.select(t.accounts.c.establishment).where(part).distinct()))
    return found


_BACK = t.partners.alias("back")
_CONCERNED = (
    sa.select(t.partners.c.partner)
    .join(
        _BACK,
        sa.and_(
            _BACK.c.establishment == t.partners.c.partner,
            _BACK.c.partner == t.partners.c.establishment,
        ),
    )
    .where(
        t.partners.c.establishment == sa.bindparam("establishment"),
        _BACK.c.until > sa.bindparam("now"),
    )
    .order_by(t.partners.c.partner)
)
_OPEN = _CONCERNED.where(t.partners.c.until > sa.bindparam("now"))
