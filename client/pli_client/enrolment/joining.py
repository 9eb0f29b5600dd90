"""Joining from beginning to end, and keeping what the issuer signed in one transaction."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from pli_protocol.identity import Device, IdentityError, Invitation, InvitationError, make_device
from pli_protocol.identity.enrolment import EnrolmentAnswer, EnrolmentRefused
from pli_protocol.relay import frames

from ..connection import Connection
from ..store.device import add_authority_change
from ..store.people import remember_person
from ..vault import Database, Vault, transaction
from .asking import CheckedEstablishment, Step, ask, await_answer, fetch_establishment
from .beginning import Asker, begin
from .errors import BadInvitation, EnrolmentPending, EstablishmentForged, InvitationRefused

FINISH = transaction("enrolment-finish")

FIRST_CONTACT: Final = 20.0
"""Seconds to reach the relay for the first time before giving up."""


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
    asker = await begin(vault, invitation, relay_name, ca, proxy, clock, random)
    checked, answer = await answered(vault, asker, progress, patience, random, pause)
    if isinstance(answer, EnrolmentRefused):
        await vault.write(forget, name=FINISH, scrub=True)
        raise InvitationRefused(answer.code)
    device = await finish(vault, asker, checked, (answer.person, answer.issuer), clock)
    progress("enrolled")
    return device


async def answered(
    vault: Vault,
    asker: Asker,
    progress: Callable[[Step], None],
    patience: float | None,
    random: Callable[[int], bytes],
    pause: Callable[[float], Awaitable[None]],
) -> tuple[CheckedEstablishment, EnrolmentAnswer]:
    """Bring the request to the establishment and wait for its answer. Raises as `enrol`."""
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
        async with relay:
            # Not to reach the relay is another matter than not being answered.
            await relay.online(FIRST_CONTACT if patience is None else min(FIRST_CONTACT, patience))
            async with asyncio.timeout(patience):
                checked = await fetch_establishment(relay, asker.invitation)
                asker = await ask(vault, relay, asker, checked, random)
                progress("asked")
                return checked, await await_answer(relay, asker, arrived, progress, pause)
    except TimeoutError:
        raise EnrolmentPending() from None


async def finish(
    vault: Vault,
    asker: Asker,
    checked: CheckedEstablishment,
    chain: tuple[bytes, bytes],
    clock: Callable[[], float],
) -> Device:
    """Check what the issuer signed, sign the device, keep it all in one transaction."""
    now = int(clock())
    try:
        person = checked.trust.person(chain)
        if person.identity_key != asker.identity.public or checked.trust.refuses(person):
            raise EstablishmentForged()
        certificate = make_device(asker.identity, chain[0], asker.device.public, now=now)
        device = checked.trust.device((certificate, *chain), now)
    except IdentityError as error:
        raise EstablishmentForged() from error
    await vault.write(lambda db: keep(db, checked, device, now * 1000), name=FINISH, scrub=True)
    return device


def keep(db: Database, checked: CheckedEstablishment, device: Device, now_ms: int) -> None:
    """Complete the row of this device; with it what is known of its establishment."""
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
    for number, change in enumerate(checked.changes, 1):
        add_authority_change(db, number, change, now_ms, accepted=True)
    if checked.revocations is not None:
        head = checked.trust.head()
        db.execute(
            """INSERT OR IGNORE INTO revocation_lists (establishment, number, hash, statement)
                VALUES (?, ?, ?, ?)""",
            (authority.establishment, head.number, head.hash, checked.revocations),
        )
    remember_person(db, person, device.chain[2], now_ms)


def forget(db: Database) -> None:
    """The invitation is worth nothing: another may be tried with the same keys."""
    db.execute("UPDATE device SET enrolment = NULL")
