"""The bus over a real nats-server: found again, of one cluster, silent about its password."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pli_server.nodes.nats_bus import NatsBus
from pli_server.settings import Bus

from .nats_server import NatsServer

pytestmark = pytest.mark.needs_nats

PATIENCE = 20


class End:
    """One node's end of the bus."""

    def __init__(self, url: str, cluster: str = "c1") -> None:
        self.bus = NatsBus(Bus(url=url), cluster)
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.back: asyncio.Queue[None] = asyncio.Queue()
        self.bus.start(self.heard.put_nowait, lambda: self.back.put_nowait(None))

    async def connected(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.back.get()

    async def hears(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.heard.get()


class Told(logging.Handler):
    """An event for the line that says that the bus is down."""

    def __init__(self) -> None:
        super().__init__()
        self.down = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "the bus is down" in record.getMessage():
            self.down.set()


@pytest.fixture
async def ends() -> AsyncIterator[Callable[..., End]]:
    made: list[End] = []

    def end(url: str, cluster: str = "c1") -> End:
        made.append(End(url, cluster))
        return made[-1]

    yield end
    for each in made:
        await each.bus.close()


@pytest.fixture
def server(tmp_path: Path) -> "Callable[..., NatsServer]":
    def make(*options: str) -> NatsServer:
        return NatsServer(tmp_path / "nats.log", *options)

    return make


async def test_the_others_hear_and_a_node_does_not_hear_itself_nor_another_cluster(
    server: Callable[..., NatsServer], ends: Callable[..., End]
) -> None:
    nats = server()
    nats.start()
    a, b, other = ends(nats.url), ends(nats.url), ends(nats.url, "c2")
    for end in (a, b, other):
        await end.connected()
    a.bus.say(b"one")
    b.bus.say(b"two")
    assert (await b.hears(), await a.hears()) == (b"one", b"two")
    other.bus.say(b"three")
    a.bus.say(b"four")
    assert await b.hears() == b"four"
    assert a.heard.empty()
    assert other.heard.empty()
    nats.kill()


async def test_a_server_that_comes_late_and_one_that_is_killed_are_found_again(
    server: Callable[..., NatsServer], ends: Callable[..., End]
) -> None:
    nats = server()
    a, b = ends(nats.url), ends(nats.url)
    a.bus.say(b"to nobody")
    assert not a.bus.up
    nats.start()
    for _ in range(2):
        await a.connected()
        await b.connected()
        assert a.bus.up
        a.bus.say(b"again")
        assert await b.hears() == b"again"
        nats.kill()
        nats.start()
    nats.kill()


async def test_a_password_stands_in_no_log_and_no_representation(
    server: Callable[..., NatsServer], ends: Callable[..., End], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    nats = server("--user", "pli", "--pass", "right-password")
    nats.start()
    right = nats.url.replace("://", "://pli:right-password@")
    wrong = nats.url.replace("://", "://pli:wrong-password@")
    a, b = ends(right), ends(right)
    await a.connected()
    await b.connected()
    told = Told()
    logging.getLogger("pli_server.nodes.nats_bus").addHandler(told)
    refused = ends(wrong)
    b.bus.say(b"hello")
    assert await a.hears() == b"hello"
    async with asyncio.timeout(PATIENCE):
        await told.down.wait()
    assert not refused.bus.up
    nats.kill()
    for word in ("right-password", "wrong-password"):
        assert word not in caplog.text
        assert word not in repr(Bus(url=right))
