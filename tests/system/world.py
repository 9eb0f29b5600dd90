"""An establishment with its relay and enrolled people, each with a vault: the ground of whole-system tests.

Making one takes seconds, so it is made once per run (`template`) and copied for each test.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pli_client.engine.timing import Timing
from pli_client.enrolment import enrol
from pli_client.issuer import Issuer, establish
from pli_client.vault import Kdf, Vault
from pli_protocol.identity import Device
from pli_protocol.secret import Secret

from . import relay_process
from .actor import QUICK, Actor
from .relay_process import RelayProcess

PASSPHRASE: Final = Secret(b"la phrase des essais")
AUTHORITY_PASSPHRASE: Final = Secret(b"celle du coffre")
CHEAP: Final = Kdf(memory=8, passes=1, lanes=1)
"""Argon2id at a thousandth of its cost: tests open vaults often."""

ESTABLISHMENT: Final = "EHPAD Les Tilleuls"
PATIENCE: Final = 60.0
"""Seconds that anything may take before a test gives up; reliability.md allows the same to settle."""


@dataclass(frozen=True)
class Member:
    """Somebody of the establishment."""

    name: str
    profession: str
    kind: str = "person"


PEOPLE: Final = {
    "amelie": Member("Amélie Dupont", "Infirmière"),
    "bruno": Member("Bruno Leroy", "Aide-soignant"),
    "chloe": Member("Chloé Martin", "Psychologue"),
    "david": Member("David Morel", "Médecin coordonnateur"),
    "dui": Member("Dossier de soins", "DUI", "bot"),
}


class World:
    """A folder with a relay, an administrator's vault and people's vaults; what was opened in it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.relay = RelayProcess(folder / "relay", port)
        self.url = self.relay.url
        """What the vaults know. A proxy may stand there instead of the relay."""
        self._open = AsyncExitStack()

    def vault(self, who: str) -> Path:
        """The folder of somebody's vault."""
        return self.folder / who

    def vaults(self) -> dict[str, Path]:
        """The vaults of people that exist."""
        return {who: self.vault(who) for who in PEOPLE if (self.vault(who) / "vault.json").exists()}

    async def __aenter__(self) -> "World":
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._open.aclose()
        if self.relay.running:
            await self.relay.stop()

    # --- people -------------------------------------------------------------------------------

    async def open(self, who: str, timing: Timing = QUICK) -> Actor:
        """Somebody at work; closed with the world, or before."""
        actor = await Actor.open(self.vault(who), PASSPHRASE, timing)
        self._open.push_async_callback(actor.close)
        return actor

    async def found(self) -> None:
        """Register the establishment at the running relay."""
        await establish(
            self.folder / "admin",
            PASSPHRASE,
            AUTHORITY_PASSPHRASE,
            name=ESTABLISHMENT,
            relay_url=self.url,
            code=(self.folder / "code").read_text(),
            kdf=CHEAP,
        )

    @asynccontextmanager
    async def issuer(self) -> AsyncIterator[Issuer]:
        """The administrator's vault, answering requests while the block runs."""
        async with await Issuer.open(self.folder / "admin", PASSPHRASE) as issuer:
            serving = asyncio.create_task(issuer.serve())
            try:
                yield issuer
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

    async def enrol(self, issuer: Issuer, who: str) -> Device:
        """Invite somebody and join with the invitation."""
        member = PEOPLE[who]
        invited = await issuer.invite(
            name=member.name,
            profession=member.profession,
            kind=member.kind,  # type: ignore[arg-type]
        )
        async with await Vault.create(self.vault(who), PASSPHRASE, kdf=CHEAP) as vault:
            return await enrol(vault, invited.invitation, patience=PATIENCE)


def new(folder: Path, port: int) -> World:
    """A world with an initialised relay that does not run yet, and nobody."""
    folder.mkdir(parents=True)
    code = relay_process.init(folder / "relay")
    (folder / "code").write_text(code)
    return World(folder, port)


TITLE: Final = "Relève"
"""The conversation of Amélie and Bruno that every copied world has."""


async def make_template(folder: Path, port: int) -> None:
    """An establishment whose people are enrolled, everything stopped.

    Amélie, Bruno, Chloé and the bot have signed in before; David never has.
    """
    async with new(folder, port) as world:
        await world.relay.start()
        await world.found()
        async with world.issuer() as issuer:
            for who in PEOPLE:
                await world.enrol(issuer, who)
        async with asyncio.timeout(PATIENCE):
            amelie, bruno, *others = [
                await world.open(who) for who in ("amelie", "bruno", "chloe", "dui")
            ]
            for actor in (amelie, bruno, *others):
                await actor.ready()
            conversation = await amelie.start(TITLE, PEOPLE["bruno"].name)
            await amelie.stored(await amelie.send(conversation, "Bonjour à tous"))
            await bruno.received("Bonjour à tous")
            for actor in (amelie, bruno, *others):
                await actor.settled()
            for actor in (amelie, bruno, *others):
                await actor.close()


def copy(template: Path, folder: Path, port: int) -> World:
    """A world of one's own, with nothing running."""
    shutil.copytree(template, folder)
    return World(folder, port)
