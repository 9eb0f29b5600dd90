"""The work behind `pli account` and `pli devices`, and behind their like in `pli admin`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ..account import Account
from ..errors import EXIT_RELAY
from ..i18n import _
from ..linking import Waiting
from ..own_devices import OwnDevice

if TYPE_CHECKING:
    from pli_protocol.relay.frames import DeviceState

    from ..client import Client

Reply = dict[str, Any]
Arguments = dict[str, Any]
Replies = AsyncIterator[Reply]


# --- password and second factor, of a person or of an issuer -----------------------------------


async def state(account: Account, args: Arguments) -> Reply:
    """What is set up."""
    held = await account.state()
    return {
        "kind": "account-state",
        "password": held.password,
        "second_factor": held.second_factor,
        "recovery_codes": held.recovery_codes,
    }


async def step_up(account: Account, args: Arguments) -> Reply:
    """Show both factors."""
    await account.step_up(args["password"], args["code"])
    return {"kind": "stepped-up"}


async def set_password(account: Account, args: Arguments) -> Reply:
    """Set the account password."""
    await account.set_password(args["password"])
    return {"kind": "password-set"}


async def begin_second_factor(account: Account, args: Arguments) -> Reply:
    """A new secret for an authenticator."""
    factor = await account.begin_second_factor(args["label"])
    return {"kind": "second-factor", "secret": factor.letters, "uri": factor.uri}


async def confirm_second_factor(account: Account, args: Arguments) -> Reply:
    """Its first code."""
    codes = await account.confirm_second_factor(args["code"])
    return {"kind": "recovery-codes", "codes": list(codes)}


async def renew_recovery_codes(account: Account, args: Arguments) -> Reply:
    """Ten new ones."""
    return {"kind": "recovery-codes", "codes": list(await account.renew_recovery_codes())}


FACTORS: Final[dict[str, Callable[[Account, Arguments], Awaitable[Reply]]]] = {
    "account-state": state,
    "account-step-up": step_up,
    "account-password": set_password,
    "account-totp": begin_second_factor,
    "account-confirm": confirm_second_factor,
    "account-recovery-codes": renew_recovery_codes,
}
"""What persons and issuers may do about themselves, by command."""


# --- devices ------------------------------------------------------------------------------------


async def own(client: "Client", args: Arguments) -> Replies:
    """Who this is, and where a new device finds the account."""
    yield {
        "kind": "account",
        "name": client.person.name,
        "establishment": client.person.establishment_name,
        "account": client.person.account.hex(),
        "address": client.own_devices.address.text(),
    }


async def devices(client: "Client", args: Arguments) -> Replies:
    """One's own devices."""
    for device in await client.own_devices.list():
        yield own_device_reply(device)


async def asking(client: "Client", args: Arguments) -> Replies:
    """The device that asks to be linked."""
    found = await client.own_devices.asking()
    yield {
        "kind": "linking",
        "request": found.request.hex(),
        "made_at": moment(found.made_at * 1000),
        "name": client.person.name,
        "establishment": client.person.establishment_name,
    }


async def approve(client: "Client", args: Arguments) -> Replies:
    """Link it, and wait for it to be added to the conversations."""
    found = Waiting(bytes.fromhex(args["request"]), 0)
    device = await client.own_devices.approve(found, args["code"], args["name"])
    yield {"kind": "linked", "device": device.hex(), "name": args["name"]}
    if not await client.own_devices.added(float(args["wait"])):
        text = _("It has not signed in yet; it is added to your conversations once it has.")
        yield {"kind": "notice", "text": text, "exit_code": EXIT_RELAY}


async def revoke(client: "Client", args: Arguments) -> Replies:
    """Declare a device of one's own lost or out of service."""
    device = await client.own_devices.find(args["device"])
    await client.own_devices.revoke(device, args["reason"])
    yield {
        "kind": "device-revoked",
        "device": device.device_id.hex(),
        "name": device.name,
        "reason": args["reason"],
    }


async def close(client: "Client", args: Arguments) -> Replies:
    """The end of the account."""
    await client.close_account(args["password"], args["code"])
    yield {"kind": "account-closed", "name": client.person.name}


WORK: Final[dict[str, Callable[["Client", Arguments], Replies]]] = {
    "account": own,
    "account-close": close,
    "devices": devices,
    "devices-asking": asking,
    "devices-approve": approve,
    "devices-revoke": revoke,
}


def own_device_reply(device: OwnDevice) -> Reply:
    """A device of one's own as JSON."""
    return {
        **device_reply(device.relay),
        "name": device.name,
        "this": device.this,
        "conversations": device.conversations,
    }


def device_reply(state: "DeviceState") -> Reply:
    """A device as the relay knows it, as JSON."""
    return {
        "kind": "device",
        "device": state.device.hex(),
        "created_at": moment(state.created),
        "last_seen_at": None if state.last_seen is None else moment(state.last_seen),
        "revoked_at": None if state.revoked is None else moment(state.revoked),
        "cloned": state.cloned,
    }


def moment(milliseconds: int) -> str:
    """A time as JSON carries it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
