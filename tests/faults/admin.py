"""The administrator that is killed: founding an establishment, inviting, revoking, serving."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from pli_client.issuer import EstablishmentExists, Issuer, RevocationsPublished

from ..system.actor import reconnect_quickly
from ..system.partnering import sign_a_partner
from ..system.world import PASSPHRASE, PEOPLE, World

INVITED: Final = "Élise Petit"


def run(folder: str, port: int) -> None:
    """The process."""
    reconnect_quickly()
    asyncio.run(work(World(Path(folder), port)))


async def work(world: World) -> None:
    """Found the establishment where there is none, invite, revoke; ends when the relay has the list."""
    with contextlib.suppress(EstablishmentExists):
        await world.found()
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
        await sign_a_partner(world, issuer)
        await issuer.invite(name=INVITED, profession="Éducatrice")
        if not (world.vault("chloe") / "vault.json").exists():
            return
        published = asyncio.Event()

        def report(event: object) -> None:
            if isinstance(event, RevocationsPublished):
                published.set()

        serving = asyncio.create_task(issuer.serve(report))
        account = (await issuer.find(PEOPLE["chloe"].name)).account
        await issuer.revoke(account, "left")
        await published.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
