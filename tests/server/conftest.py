"""A real relay in this process, on loopback, and an establishment on it."""

import asyncio
import functools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pli_protocol.relay import frames as f
from pli_server import folder as folders
from pli_server.listener import Listener
from pli_server.relay import Relay, now_ms
from pli_server.settings import Limits, Settings, load
from pli_server.settings_file import template

from .people import TestDevice, TestEstablishment
from .raw_client import RawClient


class Server:
    """A relay that runs in this process."""

    def __init__(self, folder: Path, code: str, **settings: Any) -> None:
        self.folder = folder
        self.code = code
        self.options = settings
        self.clock: Callable[[], int] = now_ms
        self.relay: Relay
        self.url: str
        self._listener: Listener
        self._clients: list[RawClient] = []

    async def start(self) -> None:
        settings: Settings = msgspec.structs.replace(
            load(self.folder), listen="127.0.0.1:0", **self.options
        )
        self.relay = Relay(self.folder, settings, clock=lambda: self.clock())
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

    def _kept(self, client: RawClient) -> RawClient:
        self._clients.append(client)
        return client


@functools.cache
def _template() -> "tuple[tempfile.TemporaryDirectory[str], str]":
    """A relay's folder as `init` makes it, made once: a schema takes longer than most tests."""
    made = tempfile.TemporaryDirectory(prefix="pli-template-")
    code = folders.make(Path(made.name) / "relay", template("relay.test", "127.0.0.1:0"))
    return made, code


def new_folder(folder: Path) -> str:
    """A copy of it, with its first code."""
    made, code = _template()
    shutil.copytree(Path(made.name) / "relay", folder)
    return code


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Server]:
    """A new relay in a folder."""
    code = new_folder(folder)
    server = Server(folder, code, **settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path / "relay") as made:
        yield made


@pytest.fixture
async def limited(
    tmp_path: Path,
) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """A maker of a relay with other limits."""
    stack: list[Server] = []

    async def make(**limits: Any) -> Server:
        folder = tmp_path / "limited"
        code = new_folder(folder)
        made = Server(folder, code, limits=Limits(**limits))
        await made.start()
        stack.append(made)
        return made

    yield make
    for made in stack:
        await made.stop()


@pytest.fixture
async def home(server: Server) -> TestEstablishment:
    """An establishment that the relay knows."""
    establishment = TestEstablishment()
    await server.establish(establishment, server.code)
    return establishment
