"""Partner establishments, as one's own authority signed them: asked for, checked, kept.

The relay's list only routes. What counts is the statement that one's own authority signed, and the
newest of them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pli_protocol.identity import IdentityError, StatementError, verify_authority
from pli_protocol.relay.frames import GetPartners, Partner

from ..errors import RelayError
from ..store import partners
from ..vault import transaction
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

PARTNERS: Final = transaction("partners")

_ANY: Final = 2**53
"""Above the number of any statement: which is the newest is not known."""


class Partners:
    """One engine's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = asyncio.Lock()
        self.open: frozenset[bytes] = frozenset()
        """Establishments that the relay lets one ask for, as it said last: both have signed."""
        self.asked = False

    async def keep_fresh(self) -> None:
        """After the relay said that something changed; at the next sign-in where that fails."""
        with suppress(RelayError):
            await self.refresh()

    async def refresh(self) -> None:
        """Ask for all statements of one's own establishment, and for lists that are newer.

        Raises RelayError.
        """
        engine = self._engine
        async with self._lock:
            listed = await self._listed()
            if listed:
                await engine.write(lambda work: _take(work, listed), name=PARTNERS)
            self.asked = True
            self.open = frozenset(partner.establishment for partner in listed if partner.open)
        trust, housekeeping = engine.around.trust, engine.housekeeping
        for partner in listed:
            establishment, number = partner.establishment, partner.revocations
            if not partner.open or establishment not in trust.partners:
                continue
            if number > trust.head(establishment).number:
                await housekeeping.fetch_revocations(establishment, number)
            await housekeeping.fetch_statements(establishment, _ANY)

    async def _listed(self) -> list[Partner]:
        listed: list[Partner] = []
        after: bytes | None = None
        while True:
            page = await self._engine.connection.request(GetPartners(0, after))
            listed += page.partners
            if page.after is None or page.after <= (after or b""):
                return listed
            after = page.after


def _take(work: Work, listed: list[Partner]) -> None:
    news = False
    for partner in listed:
        try:
            statement = work.trust.accept_partner(partner.statement, partner.authority)
            authority = verify_authority(partner.authority)
        except StatementError as error:
            if error.rule != "older":
                work.event(None, "partner-refused", reason=error.rule)
            continue
        except IdentityError as error:
            work.event(None, "partner-refused", reason=error.rule)
            continue
        if partners.remember(work.db, authority, statement, partner.statement):
            news = True
            counts = work.trust.vouches(authority.establishment, work.now_s)
            work.event(
                None,
                "partner",
                establishment=authority.establishment,
                name=statement.name,
                counts=counts,
                until=statement.until * 1000,
            )
    if news:
        work.wake_all()
