"""What an administrator's vault can do: invite, answer requests, revoke, and serve until stopped."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, Self

from pli_protocol.display_text import displayable
from pli_protocol.identity import (
    Authority,
    Invitation,
    Person,
    RevocationEntry,
    SigningKey,
    key_id,
    make_person,
)
from pli_protocol.identity.certificates import MAX_FIELD, RPPS_DIGITS, Kind
from pli_protocol.identity.statements import Reason, RevokedKind
from pli_protocol.relay.frames import PublishAuthorityChange
from pli_protocol.secret import Secret

from ..connection import Connection
from ..errors import InvalidInput
from ..i18n import _
from ..vault import DEFAULT_KDF, Database, Kdf, Vault, transaction
from . import succeeding, tables
from .authority_change import begin_change, cosign, following
from .errors import FoundingUnfinished, NotAnIssuer, UnknownAccount, UnknownInvitation
from .partners import Partnerships
from .reports import Report
from .revoking import REVOKE, add, reason_for, revoke
from .service import Service
from .tables import AccountRow, InvitationRow, Invited, IssuerKeys

INVITE = transaction("invite")
REPLACE = transaction("replace")
CERTIFY = transaction("certify")

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
        self._vault = vault
        self._clock, self._random = clock, random
        self._service = Service(vault, keys, clock, random, pause)
        self.partners = Partnerships(vault, keys, self._service, clock)

    @property
    def _keys(self) -> IssuerKeys:
        return self._service.keys

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
            NotAnIssuer: a professional's vault.
            FoundingUnfinished: `establish` was cut short, and is to be repeated.
            VaultError, WrongPassphrase…
        """
        vault = await Vault.open(folder, passphrase)
        try:
            keys = await vault.read(tables.read_issuer)
            if vault.kind != "issuer":
                raise NotAnIssuer(folder=folder)
            if keys is None or not keys.registered:
                raise FoundingUnfinished(folder=folder)
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
    def issuer_id(self) -> bytes:
        """The first 16 bytes of SHA-256 of the issuer's key."""
        return key_id(self._keys.key.public)

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
        _check_days(days)
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

    async def good_invitations(self, name: str) -> list[InvitationRow]:
        """Those of `invitations` for this name whose date is not past."""
        now_ms = self._clock() * 1000
        return [
            row
            for row in await self.invitations()
            if _called(row.name) == _called(name) and row.expires_at >= now_ms
        ]

    async def find_invitation(self, who: str) -> InvitationRow:
        """The unused invitation for a name, or of an id in hexadecimal.

        Raises:
            UnknownInvitation: there is none, or there are several for this name.
        """
        rows, wanted = await self.invitations(), _called(who)
        found = [row for row in rows if row.id.hex() == wanted]
        found = found or [row for row in rows if _called(row.name) == wanted]
        if len(found) != 1:
            raise UnknownInvitation(who=displayable(who, one_line=True))
        return found[0]

    async def withdraw(self, invitation: bytes) -> bool:
        """Make an unused invitation worthless; whether there was one of this id."""
        return await self._vault.write(lambda db: tables.withdraw_invitation(db, invitation))

    async def people(self) -> list[AccountRow]:
        """Everybody who was signed."""
        return await self._vault.read(tables.accounts)

    async def change(
        self,
        account: bytes,
        *,
        name: str | None = None,
        profession: str | None = None,
        rpps: str | None = None,
        ends_at: int | Literal["same", "never"] = "same",
    ) -> AccountRow:
        """Sign a newer certificate for the same account and key; what is not named stays.

        `serve` or `publish` brings it to the relay, where the person's devices find it.

        Args:
            ends_at: Milliseconds since 1970 of the account's end.

        Raises:
            UnknownAccount: no such account, or it was revoked. InvalidInput: a field.
        """
        row = await self._vault.read(lambda db: tables.account(db, account))
        if row is None or row.revoked_at is not None:
            raise UnknownAccount(who=account.hex())
        now = int(self._clock())
        known = self._read(row)
        not_after = known.not_after if ends_at == "same" else None
        if isinstance(ends_at, int):
            not_after = ends_at // 1000
            if not_after <= now:
                raise InvalidInput(_("the account's end lies in the past"))
        changed = replace(
            row,
            name=row.name if name is None else _field(name),
            profession=row.profession if profession is None else _field(profession),
            rpps=row.rpps if rpps is None else _rpps(rpps),
            # Later than the one before, also within one second or with a clock that was set back.
            signed_at=max(now, known.not_before + 1) * 1000,
        )
        changed = replace(changed, certificate=self._certificate(changed, not_after))
        await self._vault.write(lambda db: tables.renew_account(db, changed), name=CERTIFY)
        self._service.revoked.set()
        return changed

    def _certificate(self, row: AccountRow, not_after: int | None) -> bytes:
        return make_person(
            self._keys.key,
            self._keys.certificate,
            account=row.account,
            name=row.name,
            profession=row.profession,
            rpps=row.rpps,
            kind=row.kind,
            identity_key=row.identity_key,
            not_after=not_after,
            now=row.signed_at // 1000,
        )

    def ends(self, row: AccountRow) -> int | None:
        """The account's end (milliseconds since 1970); None: none."""
        signed = self._read(row)
        return None if signed.not_after is None else signed.not_after * 1000

    def _read(self, row: AccountRow) -> Person:
        return self._keys.trust().person((row.certificate, row.issuer or self._keys.certificate))

    # --- revoking -----------------------------------------------------------------------------

    async def find(self, who: str) -> AccountRow:
        """The account of a name, or of an account's or a person's id in hexadecimal.

        Raises:
            UnknownAccount: nobody, or several people, are called so.
        """
        wanted = _called(who)
        people = await self.people()
        found = [row for row in people if wanted in (row.account.hex(), row.person_id.hex())]
        found = found or [row for row in people if row.name.casefold() == wanted]
        found = [row for row in found if row.revoked_at is None] or found
        if len(found) != 1:
            raise UnknownAccount(who=displayable(who, one_line=True))
        return found[0]

    async def revoke(self, account: bytes, reason: Reason) -> int:
        """Revoke a person with all their devices; the number of the list that says so.

        An unused invitation for the account is void with it. The list is signed and durable when this
        returns; `serve` or `publish` brings it to the relay.

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

    async def replace(
        self,
        account: bytes,
        *,
        stolen: Sequence[bytes] = (),
        at_hand: bool = True,
        days: float = INVITATION_DAYS,
    ) -> tuple[Invited, int]:
        """A device was stolen: the person's identity key ends, and another may take the account.

        What the person holds under the old key is revoked at once; contacts see the new key only when
        the invitation was used, as another person whom members must add.
        Repeated, it corrects the first choice: what is new is listed, the invitation of before is void.

        Args:
            stolen: Ids of the devices that were stolen: their vaults wipe themselves.
            at_hand: The person still has a device, whose vault stays and takes the new key
                (`pli rejoin`); False: every vault under the old key wipes itself.

        Returns:
            The invitation, and the number of the list that revokes the old key.

        Raises:
            UnknownAccount: no such account. InvalidInput: `days`.
        """
        row = await self._vault.read(lambda db: tables.account(db, account))
        if row is None:
            raise UnknownAccount(who=account.hex())
        now = self._clock()
        secret, invitation = self._invitation(row, days, now)
        entries = [
            RevocationEntry("device", device, "stolen", int(now))
            for device in dict.fromkeys(stolen)
        ]
        reason: Reason = "stolen" if at_hand else "lost"
        entries.append(RevocationEntry("person", row.person_id, reason, int(now)))

        def work(db: Database) -> int:
            number, _signed = add(db, self._keys, entries, int(now))
            self._end_account(db, account, row.person_id, int(now * 1000))
            tables.insert_invitation(db, invitation, int(now * 1000))
            return number

        number = await self._vault.write(work, name=REPLACE)
        self._service.revoked.set()
        code = Invitation(secret, self.establishment, self._keys.relay_url)
        return Invited(code, invitation.id, account, invitation.expires_at), number

    def _end_account(self, db: Database, account: bytes, person: bytes, now_ms: int) -> None:
        """As the list says; no invitation of before brings it back."""
        reason = reason_for(db, self._keys, "person", person)
        tables.set_revoked(db, account, reason, now_ms)
        tables.withdraw_invitations(db, account)

    def _invitation(self, row: AccountRow, days: float, now: float) -> tuple[Secret, InvitationRow]:
        """An invitation for an account that is known, to another key."""
        _check_days(days)
        secret = Secret(self._random(16))
        return secret, InvitationRow(
            self._random(16),
            tables.secret_hash(secret),
            row.account,
            row.name,
            row.profession,
            row.rpps,
            row.kind,
            self.ends(row),
            int((now + days * 86400) * 1000),
            None,
            row.person_id,
        )

    # --- another authority --------------------------------------------------------------------

    async def begin_authority(
        self,
        file: Path,
        passphrase: Secret,
        *,
        before: SigningKey | None = None,
        compromised: bool = False,
        kdf: Kdf = DEFAULT_KDF,
    ) -> bytes:
        """Make another authority; see authority_change.begin_change. Raises Offline too."""
        await self._service.learn_lineage()
        return await begin_change(
            self._keys,
            file,
            passphrase,
            before=before,
            compromised=compromised,
            now=int(self._clock()),
            kdf=kdf,
        )

    async def cosign_authority(self, draft: bytes) -> bytes:
        """Sign another issuer's change as well. Raises NotAChange, Offline."""
        await self._service.learn_lineage()
        return cosign(self._keys, draft)

    async def publish_authority(self, change: bytes) -> Authority:
        """Bring a complete change to the relay; the authority that it puts in place.

        Raises:
            NotAChange, Offline, RelayRefused.
        """
        await self._service.learn_lineage()
        said, found = following(self._keys, change)
        async with self._service.online() as relay:
            await relay.request(PublishAuthorityChange(0, change))
        if not said.compromised:  # else this issuer counts no more
            await self._service.learn_lineage()
        return found

    # --- other issuers ------------------------------------------------------------------------

    async def issuers(self) -> list[succeeding.IssuerState]:
        """The establishment's issuers, and how many people each has signed. Raises Offline."""
        await self._service.learn_lineage()
        async with self._service.online() as relay:
            await succeeding.learn_people(self._vault, self._keys, relay)
            return await succeeding.issuers(self._vault, self._keys, relay)

    async def resign(self, which: str) -> list[AccountRow]:
        """Sign anew whom another issuer had signed, and bring the certificates to the relay.

        Args:
            which: The beginning of the issuer's id in hexadecimal.

        Raises:
            UnknownIssuer, Offline.
        """
        chosen = succeeding.pick(await self.issuers(), which)
        done = await succeeding.resign(self._vault, self._keys, chosen.issuer_id, self._clock)
        await self._service.publish()
        return done

    async def revoke_issuer(self, which: str, reason: Reason) -> int:
        """Revoke another issuer, and with it whom it signed and nobody signed anew; the list's number.

        Raises:
            UnknownIssuer, Offline.
        """
        chosen = succeeding.pick(await self.issuers(), which)
        return await self._revoke([("issuer", chosen.issuer_id)], reason, None)

    async def _revoke(
        self, what: Sequence[tuple[RevokedKind, bytes]], reason: Reason, account: bytes | None
    ) -> int:
        if reason not in REASONS:
            raise InvalidInput(_("a reason is one of: lost, retired, stolen, left"))
        now = int(self._clock())

        def work(db: Database) -> int:
            number, _signed = revoke(db, self._keys, what, reason, now)
            if account is not None:
                self._end_account(db, account, what[0][1], now * 1000)
            return number

        number = await self._vault.write(work, name=REVOKE)
        self._service.revoked.set()
        return number

    # --- the relay ----------------------------------------------------------------------------

    async def serve(self, report: Callable[[Report], None] = lambda _: None) -> None:
        """Answer requests to be enrolled and publish revocations until cancelled.

        Returns only by raising: what a person must settle first (wrong relay, sign-in refused, a
        full disk…).
        """
        await self._service.serve(report)

    async def publish(self, timeout: float = 30.0) -> int:
        """Bring the newest revocation list to the relay, on a connection for that alone; its number.

        Raises:
            Offline: the relay is away; the list is kept and goes with the next connection.
        """
        return await self._service.publish(timeout)

    @contextlib.asynccontextmanager
    async def online(self, timeout: float = 30.0) -> AsyncIterator[Connection]:
        """The issuer's connection to its relay, signed in: the one that serves where there is one.

        Raises:
            Offline: the relay is away.
        """
        async with self._service.online(timeout) as relay:
            yield relay


def _check_days(days: float) -> None:
    if not 0 < days <= 365:
        raise InvalidInput(_("an invitation is good for one day to 365 days"))


def _called(name: str) -> str:
    """A name as it is compared."""
    return " ".join(name.split()).casefold()


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
