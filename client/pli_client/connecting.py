"""Opening a vault with its engine, and joining an establishment in the first place."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pli_protocol.identity import Device
from pli_protocol.identity.password import COST, Cost
from pli_protocol.secret import Secret

from .client import Client
from .connection import Connection, ConnectionState
from .engine.engine import Engine
from .engine.errors import NotEnrolled
from .engine.timing import Timing
from .engine.work import Random
from .enrolment import Rejoined, enrol, parse_invitation
from .enrolment import rejoin as rejoin_with
from .errors import PliError
from .linking import link as link_device
from .linking.asking import Tell
from .store import device
from .vault import DEFAULT_KDF, Kdf, Vault, passphrase


def _secret(text: str | Secret) -> Secret:
    return text if isinstance(text, Secret) else passphrase(text)


@asynccontextmanager
async def connect(
    vault_folder: Path | str,
    passphrase: str | Secret,
    *,
    timing: Timing | None = None,
    random: Random = os.urandom,
    connection: Callable[..., Connection] = Connection,
) -> AsyncIterator[Client]:
    """Open a vault and keep its person connected for as long as the context lasts.

    What the vault holds can be read at once, without the relay.

    Raises:
        VaultError, WrongPassphrase. NotEnrolled: join first.
    """
    async with (
        await Vault.open(Path(vault_folder), _secret(passphrase)) as vault,
        _running(vault, timing, random, connection) as client,
    ):
        yield client


@asynccontextmanager
async def _running(
    vault: Vault,
    timing: Timing | None,
    random: Random,
    connection: Callable[..., Connection],
) -> AsyncIterator[Client]:
    clients: list[Client] = []

    def on_state(state: ConnectionState) -> None:
        for client in clients:
            client.state_changed(state)

    engine = await Engine.open(
        vault, timing=timing, random=random, on_state=on_state, connection=connection
    )
    if engine is None:
        raise NotEnrolled()
    client = Client(engine)
    clients.append(client)
    system = await vault.read(lambda db: device.read_meta(db, "record-system"))
    if system is not None:
        client.record_system = system.decode()
    async with engine:
        yield client


async def join(
    invitation: str,
    vault_folder: Path | str,
    passphrase: str | Secret,
    *,
    ca: str | None = None,
    proxy: str | bool | None = None,
    progress: Callable[[str], None] | None = None,
    patience: float | None = None,
    kdf: Kdf = DEFAULT_KDF,
    timing: Timing | None = None,
) -> Device:
    """Join an establishment: make a vault, have the issuer sign, sign in, publish key packages.

    Called again after a crash, or with the same folder, it goes on where it stopped.

    Args:
        patience: seconds to wait for the establishment's issuer; None: for ever.

    Raises:
        BadInvitation and what enrolment.enrol raises. VaultError.
    """
    code = parse_invitation(invitation)
    folder, secret = Path(vault_folder), _secret(passphrase)
    opening = Vault.open(folder, secret) if (folder / "vault.json").exists() else None
    vault = await (opening or Vault.create(folder, secret, kdf=kdf))
    async with vault:
        options: dict[str, Any] = {"ca": ca, "patience": patience}
        if progress is not None:
            options["progress"] = progress
        if proxy is not None:
            options["proxy"] = proxy
        joined = await enrol(vault, code, **options)
        async with _running(vault, timing, os.urandom, Connection) as client:
            with suppress(PliError):
                await client.online(30)
                await client.until(client.stocked, 30)
    return joined


async def rejoin(
    invitation: str,
    vault_folder: Path | str,
    passphrase: str | Secret,
    *,
    progress: Callable[[str], None] | None = None,
    patience: float | None = None,
    timing: Timing | None = None,
) -> Rejoined:
    """Give a vault's device a new identity for the same account, and sign in with it.

    The history stays; members add the person again to the conversations that are named.

    Raises:
        BadInvitation, NotYourAccount and what enrolment.rejoin raises. VaultError.
    """
    code = parse_invitation(invitation)
    async with await Vault.open(Path(vault_folder), _secret(passphrase)) as vault:
        options: dict[str, Any] = {"patience": patience}
        if progress is not None:
            options["progress"] = progress
        done = await rejoin_with(vault, code, **options)
        async with _running(vault, timing, os.urandom, Connection) as client:
            with suppress(PliError):
                await client.online(30)
                await client.until(client.stocked, 30)
    return done


async def link(
    address: str,
    vault_folder: Path | str,
    passphrase: str | Secret,
    password: str,
    code: str,
    *,
    ca: str | None = None,
    proxy: str | None = None,
    progress: Tell | None = None,
    kdf: Kdf = DEFAULT_KDF,
    cost: Cost = COST,
    timing: Timing | None = None,
) -> Device:
    """Make a vault that is a further device of an account; an enrolled device must approve it.

    Called again with the same folder after a crash, it takes up an answer that was given meanwhile.

    Args:
        address: as `Client.own_devices.address` has it.
        password: the account password. code: of the second factor, or a recovery code.
        progress: told of each step; with `asked` the code to be typed on the enrolled device.

    Raises:
        What linking.link raises. VaultError.
    """
    folder, secret = Path(vault_folder), _secret(passphrase)
    opening = Vault.open(folder, secret) if (folder / "vault.json").exists() else None
    vault = await (opening or Vault.create(folder, secret, kdf=kdf))
    async with vault:
        options: dict[str, Any] = {"ca": ca, "proxy": proxy, "cost": cost}
        if progress is not None:
            options["tell"] = progress
        linked = await link_device(vault, address, password, code, **options)
        async with _running(vault, timing, os.urandom, Connection) as client:
            with suppress(PliError):
                await client.online(30)
                await client.until(client.stocked, 30)
    return linked
