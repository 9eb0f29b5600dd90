"""Several addresses under one name: one that is silent or gone costs a moment, and comes last next time."""

import asyncio
import ssl

import pytest
import trustme

from pli_client.connection import Connection, Disconnected
from pli_client.connection import route as route_module
from pli_client.connection.route import Endpoint, resolve
from pli_client.errors import UntrustedCertificate

from .relay import FakeRelay, Pause, Peer

LOCAL = "127.0.0.1"


class Name:
    """What the name of the test's relay means."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []

    async def resolve(self, _: object) -> list[Endpoint]:
        return list(self.endpoints)


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Name:
    made = Name()
    monkeypatch.setattr(route_module, "resolve", made.resolve)
    monkeypatch.setattr(route_module, "ANOTHER_TIMEOUT", 0.5)
    return made


async def greets(peer: Peer) -> None:
    await peer.welcome()
    await peer.until_closed()


class Mute:
    """Takes connections and says nothing, as the kernel does for a node that was stopped."""

    def __init__(self) -> None:
        self.connections = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.read()
        writer.close()


async def test_an_address_that_is_silent_is_left_for_the_next_one(name: Name) -> None:
    mute = Mute()
    server = await asyncio.start_server(mute.take, LOCAL, 0)
    async with server, FakeRelay(greets) as relay:
        name.endpoints = [server.sockets[0].getsockname()[:2], (LOCAL, relay.port)]
        async with Connection("ws://localhost:1", pause=Pause()) as connection:
            await connection.online(20)
        assert (mute.connections, relay.connections) == (1, 1)


async def test_the_address_that_was_used_last_comes_last(name: Name) -> None:
    async def ends(peer: Peer) -> None:
        await peer.welcome()

    served = asyncio.Event()

    async def serves(peer: Peer) -> None:
        served.set()
        await greets(peer)

    async with FakeRelay(ends) as first, FakeRelay(serves) as second:
        name.endpoints = [(LOCAL, first.port), (LOCAL, second.port)]
        pause = Pause()
        async with Connection("ws://localhost:1", pause=pause):
            async with asyncio.timeout(20):
                await pause.end()
                await served.wait()
        assert (first.connections, second.connections) == (1, 1)


async def test_when_all_fail_what_a_person_must_see_to_is_told(name: Name) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with FakeRelay(greets, tls=context) as relay:
        name.endpoints = [(LOCAL, relay.port), (LOCAL, 1)]
        pause, states = Pause(), list[object]()
        async with Connection("wss://localhost:1", pause=pause, on_state=states.append):
            await pause.asked.get()
    told = [state.error for state in states if isinstance(state, Disconnected)]
    assert isinstance(told[0], UntrustedCertificate)


async def test_a_name_has_its_addresses_once_each() -> None:
    from pli_client.connection import RelayAddress

    found = await resolve(RelayAddress.parse("ws://127.0.0.1:8440"))
    assert found == [(LOCAL, 8440)]
    assert (LOCAL, 80) in await resolve(RelayAddress.parse("ws://localhost"))
