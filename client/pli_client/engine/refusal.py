"""This device is refused: why, by signed statements only, and what follows for its vault.

The relay's word alone changes nothing. A vault is wiped when its issuer's newest revocation list, as its own
trust accepts it, names this device as lost, stolen or that of somebody who has left, or its person as gone
or lost. Its person's own word refuses it, and wipes nothing: a thief who opened another device of the
person holds the key that says so. A device that is out of service (`retired`) is in its owner's
hands, and so are the devices of a person whose key is replaced after a theft (`stolen`): the stolen ones
are named beside it (decision 15).
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

from pli_protocol.identity import Device, Trust
from pli_protocol.relay.frames import AskRefusal, GetAuthorityChanges, GetListPart
from pli_protocol.relay.log import refusal_challenge

from ..connection import Connection
from ..errors import AccountEnded, DeviceRevoked, Offline, PliError, RelayMisbehaved, VaultWiped
from ..i18n import _
from ..vault import Vault
from . import renewal, statements
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

PATIENCE: Final = 20.0
"""Seconds to reach the relay again for its reasons."""

_LARGEST_LIST: Final = 4 * 1024 * 1024
_ATTEMPTS: Final = 3


async def explain(engine: Engine) -> PliError | None:
    """Ask, without signing in, for what is signed about this device, and act on it.

    Returns:
        A better word than the relay's; None: nothing that is signed refuses this device.
    """
    newer = engine.signed_in_as_before
    with suppress(PliError):
        newer = await _ask(engine) or newer
    error = await settle(engine)
    if error is None and newer:
        return Offline(_("this device has a newer certificate"))
    return error or _ended(engine)


def _ended(engine: Engine) -> PliError | None:
    """The account is past its end, as its certificate says."""
    end = engine.own.device.person.not_after
    if end is None or engine.timing.clock() <= end:
        return None
    return AccountEnded(datetime.fromtimestamp(end).astimezone().strftime("%d/%m/%Y"))


async def settle(engine: Engine) -> PliError | None:
    """What the vault knows by now of its own device; None: it counts. A vault may be gone after this."""
    return await settle_vault(engine.vault, engine.around.trust, engine.own.device)


async def settle_vault(vault: Vault, trust: Trust, own: Device) -> PliError | None:
    """As `settle`, also before there is an engine: a crash may have come before the wipe."""
    refusal = trust.refuses(own)
    if refusal is None:
        return None
    listed = trust.listed(own)
    if listed is not None and listed.wipes:
        with suppress(VaultWiped):  # by another task that learned of it at the same time
            await vault.wipe(listed.reason)
        return VaultWiped(listed.reason)
    return DeviceRevoked(refusal.entry.reason)


async def _ask(engine: Engine) -> bool:
    """Take what is signed; whether this device has a newer certificate by it."""
    async with engine.anonymous() as relay:
        greeting = (await relay.online(PATIENCE)).greeting
        signed = refusal_challenge(greeting.relay, greeting.challenge)
        own = engine.own
        told = await relay.request(AskRefusal(0, own.chain, own.key.sign(signed)))
        newest = await _newest_list(engine, relay)
        establishment = engine.around.trust.own.establishment
        changes = (await relay.request(GetAuthorityChanges(0, establishment))).changes

    def step(work: Work) -> None:
        for change in changes:
            statements.take_statement(work, change)
        if newest is not None:
            statements.take_list(work, work.trust.own.establishment, newest, 0)
        if told.statement is not None:
            statements.take_statement(work, told.statement)

    await engine.write(step, name=statements.STATEMENTS)
    if told.person is not None and await renewal.take_over(engine, told.person):
        return True
    return await renewal.if_due(engine)


async def _newest_list(engine: Engine, relay: Connection) -> bytes | None:
    """The newest list, put together from its parts."""
    establishment = engine.around.trust.own.establishment
    for _attempt in range(_ATTEMPTS):
        part = await relay.request(GetListPart(0, establishment))
        number, whole = part.number, part.data
        while part.number == number and part.data and len(whole) < part.size <= _LARGEST_LIST:
            part = await relay.request(GetListPart(0, establishment, len(whole)))
            whole += part.data
        if part.number == number and len(whole) == part.size:
            return whole or None
    raise RelayMisbehaved("a revocation list that does not hold together")
