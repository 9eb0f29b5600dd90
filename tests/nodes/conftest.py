"""Two nodes in this process on one PostgreSQL database, joined by a bus of the test's choice."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from pli_server.settings import Bus
from tests.server.conftest import Server
from tests.server.databases import POSTGRESQL, drop_folder, new_folder
from tests.server.people import TestEstablishment

from .nats_server import NatsServer
from .wires import Wire, Wires

NATS, NONE = "nats", "none"


class Nodes:
    """The nodes of one database."""

    def __init__(self, a: Server, b: Server) -> None:
        self.a = a
        self.b = b

    async def start(self) -> None:
        await self.a.start()
        if not self.b.folder.exists():
            # The keys in the folder are the same on every node.
            shutil.copytree(self.a.folder, self.b.folder)
        await self.b.start()

    async def stop(self) -> None:
        for node in (self.a, self.b):
            await node.stop()


def two(tmp_path: Path, **settings: object) -> Nodes:
    code = new_folder(tmp_path / "a", POSTGRESQL)
    return Nodes(Server(tmp_path / "a", code, **settings), Server(tmp_path / "b", code, **settings))


async def joined(nodes: Nodes) -> None:
    """Until both hear each other."""
    async with asyncio.timeout(20):
        for node in (nodes.a, nodes.b):
            assert node.relay.follower is not None
            await node.relay.follower.joined.wait()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    made = NatsServer(tmp_path / "nats.log")
    made.start()
    yield made
    made.kill()


@pytest.fixture(
    params=[pytest.param(NATS, marks=pytest.mark.needs_nats), NONE],
)
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Nodes]:
    """Joined by NATS, or by nothing but the database."""
    if request.param == NATS:
        nats: NatsServer = request.getfixturevalue("nats_server")
        made = two(tmp_path, bus=Bus(url=nats.url))
    else:
        made = two(tmp_path)
    await made.start()
    if request.param == NATS:
        await joined(made)
    yield made
    await made.stop()
    drop_folder(made.a.folder)


@pytest.fixture
async def wired(tmp_path: Path) -> AsyncIterator[Callable[[Callable[[Wire], None]], "Nodes"]]:
    """A maker of two nodes whose hints the test carries."""
    made: list[Nodes] = []

    async def make(carry: Callable[[Wire], None]) -> Nodes:
        wires = Wires(carry)
        nodes = two(tmp_path)
        nodes.a.bus, nodes.b.bus = wires.end(), wires.end()
        await nodes.start()
        made.append(nodes)
        return nodes

    yield make
    for each in made:
        await each.stop()
        drop_folder(each.a.folder)


@pytest.fixture
async def home(nodes: Nodes) -> TestEstablishment:
    """An establishment that was opened at the first node."""
    establishment = TestEstablishment()
    await nodes.a.establish(establishment, nodes.a.code)
    return establishment
