"""Joining with an invitation: a device makes its keys, has its person signed, signs itself.

What it needs to go on after a crash is in the vault before anything is sent: the keys, the request as
it was sealed, and the key for the answer. The row is complete, and the invitation's secret gone, in
the transaction that keeps the certificates.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pli_protocol.identity import (
    Authority,
    Device,
    EnrolmentKey,
    IdentityError,
    Invitation,
    InvitationError,
    Issuer,
    SigningKey,
    Trust,
    make_device,
    verify_authority,
    verify_statement,
)
from pli_protocol.identity.enrolment import (
    EnrolmentAnswer,
    EnrolmentError,
    EnrolmentRefused,
    RefusalCode,
    ReplyKey,
    open_answer,
    seal_request,
)
from pli_protocol.relay import frames
from pli_protocol.relay.frames import FetchEnrolment, GetEstablishment, RequestEnrolment

from .connection import Connection
from .errors import EXIT_USAGE, Offline, PliError, RelayRefused
from .i18n import N_
from .payloads import from_payload
from .vault import Database, Vault, transaction

BEGIN = transaction("enrolment-begin")
ASK = transaction("enrolment-ask")
FINISH = transaction("enrolment-finish")

FIRST_CONTACT: Final = 20.0
"""Seconds to reach the relay for the first time before giving up."""

LOOK_AGAIN: Final = 10.0
"""Seconds after which the relay is asked again for the answer that it should have pushed."""


class BadInvitation(PliError):
    """The code cannot be read; `why` is the cause of InvitationError."""

    code = "bad-invitation"
    exit_code = EXIT_USAGE
    REMEDY = N_("Copy it again from the invitation, or ask for a new one.")

    CAUSES: Final = {
        "empty": N_("The invitation code is empty."),
        "character": N_("The invitation code has a character that no code has."),
        "too-short": N_("The invitation code is incomplete."),
        "checksum": N_("A letter of the invitation code is wrong, missing or too many."),
        "relay": N_("The invitation code names no relay that this Pli can use."),
    }

    def __init__(self, why: str) -> None:
        super().__init__()
        self.CAUSE = self.CAUSES[why]  # type: ignore[misc]  # here it belongs to the instance


class InvitationRefused(PliError):
    """The establishment turned the request away; `refusal` is unknown, used or expired."""

    code = "invitation-refused"
    REMEDY = N_("Ask your establishment for a new invitation.")

    CAUSES: Final = {
        "unknown": N_("Your establishment does not know this invitation."),
        "used": N_("This invitation was used already."),
        "expired": N_("This invitation is past its date."),
    }

    def __init__(self, refusal: RefusalCode) -> None:
        super().__init__()
        self.refusal = refusal
        self.CAUSE = self.CAUSES[refusal]  # type: ignore[misc]  # here it belongs to the instance


class EstablishmentUnknown(PliError):
    code = "establishment-unknown"
    CAUSE = N_("The relay does not know the establishment of this invitation.")
    REMEDY = N_("Check with who invited you.")


class EstablishmentForged(PliError):
    """What the relay gave does not carry the fingerprint of the invitation, or does not check."""

    code = "establishment-forged"
    CAUSE = N_("The relay's answer does not come from the establishment that invited you.")
    REMEDY = N_("Join nothing here; tell who invited you.")


class EnrolmentPending(PliError):
    """The request lies at the relay; nothing is lost by stopping here."""

    code = "enrolment-pending"
    CAUSE = N_("Your establishment has not answered yet.")
    REMEDY = N_("Run the same command again later: it goes on where it stopped.")


class AlreadyEnrolled(PliError):
    code = "already-enrolled"
    CAUSE = N_("This vault belongs to an enrolled device already.")
    REMEDY = N_("Use it, or choose another folder with --vault.")


Step = Literal["contacting", "asked", "waiting", "enrolled"]


class _UnderWay(msgspec.Struct, frozen=True, array_like=True):
    """An enrolment that began: what the vault keeps of it. Secret."""

    version: Literal[1]
    code: str
    request_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    reply_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    sealed: bytes | None = None

    def __repr__(self) -> str:
        return "_UnderWay(…)"


@dataclass(frozen=True, slots=True)
class _Asker:
    """The device before it has a certificate."""

    identity: SigningKey
    device: SigningKey
    under_way: _UnderWay
    relay_name: str | None
    ca: str | None
    proxy: str | None

    @property
    def invitation(self) -> Invitation:
        return Invitation.parse(self.under_way.code)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What the relay holds of the establishment, checked by the invitation's fingerprint."""

    authority: Authority
    issuers: tuple[Issuer, ...]
    keys: tuple[bytes, ...]
    revocations: bytes | None
    trust: Trust


