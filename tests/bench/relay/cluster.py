"""Several nodes on one PostgreSQL and one NATS server, each a process of its own on loopback."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.nodes.nats_server import NatsServer
from tests.server.postgresql_server import PostgreSQLServer
from tests.server.processes import RelayProcess, make_folder


@dataclass(frozen=True)
class Cluster:
    """The nodes' processes, the database's address, and the code of `init`."""

    nodes: list[RelayProcess]
    database: str
    code: str

    async def send_ids(self) -> set[bytes]:
        """Of all rows that are stored."""
        connection = await asyncpg.connect(self.database)
        try:
            return {row[0] for row in await connection.fetch("SELECT send_id FROM rows")}
        finally:
            await connection.close()


@asynccontextmanager
async def running(folder: Path, count: int, options: Sequence[str]) -> AsyncIterator[Cluster]:
    """`count` nodes; everything is stopped and removed at the end."""
    with ExitStack() as stack:
        postgresql = PostgreSQLServer()
        stack.callback(postgresql.remove)
        nats = NatsServer(folder / "nats.log")
        nats.start()
        stack.callback(nats.kill)
        stack.enter_context(environment(PLI_DATABASE_URL=postgresql.url, PLI_BUS_URL=nats.url))
        first = folder / "relay"
        code = await asyncio.to_thread(make_folder, first, *options)
        nodes: list[RelayProcess] = []
        for number in range(count):
            own = folder / f"node-{number}"
            shutil.copytree(first, own)
            nodes.append(await asyncio.to_thread(RelayProcess.start, own))
            stack.callback(_stop, nodes[-1])
        yield Cluster(nodes, postgresql.url, code)


def _stop(node: RelayProcess) -> None:
    if node.process.poll() is None:
        node.stop()


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
