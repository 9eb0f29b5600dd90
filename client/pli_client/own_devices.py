"""The devices of one's own: which there are, linking one more, declaring one lost."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pli_protocol.identity import DeviceRevocation, sign
from pli_protocol.identity.linking import AccountAddress
from pli_protocol.relay.frames import DeviceState, GetDevices, PublishRevocations

from .engine import statements
from .errors import EXIT_USAGE, Offline, PliError
from .i18n import N_
from .linking import Waiting, add_when_ready, approve, waiting
from .store import linking as store
from .vault import transaction

if TYPE_CHECKING:
    from .engine.engine import Engine

REVOKE = transaction("device-revoke")

LOOK_AGAIN = 1.0
"""Seconds between two looks whether a new device is ready."""

OwnReason = Literal["lost", "retired"]


class UnknownDevice(PliError):
    code = "unknown-device"
    exit_code = EXIT_USAGE
    CAUSE = N_("None of your devices is called so, or several are.")
    REMEDY = N_("See: pli devices.")


class ThisDevice(PliError):
    code = "this-device"
    exit_code = EXIT_USAGE
    CAUSE = N_("This is the device you are using.")
    REMEDY = N_("Revoke it from another device of yours, or ask your administrator.")


@dataclass(frozen=True, slots=True)
class OwnDevice:
    """One device of this person; `name` as it was given when it was linked, else empty."""

    device_id: bytes
    name: str
    this: bool
    """The one that this vault is."""
    conversations: int
    """In how many conversations of this vault it stands."""
    relay: DeviceState
    """What the relay says of it."""


class OwnDevices:
    """Of the person of one vault. Made by `Client.own_devices`; everything asks the relay."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    @property
    def address(self) -> AccountAddress:
        """What a new device needs to find this account; not secret."""
        own = self._engine.own.device.person
        return AccountAddress(own.establishment, own.account, self._engine.row.relay_url)

    async def list(self) -> list[OwnDevice]:
        """All that the relay knows, revoked ones too, the newest first."""
        states = (await self._engine.connection.request(GetDevices(0))).devices
        names = {d.device_id: d.name for d in await self._engine.read(store.linked)}
        own = self._engine.own.device_id
        found = []
        for state in states:
            held = await self._engine.read(lambda db, d=state.device: store.conversations_of(db, d))  # type: ignore[misc]
            name = names.get(state.device, "")
            found.append(OwnDevice(state.device, name, state.device == own, held, state))
        return found

    async def find(self, which: str) -> OwnDevice:
        """By name, or by the beginning of its id in hexadecimal.

        Raises:
            UnknownDevice: none, or several.
        """
        wanted = which.strip().casefold()
        listed = await self.list()
        found = [d for d in listed if d.name.casefold() == wanted]
        found = found or [
            d for d in listed if len(wanted) >= 4 and d.device_id.hex().startswith(wanted)
        ]
        if not wanted or len(found) != 1:
            raise UnknownDevice()
        return found[0]

    async def asking(self) -> Waiting:
        """The device that asks to be linked. Raises NothingToLink, LinkingOver, WrongLinkingCode."""
        return await waiting(self._engine)

    async def approve(self, found: Waiting, code: str, name: str) -> bytes:
        """Link it, if this is the code that it shows; its id. Raises WrongLinkingCode, LinkingOver."""
        return await approve(self._engine, found, code, name)

    async def added(self, timeout: float) -> bool:
        """Wait until what was linked has signed in and the conversations are asked to add it.

        False: not within `timeout` seconds; it is taken up again at the next sign-in.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    with suppress(Offline):
                        if await add_when_ready(self._engine):
                            return True
                    await self._engine.changed(LOOK_AGAIN)
        except TimeoutError:
            return False

    async def revoke(self, device: OwnDevice, reason: OwnReason) -> None:
        """Say, signed, that a device counts no more: it is cut off, and removed from all conversations.

        Raises:
            ThisDevice: not the one in use.
        """
        if device.this:
            raise ThisDevice()
        own = self._engine.own.device.person
        now = int(self._engine.timing.clock())
        said = DeviceRevocation(own.establishment, own.person_id, device.device_id, reason, now)
        signed = sign(said, self._engine.row.identity, self._engine.row.chain[1:])
        await self._engine.connection.request(PublishRevocations(0, signed))
        await self._engine.write(lambda work: statements.take_statement(work, signed), name=REVOKE)
