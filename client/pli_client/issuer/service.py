"""The issuer at its relay: answering requests to be enrolled, publishing revocation lists."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from pli_protocol.identity import EnrolmentKey, IdentityError, Trust
from pli_protocol.identity.enrolment import enrolment_key_id
from pli_protocol.relay.frames import (
    AnswerEnrolment,
    EnrolmentWaiting,
    GetAuthorityChanges,
    GetEstablishment,
    GetPartners,
    GetRevocations,
    ListEnrolments,
    Partner,
    PendingEnrolment,
    PublishCertificate,
    PublishPartner,
    PublishRevocations,
)

from ..connection import Connection, ConnectionState, Disconnected, Online
from ..errors import RelayError, RelayMisbehaved, RelayRefused
from ..first_done import first_done
from ..payloads import as_payload, from_payload
from ..vault import Vault, transaction
from . import tables
from .answering import ANSWER, answer
from .errors import PartnerNotTaken
from .reports import Report, RevocationsPublished, ServiceOffline, ServiceOnline
from .revoking import REVOKE, adopt
from .succeeding import learn_people
from .tables import IssuerKeys

TOKEN = transaction("issuer-token")
LINEAGE = transaction("lineage")

RETRY: Final = 5.0
"""Seconds until the relay is asked again for what it refused."""

_ATTEMPTS: Final = 4
_MOST_PAGES: Final = 1024
"""What comes later than these is pushed."""


class Service:
    """One issuer's dealings with its relay; the caller makes the vault and closes it."""

    def __init__(
        self,
        vault: Vault,
        keys: IssuerKeys,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._vault, self.keys = vault, keys
        self._clock, self._random, self._pause = clock, random, pause
        self._others: frozenset[bytes] | None = None
        self._serving: Connection | None = None
        self._connecting = False
        self._turn = asyncio.Condition()
        self.revoked = asyncio.Event()
        """A newer list, or certificate, than the one published is in the vault."""

    async def serve(self, report: Callable[[Report], None] = lambda _: None) -> None:
        """Answer requests to be enrolled and publish revocations until cancelled.

        Returns only by raising: what a person must settle first (wrong relay, sign-in refused, a
        full disk…).
        """
        async with self._turn:
            await self._turn.wait_for(lambda: not self._connecting)
            self._connecting = True
        async with self._connected(report) as (relay, gone):
            self._serving = relay
            async with self._turn:
                self._turn.notify_all()
            while True:
                online = await relay.online()
                gone.clear()
                report(ServiceOnline(online.greeting.relay))
                while relay.state is online:
                    try:
                        await self._serve_online(relay, online, gone, report)
                    except RelayError:
                        # Refused or too slow for now: the relay has the requests still.
                        await first_done(gone.wait(), self._pause(RETRY))

    async def publish(self, timeout: float = 30.0) -> int:
        """Bring the newest revocation list to the relay, on a connection for that alone; its number.

        Raises:
            Offline: the relay is away; the list is kept and goes with the next connection.
        """
        async with self.online(timeout) as relay:
            await self._learn_lineage(relay)
            number = await self._publish(relay, await relay.online(timeout))
            await self._publish_certificates(relay)
            return number

    async def learn_lineage(self) -> None:
        """Which authorities followed the first one, as the relay shows it; checked by one's own.

        Raises:
            Offline. RelayMisbehaved: what it shows does not lead to, or from, this issuer's authority.
        """
        async with self.online() as relay:
            await self._learn_lineage(relay)

    async def _learn_lineage(self, relay: Connection) -> None:
        establishment = self.keys.authority.establishment
        changes = (await relay.request(GetAuthorityChanges(0, establishment))).changes
        if tuple(self.keys.lineage[1:]) == changes:
            return
        first = (await relay.request(GetEstablishment(0, establishment))).authority
        lineage = (first, *changes)
        try:
            trust = Trust(first, authority_changes=changes)
            trust.issuer((self.keys.certificate,))
        except IdentityError:
            raise RelayMisbehaved("authorities that are not this establishment's") from None
        known = self.keys.lineage
        if trust.own.establishment != establishment or lineage[: len(known)] != known:
            raise RelayMisbehaved("authorities of another establishment, or of before")
        await self._vault.write(lambda db: tables.write_lineage(db, lineage), name=LINEAGE)
        self.keys = replace(self.keys, lineage=lineage)

    @contextlib.asynccontextmanager
    async def online(self, timeout: float = 30.0) -> AsyncIterator[Connection]:
        """The connection that serves, or where none does one for this alone. Raises Offline."""
        serving = await self._its_turn()
        if serving is not None:
            await serving.online(timeout)
            yield serving
            return
        async with self._connected(lambda _: None) as (relay, _gone):
            await relay.online(timeout)
            self._serving = relay  # for what is asked meanwhile
            yield relay

    async def _its_turn(self) -> Connection | None:
        """The connection that serves; None: one may be made now. Two would replace each other."""
        async with self._turn:
            await self._turn.wait_for(lambda: self._serving is not None or not self._connecting)
            if self._serving is None:
                self._connecting = True
            return self._serving

    @contextlib.asynccontextmanager
    async def _connected(
        self, report: Callable[[Report], None]
    ) -> AsyncIterator[tuple[Connection, asyncio.Event]]:
        """A connection that answers requests, and the event that it was lost."""
        keys, gone, stopping = self.keys, asyncio.Event(), False

        async def pushed(push: object) -> None:
            if isinstance(push, EnrolmentWaiting):
                await self._answer(relay, push.enrolment, report)

        def changed(state: ConnectionState) -> None:
            if isinstance(state, Disconnected) and not stopping:
                gone.set()
                report(ServiceOffline(state.error, state.retry_in))

        relay = Connection(
            keys.relay_url,
            signer=_IssuerSigner(self._vault, keys),
            relay_name=keys.relay_name,
            ca=keys.ca,
            proxy=True if keys.proxy is None else keys.proxy,
            on_push=pushed,
            on_state=changed,
        )
        try:
            async with relay:
                try:
                    yield relay, gone
                finally:
                    stopping = True
        finally:
            self._serving, self._connecting = None, False
            async with self._turn:
                self._turn.notify_all()

    async def _serve_online(
        self,
        relay: Connection,
        online: Online,
        gone: asyncio.Event,
        report: Callable[[Report], None],
    ) -> None:
        # Revocations first: anybody can make requests, and no flood of them may hold a list back.
        answered = False
        while relay.state is online:
            self.revoked.clear()
            await self._learn_lineage(relay)
            number = await self._publish(relay, online)
            if number:
                report(RevocationsPublished(number))
            await self._publish_certificates(relay)
            with contextlib.suppress(PartnerNotTaken):  # seen in the list of partners
                await self.publish_partners(relay)
            if not answered:
                self._others = await self._other_keys(relay)
                await learn_people(self._vault, self.keys, relay)
                await self._answer_waiting(relay, report)
                answered = True
            await first_done(self.revoked.wait(), gone.wait())

    async def publish_partners(self, relay: Connection) -> None:
        """Bring the relay what the authority signed of partners and it does not hold.

        That is what is new, and after a relay was set back what it has lost.

        Raises:
            PartnerNotTaken: it refuses one; that one is not tried again. RelayError.
        """
        refusal = None
        held = await self.held_partners(relay)
        for row in await self._vault.read(tables.partners):
            there = held.get(row.establishment)
            if row.published < 0 or (there is not None and there.statement == row.statement):
                continue
            outcome = 1
            try:
                await relay.request(PublishPartner(0, row.statement, row.authority))
            except RelayRefused as refused:
                if refused.refusal == "try-later":
                    raise
                if row.published:  # another administrator's is newer
                    continue
                outcome, refusal = -1, PartnerNotTaken(name=row.name, refusal=refused.refusal)
            await self._vault.write(
                partial(tables.set_partner_published, statement=row.statement, outcome=outcome)
            )
        if refusal is not None:
            raise refusal

    async def held_partners(self, relay: Connection) -> dict[bytes, Partner]:
        """What the relay holds of one's own authority's statements, by partner."""
        held: dict[bytes, Partner] = {}
        after: bytes | None = None
        while True:
            page = await relay.request(GetPartners(0, after))
            held.update((partner.establishment, partner) for partner in page.partners)
            if page.after is None or page.after <= (after or b""):
                return held
            after = page.after

    async def _answer_waiting(self, relay: Connection, report: Callable[[Report], None]) -> None:
        """Answer all that waits; the relay lists a frame full at a time."""
        last: bytes | None = None
        for _page in range(_MOST_PAGES):
            waiting = (await relay.request(ListEnrolments(0, last))).waiting
            if not waiting:
                return
            for request in waiting:
                await self._answer(relay, request, report)
            last = waiting[-1].request_id

    async def _other_keys(self, relay: Connection) -> frozenset[bytes]:
        """The ids of the enrolment keys of the establishment's other issuers."""
        authority = self.keys.authority
        held = await relay.request(GetEstablishment(0, authority.establishment))
        keys = set()
        for signed in held.enrolment_keys:
            with contextlib.suppress(IdentityError):
                checked = self.keys.trust().verify_own(signed, EnrolmentKey)
                keys.add(enrolment_key_id(checked.statement.key))
        return frozenset(keys)

    async def _answer(
        self, relay: Connection, waiting: PendingEnrolment, report: Callable[[Report], None]
    ) -> None:
        now = int(self._clock())
        given = await self._vault.write(
            lambda db: answer(
                db,
                self.keys,
                waiting.request_id,
                waiting.sealed,
                now,
                self._random,
                others=self._others,
            ),
            name=ANSWER,
        )
        if given is None:
            return
        request = AnswerEnrolment(
            0, waiting.request_id, given.sealed, given.certificate, given.replacement
        )
        try:
            await relay.request(request)
        except RelayRefused as refused:
            # Answered already, or given up by the asker: not worth losing the connection for.
            if refused.refusal not in ("not-found", "conflict", "invalid", "used"):
                raise
        else:
            await self._vault.write(lambda db: tables.set_delivered(db, waiting.request_id))
        if given.report is not None:
            report(given.report)

    async def _publish(self, relay: Connection, online: Online) -> int:
        """Level the relay's revocation list and ours; the number that both have."""
        held = online.signed_in.revocations if online.signed_in is not None else 0
        for _attempt in range(_ATTEMPTS):
            known = await self._vault.read(tables.newest_list)
            if held > (0 if known is None else known[0]):
                number, signed = await self._adopt(relay)
            elif known is None:
                return 0
            else:
                number, signed = known
            try:
                statement = await as_payload(relay, signed, self._random)
                await relay.request(PublishRevocations(0, statement))
            except RelayRefused as refused:
                if refused.refusal != "conflict":
                    raise
                if await self._held(relay) != signed:
                    held = number + 1  # somebody else was first: go on from theirs
                    continue
            await self._vault.write(partial(tables.set_published, number=number))
            return number
        raise RelayMisbehaved("another revocation list each time")

    async def _publish_certificates(self, relay: Connection) -> None:
        """Newer certificates of people; one of an account that the relay does not have is given up."""
        for certificate in await self._vault.read(tables.unpublished_certificates):
            try:
                await relay.request(PublishCertificate(0, certificate))
            except RelayRefused as refused:
                if refused.refusal not in ("not-found", "invalid"):
                    raise
            await self._vault.write(
                lambda db, c=certificate: tables.set_certificate_published(db, c)  # type: ignore[misc]
            )

    async def _adopt(self, relay: Connection) -> tuple[int, bytes]:
        held = await self._held(relay)
        if held is None:
            raise RelayMisbehaved("a revocation list that it does not have")
        now = int(self._clock())
        try:
            return await self._vault.write(lambda db: adopt(db, self.keys, held, now), name=REVOKE)
        except IdentityError:
            raise RelayMisbehaved("a revocation list that does not check") from None

    async def _held(self, relay: Connection) -> bytes | None:
        held = (await relay.request(GetRevocations(0, self.keys.authority.establishment))).statement
        return None if held is None else await from_payload(relay, held)


class _IssuerSigner:
    """Signs in with the issuer's key; the token lies in the issuer's vault."""

    def __init__(self, vault: Vault, keys: IssuerKeys) -> None:
        self._vault, self.keys = vault, keys

    @property
    def chain(self) -> Sequence[bytes]:
        return (self.keys.certificate,)

    def sign(self, data: bytes) -> bytes:
        return self.keys.key.sign(data)

    async def token(self) -> bytes | None:
        return await self._vault.read(tables.read_token)

    async def store_token(self, token: bytes) -> None:
        await self._vault.write(lambda db: tables.write_token(db, token), name=TOKEN)
