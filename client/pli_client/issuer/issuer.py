"""What an administrator's vault can do: invite, answer requests, revoke, and serve until stopped."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

from pli_protocol.display_text import displayable
from pli_protocol.identity import IdentityError, Invitation
from pli_protocol.identity.certificates import MAX_FIELD, RPPS_DIGITS, Kind
from pli_protocol.identity.statements import Reason, RevokedKind
from pli_protocol.relay.frames import (
    AnswerEnrolment,
    EnrolmentWaiting,
    GetRevocations,
    ListEnrolments,
    PendingEnrolment,
    PublishRevocations,
)
from pli_protocol.secret import Secret

from ..connection import Connection, ConnectionState, Disconnected, Online
from ..errors import InvalidInput, RelayError, RelayMisbehaved, RelayRefused
from ..i18n import _
from ..payloads import as_payload, from_payload
from ..vault import Database, Vault, transaction
from . import tables
from .answering import ANSWER, answer
from .errors import NotAnIssuer, UnknownAccount
from .reports import Report, RevocationsPublished, ServiceOffline, ServiceOnline
from .revoking import REVOKE, adopt, revoke
from .tables import AccountRow, InvitationRow, Invited, IssuerKeys

INVITE = transaction("invite")
TOKEN = transaction("issuer-token")

RETRY: Final = 5.0
"""Seconds until the relay is asked again for what it refused."""

_ATTEMPTS: Final = 4

INVITATION_DAYS: Final = 7
"""Days that an invitation is good for, unless told otherwise."""

REASONS: Final[tuple[Reason, ...]] = ("lost", "retired", "stolen", "left")


class Issuer:
    """An open administrator's vault. Close the vault to close it."""

    def __init__(
        self,
        vault: Vault,
        keys: IssuerKeys,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._vault, self._keys = vault, keys
        self._clock, self._random, self._pause = clock, random, pause
        self._revoked = asyncio.Event()

    @classmethod
    async def open(
        cls,
        folder: Path,
        passphrase: Secret,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Open the vault of `establish`.

        Raises:
            NotAnIssuer: a professional's vault, or a founding that was cut short.
            VaultError, WrongPassphrase…
        """
        vault = await Vault.open(folder, passphrase)
        try:
            keys = await vault.read(tables.read_issuer)
            if keys is None or not keys.registered:
                raise NotAnIssuer(folder=folder)
            return cls(vault, keys, clock=clock, random=random)
        except BaseException:
            await vault.close()
            raise

    async def close(self) -> None:
        """Close the vault."""
        await self._vault.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    @property
    def vault(self) -> Vault:
        return self._vault

    @property
    def name(self) -> str:
        """The establishment's name."""
        return self._keys.authority.name

    @property
    def establishment(self) -> bytes:
        return self._keys.authority.establishment

    @property
    def authority(self) -> bytes:
        """The authority's certificate (DER)."""
        return self._keys.authority.certificate

    @property
    def relay_url(self) -> str:
        return self._keys.relay_url

    # --- inviting -----------------------------------------------------------------------------

    async def invite(
        self,
        *,
        name: str,
        profession: str,
        rpps: str | None = None,
        kind: Kind = "person",
        days: float = INVITATION_DAYS,
        account_ends_at: int | None = None,
    ) -> Invited:
        """Make an invitation. Its code is returned and kept nowhere.

        Args:
            days: How long the code is good for.
            account_ends_at: Milliseconds since 1970; None: the account has no end date.

        Raises:
            InvalidInput: a field that no certificate can carry.
        """
        name, profession = _field(name), _field(profession)
        rpps = _rpps(rpps)
        now = self._clock()
        if not 0 < days <= 365:
            raise InvalidInput(_("an invitation is good for one day to 365 days"))
        if account_ends_at is not None and account_ends_at <= now * 1000:
            raise InvalidInput(_("the account's end lies in the past"))
        secret = Secret(self._random(16))
        row = InvitationRow(
            self._random(16),
            tables.secret_hash(secret),
            self._random(16),
            name,
            profession,
            rpps,
            kind,
            account_ends_at,
            int((now + days * 86400) * 1000),
            None,
        )
        await self._vault.write(
            lambda db: tables.insert_invitation(db, row, int(now * 1000)), name=INVITE
        )
        invitation = Invitation(secret, self.establishment, self._keys.relay_url)
        return Invited(invitation, row.id, row.account, row.expires_at)

    async def invitations(self) -> list[InvitationRow]:
        """Those that nobody used yet, newest first."""
        return await self._vault.read(tables.open_invitations)

    async def withdraw(self, invitation: bytes) -> bool:
        """Make an unused invitation worthless; whether there was one of this id."""
        return await self._vault.write(lambda db: tables.withdraw_invitation(db, invitation))

    async def people(self) -> list[AccountRow]:
        """Everybody who was signed."""
        return await self._vault.read(tables.accounts)

    # --- revoking -----------------------------------------------------------------------------

    async def find(self, who: str) -> AccountRow:
        """The account of a name, or of an account's or a person's id in hexadecimal.

        Raises:
            UnknownAccount: nobody, or several people, are called so.
        """
        wanted = " ".join(who.split()).casefold()
        people = await self.people()
        found = [row for row in people if wanted in (row.account.hex(), row.person_id.hex())]
        found = found or [row for row in people if row.name.casefold() == wanted]
        found = [row for row in found if row.revoked_at is None] or found
        if len(found) != 1:
            raise UnknownAccount(who=displayable(who, one_line=True))
        return found[0]

    async def revoke(self, account: bytes, reason: Reason) -> int:
        """Revoke a person with all their devices; the number of the list that says so.

        The list is signed and durable when this returns; `serve` or `publish` brings it to the relay.

        Raises:
            UnknownAccount: no such account.
        """
        row = await self._vault.read(lambda db: tables.account(db, account))
        if row is None:
            raise UnknownAccount(who=account.hex())
        return await self._revoke([("person", row.person_id)], reason, account)

    async def revoke_device(self, device_id: bytes, reason: Reason) -> int:
        """Revoke one device; the number of the list that says so."""
        return await self._revoke([("device", device_id)], reason, None)

    async def _revoke(
        self, what: Sequence[tuple[RevokedKind, bytes]], reason: Reason, account: bytes | None
    ) -> int:
        if reason not in REASONS:
            raise InvalidInput(_("a reason is one of: lost, retired, stolen, left"))
        now = int(self._clock())

        def work(db: Database) -> int:
            number, _signed = revoke(db, self._keys, what, reason, now)
            if account is not None:
                tables.set_revoked(db, account, reason, now * 1000)
            return number

        number = await self._vault.write(work, name=REVOKE)
        self._revoked.set()
        return number

    # --- the relay ----------------------------------------------------------------------------

    async def serve(self, report: Callable[[Report], None] = lambda _: None) -> None:
        """Answer requests to be enrolled and publish revocations until cancelled.

        Returns only by raising: what a person must settle first (wrong relay, sign-in refused, a
        full disk…).
        """
        async with self._connected(report) as (relay, gone):
            while True:
                online = await relay.online()
                gone.clear()
                report(ServiceOnline(online.greeting.relay))
                while relay.state is online:
                    try:
                        await self._serve_online(relay, online, gone, report)
                    except RelayError:
                        # Refused or too slow for now: the relay has the requests still.
                        await _first(gone.wait(), self._pause(RETRY))

    async def publish(self, timeout: float = 30.0) -> int:
        """Bring the newest revocation list to the relay, on a connection for that alone; its number.

        Raises:
            Offline: the relay is away; the list is kept and goes with the next connection.
        """
        async with self._connected(lambda _: None) as (relay, _gone):
            return await self._publish(relay, await relay.online(timeout))

    @contextlib.asynccontextmanager
    async def _connected(
        self, report: Callable[[Report], None]
    ) -> AsyncIterator[tuple[Connection, asyncio.Event]]:
        """A connection that answers requests, and the event that it was lost."""
        keys, gone = self._keys, asyncio.Event()

        async def pushed(push: object) -> None:
            if isinstance(push, EnrolmentWaiting):
                await self._answer(relay, push.enrolment, report)

        def changed(state: ConnectionState) -> None:
            if isinstance(state, Disconnected):
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
        async with relay:
            yield relay, gone

    async def _serve_online(
        self,
        relay: Connection,
        online: Online,
        gone: asyncio.Event,
        report: Callable[[Report], None],
    ) -> None:
        await self._answer_waiting(relay, report)
        while relay.state is online:
            self._revoked.clear()
            number = await self._publish(relay, online)
            if number:
                report(RevocationsPublished(number))
            await _first(self._revoked.wait(), gone.wait())

    async def _answer_waiting(self, relay: Connection, report: Callable[[Report], None]) -> None:
        """Answer all that waits; the relay lists a frame full at a time."""
        looked_at: set[bytes] = set()
        while True:
            waiting = (await relay.request(ListEnrolments(0))).waiting
            new = [request for request in waiting if request.request_id not in looked_at]
            if not new:
                return
            for request in new:
                looked_at.add(request.request_id)
                await self._answer(relay, request, report)

    async def _answer(
        self, relay: Connection, waiting: PendingEnrolment, report: Callable[[Report], None]
    ) -> None:
        now = int(self._clock())
        given = await self._vault.write(
            lambda db: answer(
                db, self._keys, waiting.request_id, waiting.sealed, now, self._random
            ),
            name=ANSWER,
        )
        if given is None:
            return
        request = AnswerEnrolment(0, waiting.request_id, given.sealed, given.certificate)
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

    async def _adopt(self, relay: Connection) -> tuple[int, bytes]:
        held = await self._held(relay)
        if held is None:
            raise RelayMisbehaved("a revocation list that it does not have")
        now = int(self._clock())
        try:
            return await self._vault.write(lambda db: adopt(db, self._keys, held, now), name=REVOKE)
        except IdentityError:
            raise RelayMisbehaved("a revocation list that does not check") from None

    async def _held(self, relay: Connection) -> bytes | None:
        held = (await relay.request(GetRevocations(0, self.establishment))).statement
        return None if held is None else await from_payload(relay, held)


class _IssuerSigner:
    """Signs in with the issuer's key; the token lies in the issuer's vault."""

    def __init__(self, vault: Vault, keys: IssuerKeys) -> None:
        self._vault, self._keys = vault, keys

    @property
    def chain(self) -> Sequence[bytes]:
        return (self._keys.certificate,)

    def sign(self, data: bytes) -> bytes:
        return self._keys.key.sign(data)

    async def token(self) -> bytes | None:
        return await self._vault.read(tables.read_token)

    async def store_token(self, token: bytes) -> None:
        await self._vault.write(lambda db: tables.write_token(db, token), name=TOKEN)


async def _first(*waits: Awaitable[object]) -> None:
    """Until one of them is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _field(text: str) -> str:
    """A name or profession as a certificate carries it; raises InvalidInput."""
    text = " ".join(text.split())
    if not 1 <= len(text) <= MAX_FIELD or not text.isprintable():
        raise InvalidInput(_("a name or a profession has 1 to 64 characters"))
    return text


def _rpps(text: str | None) -> str | None:
    if text is None:
        return None
    digits = "".join(text.split())
    if len(digits) != RPPS_DIGITS or not digits.isascii() or not digits.isdigit():
        raise InvalidInput(_("an RPPS number has 11 digits"))
    return digits
