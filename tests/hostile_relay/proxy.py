"""A relay of ill will: a proxy before the honest one that decodes every frame and may change it.

It stands at the address that the vaults know; the honest relay runs on another port behind it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from pli_protocol.relay.codec import decode_client_frame, decode_relay_frame, encode
from pli_protocol.relay.frames import ClientFrame, RelayFrame

from ..system.relay_process import HOST, free_port
from ..system.world import World

Change = Callable[[RelayFrame], Iterable[RelayFrame]]
"""What a client gets for a frame of the relay."""


class HostileRelay:
    """`change` may be set at any time; it sees every frame to every client, in order."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._links: set[asyncio.Task[None]] = set()
        self._clients: set[ServerConnection] = set()
        self.change: Change = _nothing
        self.asked: list[ClientFrame] = []
        """What clients sent."""
        self._news = asyncio.Event()

    async def until(self, look: Callable[[], bool]) -> None:
        """Wait until what clients sent is as wanted."""
        while not look():
            self._news.clear()
            await self._news.wait()

    async def cut(self) -> None:
        """Drop every connection without a word."""
        for client in tuple(self._clients):
            client.transport.abort()

    async def serve(self, client: ServerConnection) -> None:
        self._clients.add(client)
        try:
            async with connect(self._upstream, compression=None, proxy=None) as relay:
                both = asyncio.gather(self._to_relay(client, relay), self._to_client(client, relay))
                with suppress(ConnectionClosed):
                    await both
                both.cancel()
                with suppress(ConnectionClosed, asyncio.CancelledError):
                    await both
        finally:
            self._clients.discard(client)

    async def _to_relay(self, client: ServerConnection, relay: ClientConnection) -> None:
        async for data in client:
            assert isinstance(data, bytes)
            self.asked.append(decode_client_frame(data))
            self._news.set()
            await relay.send(data)
        await relay.close()

    async def _to_client(self, client: ServerConnection, relay: ClientConnection) -> None:
        async for data in relay:
            assert isinstance(data, bytes)
            for frame in self.change(decode_relay_frame(data)):
                await client.send(encode(frame))
        await client.close()


def _nothing(frame: RelayFrame) -> Iterable[RelayFrame]:
    return (frame,)


@asynccontextmanager
async def hostile_relay(world: World) -> AsyncIterator[HostileRelay]:
    """Start the world's relay behind a proxy that the vaults take for it."""
    public, world.relay.port = world.relay.port, free_port()
    await world.relay.start()
    proxy = HostileRelay(world.relay.url)
    async with serve(proxy.serve, HOST, public, compression=None, ping_interval=None):
        yield proxy