def parse_invitation(text: str) -> Invitation:
    """Read an invitation code. Raises BadInvitation, which says what is wrong with it."""
    try:
        return Invitation.parse(text)
    except InvitationError as error:
        raise BadInvitation(error.cause) from None


async def enrol(
    vault: Vault,
    invitation: Invitation | None = None,
    *,
    relay_name: str | None = None,
    ca: str | None = None,
    proxy: str | None = None,
    progress: Callable[[Step], None] = lambda _: None,
    patience: float | None = None,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Device:
    """Enrol this vault's device; go on with what was begun where there is something.

    Args:
        invitation: None: go on with the one begun before.
        ca: The only certificate authorities trusted for TLS, PEM text.
        proxy: A proxy's URL; None: as the environment says.
        patience: Seconds to wait for the establishment's answer; None: for ever.

    Raises:
        AlreadyEnrolled, InvitationRefused, EstablishmentUnknown, EstablishmentForged.
        EnrolmentPending: not answered within `patience`; call again.
        Offline: the relay was not reached.
        VaultError…
    """
    asker = await _begin(vault, invitation, relay_name, ca, proxy, clock, random)
    arrived = asyncio.Event()

    async def pushed(push: object) -> None:
        if isinstance(push, frames.EnrolmentAnswer):
            arrived.set()

    relay = Connection(
        asker.invitation.relay,
        relay_name=asker.relay_name,
        ca=asker.ca,
        proxy=True if asker.proxy is None else asker.proxy,
        on_push=pushed,
    )
    progress("contacting")
    try:
        async with relay, asyncio.timeout(patience):
            await relay.online(FIRST_CONTACT)
            checked = await _establishment(relay, asker.invitation)
            asker = await _ask(vault, relay, asker, checked, random)
            progress("asked")
            answer = await _answer(relay, asker, arrived, progress, pause)
    except TimeoutError:
        raise EnrolmentPending() from None
    if isinstance(answer, EnrolmentRefused):
        await vault.write(_forget, name=FINISH, scrub=True)
        raise InvitationRefused(answer.code)
    device = await _finish(vault, asker, checked, (answer.person, answer.issuer), clock)
    progress("enrolled")
    return device


# --- beginning --------------------------------------------------------------------------------


async def _begin(
    vault: Vault,
    invitation: Invitation | None,
    relay_name: str | None,
    ca: str | None,
    proxy: str | None,
    clock: Callable[[], float],
    random: Callable[[int], bytes],
) -> _Asker:
    """The keys and the request's id, durable before the first byte is sent."""

    def work(db: Database) -> _Asker:
        row: tuple[object, ...] | None = db.execute(
            "SELECT identity_key, signature_key, chain, enrolment, ca_file, proxy, relay_name"
            " FROM device"
        ).fetchone()
        if row is not None and row[2] is not None:
            raise AlreadyEnrolled()
        begun = None if row is None or row[3] is None else _read(row[3])
        if (
            row is not None
            and begun is not None
            and (invitation is None or begun.code == invitation.text())
        ):
            return _asker(row, begun, relay_name, ca, proxy)
        if invitation is None:
            raise BadInvitation("empty")
        under_way = _UnderWay(
            1, invitation.text(), random(16), bytes(ReplyKey.generate(random).private)
        )
        if row is None:
            row = (random(32), random(32), None, None, ca, proxy, relay_name)
            db.execute(
                """INSERT INTO device (one, relay_url, relay_name, ca_file, proxy, identity_key,
                    signature_key, enrolment, created_at) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    invitation.relay,
                    relay_name,
                    ca,
                    proxy,
                    row[0],
                    row[1],
                    msgspec.msgpack.encode(under_way),
                    int(clock() * 1000),
                ),
            )
        else:
            db.execute(
                "UPDATE device SET relay_url = ?, enrolment = ?",
                (invitation.relay, msgspec.msgpack.encode(under_way)),
            )
        return _asker(row, under_way, relay_name, ca, proxy)

    return await vault.write(work, name=BEGIN)


def _asker(
    row: tuple[object, ...],
    under_way: _UnderWay,
    relay_name: str | None,
    ca: str | None,
    proxy: str | None,
) -> _Asker:
    identity, device, _chain, _enrolment, kept_ca, kept_proxy, kept_name = row
    assert isinstance(identity, bytes)
    assert isinstance(device, bytes)
    return _Asker(
        SigningKey.from_seed(identity),
        SigningKey.from_seed(device),
        under_way,
        relay_name or _text(kept_name),
        ca or _text(kept_ca),
        proxy or _text(kept_proxy),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _read(data: object) -> _UnderWay:
    assert isinstance(data, bytes)
    return msgspec.msgpack.decode(data, type=_UnderWay)


# --- asking -----------------------------------------------------------------------------------


async def _establishment(relay: Connection, invitation: Invitation) -> _Checked:
    """The establishment's certificates, checked by the fingerprint in the code and nothing else."""
    try:
        held = await relay.request(GetEstablishment(0, invitation.establishment))
    except RelayRefused as refused:
        if refused.refusal == "not-found":
            raise EstablishmentUnknown() from None
        raise
    signed = None if held.revocations is None else await from_payload(relay, held.revocations)
    try:
        authority = verify_authority(held.authority, fingerprint_start=invitation.establishment)
        trust = Trust(authority.certificate, revocations=() if signed is None else (signed,))
        issuers = tuple(trust.issuer((certificate,)) for certificate in held.issuers)
        issuers = tuple(issuer for issuer in issuers if trust.refuses(issuer) is None)
        checked = [
            verify_statement(key, EnrolmentKey, authority.certificate)
            for key in held.enrolment_keys
        ]
    except IdentityError as error:
        raise EstablishmentForged() from error
    known = {issuer.issuer_id for issuer in issuers}
    keys = tuple(
        key.statement.key
        for key in checked
        if isinstance(key.signer, Issuer) and key.signer.issuer_id in known
    )
    if not keys:
        raise EstablishmentForged()
    return _Checked(authority, issuers, keys, signed, trust)


async def _ask(
    vault: Vault,
    relay: Connection,
    asker: _Asker,
    checked: _Checked,
    random: Callable[[int], bytes],
) -> _Asker:
    """Leave the request; the same bytes at every try."""
    under_way = asker.under_way
    if under_way.sealed is None:
        reply = ReplyKey.from_private(under_way.reply_key)
        sealed = seal_request(
            asker.invitation,
            checked.keys,
            asker.identity,
            reply.public,
            under_way.request_id,
            random,
        )
        under_way = msgspec.structs.replace(under_way, sealed=sealed)
        data = msgspec.msgpack.encode(under_way)
        await vault.write(
            lambda db: db.execute("UPDATE device SET enrolment = ?", (data,)), name=ASK
        )
        asker = _Asker(
            asker.identity, asker.device, under_way, asker.relay_name, asker.ca, asker.proxy
        )
    await _leave(relay, asker)
    return asker


async def _leave(relay: Connection, asker: _Asker) -> None:
    under_way = asker.under_way
    assert under_way.sealed is not None
    establishment = asker.invitation.establishment
    try:
        await relay.request(
            RequestEnrolment(0, establishment, under_way.request_id, under_way.sealed)
        )
    except RelayRefused as refused:
        if refused.refusal != "conflict":  # it is there already
            raise


async def _answer(
    relay: Connection,
    asker: _Asker,
    arrived: asyncio.Event,
    progress: Callable[[Step], None],
    pause: Callable[[float], Awaitable[None]],
) -> EnrolmentAnswer:
    """Wait for the issuer, also through lost connections: a push, and looking now and then."""
    under_way = asker.under_way
    reply = ReplyKey.from_private(under_way.reply_key)
    told = False
    while True:
        arrived.clear()
        try:
            held = await relay.request(FetchEnrolment(0, under_way.request_id))
        except Offline:
            await relay.online()
            continue
        except RelayRefused as refused:
            if refused.refusal != "not-found":
                raise
            await _leave(relay, asker)  # the relay gave it up: the same request again
            continue
        if held.sealed is not None:
            try:
                return open_answer(held.sealed, under_way.request_id, reply)
            except EnrolmentError:
                raise EstablishmentForged() from None
        if not told:
            progress("waiting")
            told = True
        await _either(arrived.wait(), pause(LOOK_AGAIN))


async def _either(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- finishing --------------------------------------------------------------------------------


async def _finish(
    vault: Vault,
    asker: _Asker,
    checked: _Checked,
    chain: tuple[bytes, bytes],
    clock: Callable[[], float],
) -> Device:
    """Check what the issuer signed, sign the device, keep it all in one transaction."""
    now = int(clock())
    try:
        person = checked.trust.person(chain)
        if person.identity_key != asker.identity.public:
            raise EstablishmentForged()
        certificate = make_device(asker.identity, chain[0], asker.device.public, now=now)
        device = checked.trust.device((certificate, *chain), now)
    except IdentityError as error:
        raise EstablishmentForged() from error
    await vault.write(lambda db: _keep(db, checked, device, now * 1000), name=FINISH, scrub=True)
    return device


def _keep(db: Database, checked: _Checked, device: Device, now_ms: int) -> None:
    authority, person = checked.authority, device.person
    db.execute(
        """UPDATE device SET establishment = ?, account = ?, device_id = ?, chain = ?,
            enrolment = NULL""",
        (
            authority.establishment,
            person.account,
            device.device_id,
            msgspec.msgpack.encode(device.chain),
        ),
    )
    db.execute(
        """INSERT OR IGNORE INTO establishments (fingerprint, own, name, authority)
            VALUES (?, 1, ?, ?)""",
        (authority.establishment, authority.name, authority.certificate),
    )
    for issuer in checked.issuers:
        db.execute(
            "INSERT OR IGNORE INTO issuers (establishment, certificate) VALUES (?, ?)",
            (authority.establishment, issuer.certificate),
        )
    if checked.revocations is not None:
        head = checked.trust.head()
        db.execute(
            """INSERT OR IGNORE INTO revocation_lists (establishment, number, hash, statement)
                VALUES (?, ?, ?, ?)""",
            (authority.establishment, head.number, head.hash, checked.revocations),
        )
    db.execute(
        """INSERT OR IGNORE INTO people (person_id, account, establishment, name, profession, rpps,
            kind, identity_key, certificate, issuer, first_seen_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            person.person_id,
            person.account,
            person.establishment,
            person.name,
            person.profession,
            person.rpps,
            person.kind,
            person.identity_key,
            person.certificate,
            device.chain[2],
            now_ms,
        ),
    )


def _forget(db: Database) -> None:
    """The invitation is worth nothing: another may be tried with the same keys."""
    db.execute("UPDATE device SET enrolment = NULL")


__all__ = [
    "AlreadyEnrolled",
    "BadInvitation",
    "EnrolmentPending",
    "EstablishmentForged",
    "EstablishmentUnknown",
    "InvitationRefused",
    "enrol",
    "parse_invitation",
]
