"""A second establishment at the relay of a world, with two people; and the partnership of both."""

import asyncio
from typing import Final

from pli_client.enrolment import enrol
from pli_client.issuer import AUTHORITY_FILE, Issuer, Partnership, establish, open_authority
from pli_client.vault import Vault
from pli_protocol.identity import sign
from pli_server import folder as folders

from .world import AUTHORITY_PASSPHRASE, CHEAP, ESTABLISHMENT, PASSPHRASE, PATIENCE, World

NAME: Final = "SESSAD du Pont"
GUESTS: Final = {"gaston": "Gaston Petit", "helene": "Hélène Roy"}
BOT: Final = "Planning du Pont"
YEAR: Final = 365 * 86_400

THIRD: Final = "IME des Sources"
HOUSES: Final = {ESTABLISHMENT: "admin", NAME: "admin-pont", THIRD: "admin-sources"}
"""Establishment to the folder of its administrator's vault."""

STAFF: Final = {
    NAME: {**GUESTS, "planning": BOT},
    THIRD: {"ines": "Inès Faure", "namesake": "Bruno Leroy"},
}


async def settle_in(world: World, name: str = NAME) -> None:
    """Found the neighbours' establishment and enrol its people; the relay runs."""
    code = await asyncio.to_thread(folders.further_code, world.folder / "relay")
    folder = world.folder / HOUSES[name]
    await establish(
        folder,
        PASSPHRASE,
        AUTHORITY_PASSPHRASE,
        name=name,
        relay_url=world.url,
        code=code,
        kdf=CHEAP,
    )
    async with await Issuer.open(folder, PASSPHRASE) as issuer:
        serving = asyncio.create_task(issuer.serve())
        for who, person in STAFF[name].items():
            kind = "bot" if person == BOT else "person"
            invited = await issuer.invite(name=person, profession="Éducateur", kind=kind)  # type: ignore[arg-type]
            async with await Vault.create(world.vault(who), PASSPHRASE, kdf=CHEAP) as vault:
                await enrol(vault, invited.invitation, patience=PATIENCE)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def signs(world: World, who: str, about: str, until: float | None = None) -> Partnership:
    """One administrator signs that the other's establishment is a partner, as `pli admin` does."""
    async with await Issuer.open(world.folder / HOUSES[about], PASSPHRASE) as other:
        code = other.partners.code()
    folder = world.folder / HOUSES[who]
    async with await Issuer.open(folder, PASSPHRASE) as issuer:
        authority = await issuer.partners.look(code)
        end = int(until or issuer.partners.now + YEAR)
        statement = await issuer.partners.begin(authority, end)
        key, _own = open_authority(folder / AUTHORITY_FILE, AUTHORITY_PASSPHRASE)
        return await issuer.partners.publish(sign(statement, key), authority.certificate)


async def ends(world: World, who: str, about: str) -> Partnership:
    """One administrator ends the partnership."""
    folder = world.folder / HOUSES[who]
    async with await Issuer.open(folder, PASSPHRASE) as issuer:
        statement, certificate = await issuer.partners.end(about)
        key, _own = open_authority(folder / AUTHORITY_FILE, AUTHORITY_PASSPHRASE)
        return await issuer.partners.publish(sign(statement, key), certificate)


async def partners(world: World, one: str = ESTABLISHMENT, other: str = NAME) -> None:
    """Both sign."""
    assert (await signs(world, one, other)).state == "waiting"
    assert (await signs(world, other, one)).state == "open"
