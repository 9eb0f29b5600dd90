"""The demonstration's people: each a client with a vault of its own, in this process."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pli_protocol.secret import Secret

from ..client import Client
from ..connecting import connect, join
from ..conversation import Conversation
from ..engine.timing import Timing
from ..issuer import Issuer, establish
from ..message import StoredMessage
from ..vault import passphrase
from .scenario import Scenario

BOT: Final = "dui"
PASSPHRASE_FILE: Final = "passphrase.txt"


@dataclass(slots=True)
class Player:
    """A person, or the bot, of the demonstration."""

    key: str
    name: str
    client: Client
    folder: Path

    async def conversation(self, identifier: bytes) -> Conversation:
        return await self.client.conversation(identifier)


@dataclass(slots=True)
class Team:
    """Everybody, by key, and what the scenario's keys mean on the real parts."""

    players: dict[str, Player]
    conversations: dict[str, bytes] = field(default_factory=dict)
    messages: dict[str, bytes] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Player:
        return self.players[key]

    @property
    def people(self) -> list[Player]:
        return [player for player in self.players.values() if player.key != BOT]

    async def message(self, who: str, key: str) -> StoredMessage:
        """A message of the scenario as this person's vault has it, once it is there."""
        client = self[who].client

        async def look() -> StoredMessage | None:
            return await client.message(self.messages[key])

        return await client.until(look, PATIENCE)


PATIENCE: Final = 30.0
"""Seconds after which a step of the demonstration has failed."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the demonstration keeps what."""

    root: Path

    @property
    def relay(self) -> Path:
        return self.root / "relay"

    @property
    def establishment(self) -> Path:
        return self.root / "establishment"

    @property
    def outbox(self) -> Path:
        return self.root / "dui-outbox"

    @property
    def passphrase_file(self) -> Path:
        return self.root / PASSPHRASE_FILE

    def vault(self, key: str) -> Path:
        return self.root / "vaults" / key


def new_passphrase(folders: Folders) -> Secret:
    """One random passphrase for all vaults of the demonstration, in a file for who goes on by hand."""
    text = secrets.token_hex(12)
    folders.passphrase_file.touch(mode=0o600)
    folders.passphrase_file.write_text(text + "\n", encoding="ascii")
    return passphrase(text)


async def found(
    scenario: Scenario, folders: Folders, url: str, code: str, secret: Secret
) -> Issuer:
    """The establishment, and its issuer ready to serve."""
    authority_passphrase = passphrase(secrets.token_hex(12))
    await establish(
        folders.establishment,
        secret,
        authority_passphrase,
        name=scenario.establishment,
        relay_url=url,
        code=code,
    )
    return await Issuer.open(folders.establishment, secret)


def _quiet(_step: str) -> None:
    """Nobody watches the steps of joining here."""


async def enrol_all(scenario: Scenario, folders: Folders, issuer: Issuer, secret: Secret) -> None:
    """Invite everybody and join, one after the other."""
    bot = await issuer.invite(name=scenario.bot.name, profession="DUI", kind="bot")
    await join(
        bot.invitation.text(), folders.vault(BOT), secret, patience=PATIENCE, progress=_quiet
    )
    for person in scenario.people:
        invited = await issuer.invite(
            name=person.name, profession=person.profession, rpps=person.rpps
        )
        code = invited.invitation.text()
        await join(code, folders.vault(person.key), secret, patience=PATIENCE, progress=_quiet)


@asynccontextmanager
async def at_work(
    scenario: Scenario, folders: Folders, secret: Secret, timing: Timing | None = None
) -> AsyncIterator[Team]:
    """Everybody with an open vault, connected."""
    names = {person.key: person.name for person in scenario.people} | {BOT: scenario.bot.name}
    async with AsyncExitStack() as stack:
        players = {}
        for key, name in names.items():
            client = await stack.enter_async_context(
                connect(folders.vault(key), secret, timing=timing)
            )
            players[key] = Player(key, name, client, folders.vault(key))
        for player in players.values():
            await player.client.online(PATIENCE)
        yield Team(players)
