"""Founding an establishment: its authority, its issuer, its registration at a relay.

Each step is durable before the next, and repeating the command goes on where it stopped: the
authority file is written first, then the issuer's vault, then the relay is asked.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pli_protocol.identity import (
    Authority,
    EnrolmentKey,
    InvitationError,
    SigningKey,
    make_authority,
    make_issuer,
    sign,
    verify_authority,
)
from pli_protocol.identity.enrolment import ReplyKey
from pli_protocol.identity.invitation import check_relay
from pli_protocol.relay.frames import GetEstablishment, RegisterEstablishment
from pli_protocol.relay.log import registration_challenge
from pli_protocol.secret import Secret

from ..connection import Connection
from ..errors import InvalidInput, RelayRefused
from ..i18n import _
from ..vault import DEFAULT_KDF, Kdf, Vault, transaction
from ..vault.header import HEADER_FILE
from ..vault.private_files import make_private_folder
from . import tables
from .authority_file import AUTHORITY_FILE, open_authority, seal_authority
from .errors import EstablishmentExists, NotAnIssuer, RegistrationRefused
from .tables import IssuerKeys

FOUND = transaction("establish")
REGISTERED = transaction("establishment-registered")

PATIENCE = 30.0
"""Seconds to wait for the relay before giving up."""


@dataclass(frozen=True, slots=True)
class Established:
    """An establishment that its relay knows."""

    authority: Authority
    authority_file: Path
    relay_url: str


async def establish(
    folder: Path,
    passphrase: Secret,
    authority_passphrase: Secret,
    *,
    name: str,
    relay_url: str,
    code: str,
    relay_name: str | None = None,
    ca: str | None = None,
    proxy: str | None = None,
    authority_file: Path | None = None,
    kdf: Kdf = DEFAULT_KDF,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
) -> Established:
    """Found an establishment and register it with the relay's one-time code.

    Args:
        folder: Of the administrator's vault; made if it is missing.
        authority_passphrase: Seals the authority file, another than the vault's.
        ca: The only certificate authorities trusted for TLS, PEM text.
        proxy: A proxy's URL; None: as the environment says.
        authority_file: Default: authority.json in `folder`.

    Raises:
        InvalidInput: the name, or the relay's address.
        EstablishmentExists: this vault's establishment is registered already.
        RegistrationRefused: the relay refuses the code; everything is kept to try another.
        VaultError, Offline, WrongPassphrase…
    """
    _check(name, relay_url)
    file = authority_file or folder / AUTHORITY_FILE
    vault = await _vault(folder, passphrase, kdf, random)
    async with vault:
        keys = await vault.read(tables.read_issuer)
        if keys is not None and (keys.registered or keys.authority.name != name):
            raise EstablishmentExists(folder=folder, name=keys.authority.name)
        if keys is None:
            root = await asyncio.to_thread(
                _authority, file, name, authority_passphrase, kdf, random, int(clock())
            )
            keys = _issuer_keys(root, relay_url, relay_name, ca, proxy, random, int(clock()))
            new = keys
            await vault.write(
                lambda db: tables.insert_issuer(db, new, int(clock() * 1000)), name=FOUND
            )
        else:
            await vault.write(lambda db: tables.set_relay(db, relay_url, relay_name, ca, proxy))
        await _register(keys, relay_url, relay_name, ca, proxy, code)
        await vault.write(tables.set_registered, name=REGISTERED)
    return Established(keys.authority, file, relay_url)


def _check(name: str, relay_url: str) -> None:
    if not 1 <= len(name) <= 64 or not name.isprintable() or name != name.strip():
        raise InvalidInput(_("an establishment's name has 1 to 64 characters"))
    try:
        check_relay(relay_url)
    except InvitationError:
        raise InvalidInput(_("a relay's address begins with wss://")) from None


async def _vault(
    folder: Path, passphrase: Secret, kdf: Kdf, random: Callable[[int], bytes]
) -> Vault:
    """The administrator's vault: a new one, or one whose founding was cut short."""
    if not (folder / HEADER_FILE).exists():
        return await Vault.create(folder, passphrase, kind="issuer", kdf=kdf, random=random)
    vault = await Vault.open(folder, passphrase)
    if vault.kind != "issuer":
        await vault.close()
        raise NotAnIssuer(folder=folder)
    return vault


def _authority(
    file: Path,
    name: str,
    passphrase: Secret,
    kdf: Kdf,
    random: Callable[[int], bytes],
    now: int,
) -> tuple[SigningKey, Authority]:
    """A new root, sealed in its file; or the one that a founding cut short left there."""
    if file.exists():
        key, authority = open_authority(file, passphrase)
        if authority.name != name:
            raise EstablishmentExists(folder=file.parent, name=authority.name)
        return key, authority
    key = SigningKey.generate(random)
    certificate = make_authority(name, key, now)
    make_private_folder(file.parent)
    seal_authority(file, key, certificate, passphrase, kdf=kdf, random=random)
    return key, verify_authority(certificate)


def _issuer_keys(
    root: tuple[SigningKey, Authority],
    relay_url: str,
    relay_name: str | None,
    ca: str | None,
    proxy: str | None,
    random: Callable[[int], bytes],
    now: int,
) -> IssuerKeys:
    root_key, authority = root
    key, enrolment = SigningKey.generate(random), ReplyKey.generate(random)
    certificate = make_issuer(root_key, authority.certificate, key.public, now=now)
    statement = sign(
        EnrolmentKey(authority.establishment, enrolment.public, now), key, (certificate,)
    )
    return IssuerKeys(
        authority, relay_url, relay_name, ca, proxy, certificate, key, enrolment, statement, False
    )


async def _register(
    keys: IssuerKeys,
    relay_url: str,
    relay_name: str | None,
    ca: str | None,
    proxy: str | None,
    code: str,
) -> None:
    way = Connection(
        relay_url, relay_name=relay_name, ca=ca, proxy=True if proxy is None else proxy
    )
    async with way as relay:
        greeting = (await relay.online(PATIENCE)).greeting
        challenge = registration_challenge(greeting.relay, greeting.challenge, code)
        request = RegisterEstablishment(
            0,
            code,
            keys.authority.certificate,
            keys.certificate,
            keys.enrolment_statement,
            keys.key.sign(challenge),
        )
        try:
            await relay.request(request)
        except RelayRefused as refused:
            # An answer may have been lost on its way: what counts is what the relay holds.
            if not await _is_registered(relay, keys):
                raise RegistrationRefused(refusal=refused.refusal) from None


async def _is_registered(relay: Connection, keys: IssuerKeys) -> bool:
    try:
        held = await relay.request(GetEstablishment(0, keys.authority.establishment))
    except RelayRefused:
        return False
    return keys.certificate in held.issuers
