"""Partners: what the authority signs of other establishments, and how that reaches the relay.

The authority's key is opened for the signature alone, by whoever has its sealed file and passphrase; the
issuer's vault keeps what was signed and brings it to the relay.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from pli_protocol.identity import (
    Authority,
    IdentityError,
    InvitationError,
    PartnerCode,
    PartnerStatement,
    verify_authority,
)
from pli_protocol.relay.frames import GetEstablishment, Partner

from ..connection import Connection
from ..errors import InvalidInput, Offline, RelayMisbehaved, RelayRefused
from ..i18n import _
from ..store.names import same_name
from ..vault import Database, Vault, transaction
from . import tables
from .errors import (
    BadPartnerCode,
    OtherAuthority,
    OwnPartnerCode,
    PartnerNotAtRelay,
    PartnerNotTaken,
    UnknownPartner,
)
from .service import Service
from .tables import IssuerKeys, PartnerRow

SIGNED = transaction("partner-signed")

PATIENCE: Final = 30.0
"""Seconds to wait for the relay."""

State = Literal["open", "waiting", "ended", "unsent", "refused", "unknown"]
"""open: both have signed. waiting: the partner has not (yet). ended: past its end. unsent: not at the
relay yet. refused: the relay did not take it. unknown: the relay cannot be asked."""


@dataclass(frozen=True, slots=True)
class Partnership:
    """A partner as the administrator sees it. `until` is in Unix seconds."""

    establishment: bytes
    name: str
    fingerprint: bytes
    until: int
    state: State


class Partnerships:
    """Those of one issuer's establishment."""

    def __init__(
        self,
        vault: Vault,
        keys: IssuerKeys,
        service: Service,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._vault, self._keys, self._service, self._clock = vault, keys, service, clock

    @property
    def now(self) -> int:
        """Unix seconds by this computer's clock."""
        return int(self._clock())

    def code(self) -> str:
        """One's own partner code, for the other administrator: nothing in it is secret."""
        return PartnerCode(self._service.keys.trust().own.fingerprint, self._keys.relay_url).text()

    async def look(self, code: str) -> Authority:
        """The authority that a code names, as the relay has it, checked by the code's fingerprint.

        Raises:
            BadPartnerCode, OwnPartnerCode. PartnerNotAtRelay: this relay does not have it. Offline.
        """
        try:
            wanted = PartnerCode.parse(code)
        except InvitationError as error:
            raise BadPartnerCode(error.cause) from None
        if wanted.establishment == self._keys.authority.establishment:
            raise OwnPartnerCode()
        try:
            found = await self._fetch(wanted.establishment)
        except RelayRefused:
            raise PartnerNotAtRelay(relay=wanted.relay) from None
        try:
            return verify_authority(found, fingerprint_start=wanted.fingerprint)
        except IdentityError:
            raise RelayMisbehaved("an establishment under another's fingerprint") from None

    async def _fetch(self, establishment: bytes) -> bytes:
        """Without signing in: who has signed in sees partners only."""
        keys = self._keys
        way = Connection(
            keys.relay_url,
            relay_name=keys.relay_name,
            ca=keys.ca,
            proxy=True if keys.proxy is None else keys.proxy,
        )
        async with way as relay:
            await relay.online(PATIENCE)
            return (await relay.request(GetEstablishment(0, establishment))).authority

    async def begin(self, partner: Authority, until: int, name: str = "") -> PartnerStatement:
        """What the authority is to sign, newer than everything signed of this partner before.

        Args:
            until: Unix seconds at which it ends.
            name: what people are shown; the partner's own name unless told otherwise.

        Raises:
            InvalidInput: the end lies in the past, or the name cannot be shown.
        """
        name = name.strip() or partner.name
        if until <= self._clock():
            raise InvalidInput(_("the end of a partnership lies in the future"))
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise InvalidInput(_("an establishment's name has 1 to 64 characters"))
        await self._level()
        now = await self._next_time(partner.establishment)
        own = self._keys.authority.establishment
        return PartnerStatement(own, name, partner.fingerprint, until, now)

    async def end(self, who: str) -> tuple[PartnerStatement, bytes]:
        """What the authority is to sign to end a partnership now, and the partner's certificate.

        Raises:
            UnknownPartner: no partner, or several, of this name (or id in hexadecimal).
        """
        await self._level()
        wanted = who.strip().lower()
        rows = await self._vault.read(tables.partners)
        found = [r for r in rows if wanted == r.establishment.hex()]
        found = found or [r for r in rows if same_name(r.name, who)]
        if len(found) != 1:
            raise UnknownPartner(who=who)
        row = found[0]
        now = await self._next_time(row.establishment)
        own = self._keys.authority.establishment
        until = min(now, self.now)
        return PartnerStatement(own, row.name, row.fingerprint, until, now), row.authority

    async def publish(self, signed: bytes, authority: bytes) -> Partnership:
        """Keep what the authority signed, then bring it to the relay.

        Raises:
            OtherAuthority: it is not this establishment's authority that signed.
            PartnerNotTaken: the relay refuses it. Offline: kept; `serve` brings it to the relay.
        """
        try:
            statement = self._service.keys.trust().verify_own(signed, PartnerStatement).statement
            partner = verify_authority(authority, fingerprint_start=statement.fingerprint)
        except IdentityError:
            raise OtherAuthority() from None
        row = _row(partner, statement, signed, published=0)
        await self._vault.write(lambda db: tables.keep_partner(db, row), name=SIGNED)
        async with self._service.online(PATIENCE) as relay:
            await self._service.publish_partners(relay)
        return next(p for p in await self.all() if p.establishment == partner.establishment)

    async def all(self) -> list[Partnership]:
        """Every partner, also those of before; by name."""
        held = await self._level()
        now = int(self._clock())
        rows = await self._vault.read(tables.partners)
        return [
            Partnership(
                row.establishment, row.name, row.fingerprint, row.until, _state(row, held, now)
            )
            for row in rows
        ]

    async def _level(self) -> dict[bytes, Partner] | None:
        """Tell the relay what it lacks, and learn what other administrators' vaults published.

        None: the relay is away.
        """
        try:
            async with self._service.online(PATIENCE) as relay:
                with suppress(PartnerNotTaken):  # the list says so
                    await self._service.publish_partners(relay)
                held = await self._service.held_partners(relay)
        except Offline:
            return None
        rows = [row for partner in held.values() if (row := self._checked(partner)) is not None]

        def step(db: Database) -> None:
            for row in rows:
                tables.keep_partner(db, row)

        await self._vault.write(step, name=SIGNED)
        return held

    def _checked(self, held: Partner) -> PartnerRow | None:
        try:
            trust = self._service.keys.trust()
            statement = trust.verify_own(held.statement, PartnerStatement).statement
            partner = verify_authority(held.authority, fingerprint_start=statement.fingerprint)
        except IdentityError:
            return None
        return _row(partner, statement, held.statement, published=1)

    async def _next_time(self, establishment: bytes) -> int:
        """Later than the last statement about it, so that the relay takes this one in its place."""
        rows = await self._vault.read(tables.partners)
        last = max((r.signed_at for r in rows if r.establishment == establishment), default=0)
        return max(int(self._clock()), last + 1)


def _row(
    partner: Authority, statement: PartnerStatement, signed: bytes, *, published: int
) -> PartnerRow:
    return PartnerRow(
        partner.establishment,
        statement.name,
        partner.fingerprint,
        partner.certificate,
        signed,
        statement.until,
        statement.time,
        published,
    )


def _state(row: PartnerRow, held: dict[bytes, Partner] | None, now: int) -> State:
    if row.published < 0:
        return "refused"
    if row.until <= now:
        return "ended"
    if row.published == 0:
        return "unsent"
    if held is None:
        return "unknown"
    there = held.get(row.establishment)
    return "open" if there is not None and there.open else "waiting"
