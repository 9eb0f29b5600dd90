"""A real relay in this process, on loopback, and an establishment on it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import sqlalchemy as sa

from pli_protocol.relay import frames as f
from pli_server import folder as folders
from pli_server.listener import Listener
from pli_server.nodes.bus import Bus
from pli_server.relay import Relay, now_ms
from pli_server.settings import Limits, Settings, load
from pli_server.storage import tables as t
from pli_server.storage.database import Database, Use, open_database
from pli_server.storage.transaction import Transaction
from pli_server.storage.url import DatabaseURL

from .databases import (
    ENGINES,
    POSTGRESQL,
    SQLITE,
    ask,
    drop_database,
    drop_folder,
    forget_templates,
    new_database,
    new_folder,
)
from .people import TestDevice, TestEstablishment, TestPerson
from .raw_client import RawClient

T = TypeVar("T")


def pytest_sessionfinish() -> None:
    forget_templates()


class Server:
    """A relay that runs in this process."""

    def __init__(self, folder: Path, code: str, **settings: Any) -> None:
        self.folder = folder
        self.code = code
        self.options = settings
        self.clock: Callable[[], int] = now_ms
        self.bus: Bus | None = None
        self.relay: Relay
        self.url: str
        self._listener: Listener
        self._clients: list[RawClient] = []

    async def start(self) -> None:
        settings: Settings = msgspec.structs.replace(
            load(self.folder), listen="127.0.0.1:0", **self.options
        )
        self.relay = Relay(self.folder, settings, clock=lambda: self.clock(), bus=self.bus)
        await self.relay.start()
        self._listener = Listener(self.relay)
        self.url = await self._listener.start()

    async def stop(self) -> None:
        for client in self._clients:
            await client.close()
        self._clients.clear()
        await self._listener.stop()
        await self.relay.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def open(self) -> RawClient:
        return self._kept(await RawClient.open(self.url))

    async def signed(self, device: TestDevice, token: bytes | None = None) -> RawClient:
        return self._kept(await RawClient.signed(self.url, device, token))

    async def further_device(self, person: TestPerson) -> TestDevice:
        """One more device of a person, which a device of theirs has approved."""
        device = person.device()
        await self.relay.writer.do("sweep", partial(_approve, person.account, device.id))
        return device

    async def issuer(self, establishment: TestEstablishment) -> RawClient:
        client = await self.open()
        await client.sign_in_issuer(establishment)
        return client

    async def establish(self, establishment: TestEstablishment, code: str | None = None) -> None:
        client = await self.open()
        code = code or await asyncio.to_thread(folders.further_code, self.folder)
        await client.register(establishment, code)
        await client.close()

    async def publishes(
        self, establishment: TestEstablishment, partner: TestEstablishment, **dates: int
    ) -> None:
        """The one's authority has signed that the other is a partner; its issuer says so."""
        client = await self.issuer(establishment)
        statement = establishment.trusts(partner, **dates)
        await client.ask(f.PublishPartner(client.rid(), statement, partner.authority))
        await client.close()

    async def partners(self, one: TestEstablishment, other: TestEstablishment) -> None:
        """Both have signed."""
        await self.publishes(one, other)
        await self.publishes(other, one)

    def read(self, function: Callable[[sa.Connection], T]) -> T:
        """What its database holds now."""
        return ask(self.relay.database, Use.READING, function)

    def change(self, statement: str) -> None:
        """What no request could do."""
        ask(self.relay.database, Use.CHANGING, lambda db: db.execute(sa.text(statement)))

    def _kept(self, client: RawClient) -> RawClient:
        self._clients.append(client)
        return client


def _approve(account: bytes, device: bytes, tx: Transaction) -> None:
    number = sa.select(t.accounts.c.no).where(t.accounts.c.account == account)
    tx.connection.execute(
        sa.insert(t.linkings).values(
            request_id=os.urandom(16),
            account_no=tx.connection.scalar(number),
            device_id=device,
            created=tx.now,
            answered=tx.now,
        )
    )


@asynccontextmanager
async def running(folder: Path, engine: str = SQLITE, **settings: Any) -> AsyncIterator[Server]:
    """A new relay in a folder."""
    code = new_folder(folder, engine)
    server = Server(folder, code, **settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        drop_folder(folder)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each of the databases that a relay can stand on."""
    return str(request.param)


@pytest.fixture
def store(engine: str, tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    url = new_database() if engine == POSTGRESQL else None
    yield open_database(tmp_path, None if url is None else DatabaseURL(url))
    if url is not None:
        drop_database(url)


@pytest.fixture
async def server(tmp_path: Path, engine: str) -> AsyncIterator[Server]:
    async with running(tmp_path / "relay", engine) as made:
        yield made


@pytest.fixture
async def limited(
    tmp_path: Path,
    engine: str,
) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """A maker of a relay with other limits."""
    stack: list[Server] = []

    async def make(**limits: Any) -> Server:
        folder = tmp_path / "limited"
        code = new_folder(folder, engine)
        made = Server(folder, code, limits=Limits(**limits))
        await made.start()
        stack.append(made)
        return made

    yield make
    for made in stack:
        await made.stop()
        drop_folder(made.folder)


@pytest.fixture
async def home(server: Server) -> TestEstablishment:
    """An establishment that the relay knows."""
    establishment = TestEstablishment()
    await server.establish(establishment, server.code)
    return establishment
