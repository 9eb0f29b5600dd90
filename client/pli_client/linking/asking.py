"""The new device: opens the account with both factors, leaves its request, waits for the letter."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Literal

from pli_protocol.identity import (
    Authority,
    Device,
    IdentityError,
    InvitationError,
    SigningKey,
    Trust,
    verify_authority,
)
from pli_protocol.identity.errors import LinkingError
from pli_protocol.identity.linking import (
    LASTS,
    AccountAddress,
    Letter,
    LinkingRequest,
    key_of,
    linking_code,
    new_key,
    open_letter,
    request_id,
)
from pli_protocol.identity.password import COST, Cost, derive
from pli_protocol.relay.frames import FetchLinking, LinkingAnswer, OpenAccount, RequestLinking
from pli_protocol.relay.log import device_id
from pli_protocol.secret import Secret

from ..account import told
from ..connection import Connection
from ..connection.state import Online
from ..enrolment.asking import CheckedEstablishment
from ..enrolment.errors import AlreadyEnrolled
from ..enrolment.joining import FIRST_CONTACT, keep
from ..errors import Offline, RelayRefused
from ..first_done import first_done
from ..i18n import _
from ..store import linking as store
from ..store.linking import Asker
from ..vault import Database, Vault, transaction
from .errors import LetterForged, LinkingOver, WrongAddress

BEGIN = transaction("linking-begin")
ASK = transaction("linking-ask")
FINISH = transaction("linking-finish")

LOOK_AGAIN: Final = 5.0
"""Seconds after which the relay is asked again for the letter that it should have pushed."""

LinkStep = Literal["contacting", "asked", "linked"]
Tell = Callable[[LinkStep, str], None]
"""Told of each step; with `asked` the code to show."""


async def link(
    vault: Vault,
    address: str,
    password: str,
    code: str,
    *,
    tell: Tell = lambda _step, _code: None,
    ca: str | None = None,
    proxy: str | None = None,
    cost: Cost = COST,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    lasts: float = LASTS,
) -> Device:
    """Link this vault's device to an account. Called again after a crash it takes up what was answered.

    Args:
        address: As `pli account` shows it on an enrolled device.
        code: Of the second factor, or a recovery code.

    Raises:
        WrongAddress, AlreadyEnrolled. NotAccepted, Locked: password or code.
        LinkingOver: nobody approved in time. LetterForged: refuse and tell.
        Offline, VaultError…
    """
    asker = await _begin(vault, address, ca, proxy, clock, random)
    arrived = asyncio.Event()

    async def pushed(push: object) -> None:
        if isinstance(push, LinkingAnswer):
            arrived.set()

    relay = Connection(
        asker.address.relay,
        ca=asker.ca,
        proxy=True if asker.proxy is None else asker.proxy,
        on_push=pushed,
    )
    tell("contacting", "")
    async with relay:
        online = await relay.online(FIRST_CONTACT)
        await _open(relay, asker, password, code, cost)
        sealed = await _answered_before(relay, asker)
        if sealed is None:
            asker = await _ask(vault, relay, asker, clock, random)
            assert asker.request is not None
            tell("asked", linking_code(asker.request))
            sealed = await _wait(relay, online, asker, arrived, pause, lasts)
    device = await _finish(vault, asker, sealed, clock)
    tell("linked", "")
    return device


async def _begin(
    vault: Vault,
    text: str,
    ca: str | None,
    proxy: str | None,
    clock: Callable[[], float],
    random: Callable[[int], bytes],
) -> Asker:
    try:
        address = AccountAddress.parse(text)
    except InvitationError as error:
        raise WrongAddress(error.cause) from None

    def work(db: Database) -> Asker:
        if db.execute("SELECT 1 FROM device WHERE chain IS NOT NULL").fetchone():
            raise AlreadyEnrolled()
        begun = store.read_asker(db)
        if begun is not None and begun.address == address:
            asker = replace(begun, ca=ca or begun.ca, proxy=proxy or begun.proxy)
        else:
            key = SigningKey.generate(random)
            asker = Asker(address, key, None, None, ca, proxy)
        store.write_asker(db, asker, int(clock() * 1000))
        return asker

    return await vault.write(work, name=BEGIN)


async def _open(relay: Connection, asker: Asker, password: str, code: str, cost: Cost) -> None:
    address = asker.address
    derived = await asyncio.to_thread(
        derive, password, address.establishment, address.account, cost
    )
    shown = OpenAccount(0, address.establishment, address.account, bytes(derived), code.strip())
    try:
        await relay.request(shown)
    except RelayRefused as refused:
        raise told(refused) from None


async def _answered_before(relay: Connection, asker: Asker) -> bytes | None:
    """The letter to the request of an earlier run, which was cut short before it came."""
    if asker.request is None:
        return None
    try:
        return (await relay.request(FetchLinking(0, request_id(asker.request)))).sealed
    except RelayRefused as refused:
        if refused.refusal != "not-found":
            raise
        return None


async def _ask(
    vault: Vault,
    relay: Connection,
    asker: Asker,
    clock: Callable[[], float],
    random: Callable[[int], bytes],
) -> Asker:
    """A new request; its key is durable before the relay has it."""
    pair = new_key(random)
    request = LinkingRequest(
        1,
        asker.address.establishment,
        asker.address.account,
        asker.key.public,
        pair.public,
        random(16),
        int(clock()),
    ).encode()
    asker = replace(asker, kem_key=Secret(pair.private), request=request)
    await vault.write(
        lambda db: store.write_asker(db, asker, int(clock() * 1000)), name=ASK, scrub=True
    )
    own = device_id(asker.key.public)
    await relay.request(RequestLinking(0, request_id(request), own, request))
    return asker


async def _wait(
    relay: Connection,
    online: Online,
    asker: Asker,
    arrived: asyncio.Event,
    pause: Callable[[float], Awaitable[None]],
    lasts: float,
) -> bytes:
    """The letter: a push, and looking now and then. Another connection would need another code."""
    assert asker.request is not None
    number = request_id(asker.request)
    try:
        async with asyncio.timeout(lasts):
            while relay.state is online:
                arrived.clear()
                held = await relay.request(FetchLinking(0, number))
                if held.sealed is not None:
                    return held.sealed
                await first_done(arrived.wait(), pause(LOOK_AGAIN))
    except TimeoutError:
        raise LinkingOver() from None
    raise Offline(_("the connection was lost"))


async def _finish(vault: Vault, asker: Asker, sealed: bytes, clock: Callable[[], float]) -> Device:
    """Check that the letter leads to the account of the address; keep it all in one transaction."""
    assert asker.request is not None
    assert asker.kem_key is not None
    try:
        letter = open_letter(sealed, asker.request, key_of(asker.kem_key))
        checked = _checked(asker, letter)
        device = checked.trust.device(letter.chain, int(clock()))
    except (LinkingError, IdentityError) as error:
        raise LetterForged() from error
    identity = SigningKey.from_seed(letter.identity_seed)
    person = device.person
    if (
        person.establishment != asker.address.establishment
        or person.account != asker.address.account
        or person.identity_key != identity.public
        or device.signature_key != asker.key.public
    ):
        raise LetterForged()
    now_ms = int(clock() * 1000)
    await vault.write(
        lambda db: _keep(db, asker, letter, checked, device, now_ms), name=FINISH, scrub=True
    )
    return device


def _checked(asker: Asker, letter: Letter) -> CheckedEstablishment:
    authority: Authority = verify_authority(
        letter.authority, fingerprint_start=asker.address.establishment
    )
    lists = () if letter.revocations is None else (letter.revocations,)
    trust = Trust(authority.certificate, revocations=lists, authority_changes=letter.changes)
    issuers = tuple(trust.issuer((certificate,)) for certificate in letter.issuers)
    return CheckedEstablishment(authority, issuers, (), letter.revocations, trust, letter.changes)


def _keep(
    db: Database,
    asker: Asker,
    letter: Letter,
    checked: CheckedEstablishment,
    device: Device,
    now_ms: int,
) -> None:
    db.execute("DELETE FROM device")  # of a joining that was begun here and not finished
    db.execute(
        """INSERT INTO device (one, relay_url, relay_name, ca_file, proxy, identity_key,
            signature_key, created_at) VALUES (1, ?, ?, ?, ?, ?, ?, ?)""",
        (
            asker.address.relay,
            letter.relay_name,
            asker.ca or letter.ca,
            asker.proxy,
            letter.identity_seed,
            bytes(asker.key.seed),
            now_ms,
        ),
    )
    keep(db, checked, device, now_ms)
    store.write_linked(db, device.device_id, letter.name, "known", now_ms)
    store.forget_asker(db)
