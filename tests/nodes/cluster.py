"""Two `pli-server` processes on one PostgreSQL database and one NATS server, and people with vaults.

The relay's name has both nodes' addresses; `near` says which of them is tried first from then on.
"""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import asyncpg

from pli_client.connection.route import Endpoint
from pli_server import folder as folders
from pli_server.settings_file import template
from pli_server.storage.url import DatabaseURL
from tests.server.databases import drop_database, new_database, run_elsewhere
from tests.system.actor import Actor
from tests.system.relay_process import HOST, RelayProcess, free_port
from tests.system.world import PATIENCE, PEOPLE, World

from .nats_server import NatsServer

TITLE = "Relève"


class NodeProcess(RelayProcess):
    """One node. What the checker reads comes from the database that it shares."""

    def __init__(self, folder: Path, port: int, database: str) -> None:
        super().__init__(folder, port)
        self.database = database

    def stop_still(self) -> None:
        """SIGSTOP: its connections stay, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        for number in range(1, len(values) + 1):
            sql = sql.replace("?", f"${number}", 1)

        async def ask() -> list[tuple[object, ...]]:
            connection = await asyncpg.connect(self.database)
            try:
                return [tuple(row) for row in await connection.fetch(sql, *values)]
            finally:
                await connection.close()

        return run_elsewhere(ask())


class Cluster(World):
    """A world on two nodes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder, free_port())
        self.database = new_database()
        self.nats = NatsServer(folder / "nats.log")
        self.relay = NodeProcess(folder / "relay", self.relay.port, self.database)
        self.second = NodeProcess(folder / "second", free_port(), self.database)
        self.order: list[NodeProcess] = [self.relay, self.second]

    async def resolve(self, _: object) -> list[Endpoint]:
        """What the relay's name means (`route.resolve`)."""
        return [(HOST, node.port) for node in self.order]

    def near(self, node: NodeProcess) -> None:
        self.order.sort(key=lambda each: each is not node)

    async def start(self) -> None:
        """Both nodes, joined by NATS."""
        self.nats.start()
        text = template(HOST, f"{HOST}:0", database_url=self.database)
        text = text.replace('# url = "nats://127.0.0.1:4222"', f'url = "{self.nats.url}"')
        url = DatabaseURL(self.database)
        code = await asyncio.to_thread(folders.make, self.relay.folder, text, url)
        (self.folder / "code").write_text(code)
        await self.relay.start()
        shutil.copytree(self.relay.folder, self.second.folder)
        await self.second.start()

    async def people(self, **where: NodeProcess) -> dict[str, Actor]:
        """Enrol them and open each one's vault, near a node."""
        await self.found()
        async with self.issuer() as issuer:
            for who in where:
                await self.enrol(issuer, who)
        found = {}
        for who, node in where.items():
            self.near(node)
            found[who] = await self.open(who)
            await found[who].ready()
        return found

    async def team(self, people: dict[str, Actor]) -> bytes:
        """A conversation of all of them, which everybody has."""
        first, *others = people
        made = await people[first].start(TITLE, *(PEOPLE[who].name for who in others))
        for who in others:
            assert await people[who].conversation(TITLE) == made
        return made

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__(*error)
        if self.second.running:
            await self.second.stop()
        self.nats.kill()
        await asyncio.to_thread(drop_database, self.database)


async def settled(people: dict[str, Actor]) -> None:
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            for actor in people.values():
                await actor.settled()
