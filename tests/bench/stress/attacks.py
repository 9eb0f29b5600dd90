"""The attacks. Each comes from many addresses of loopback, so that limits per address do not end it."""

import asyncio
import contextlib
import itertools
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import FrameError, decode_client_frame
from tests.server.people import TestDevice, commit, mls
from tests.server.raw_client import RawClient

from .mutations import mutated

ADDRESSES = 64
"""Sources 127.0.1.1 and on: Linux has the whole of 127.0.0.0/8."""
FRAMES_PER_CONNECTION = 50
ENDS = (OSError, EOFError, WebSocketException, ConnectionClosed, TimeoutError)


def sources() -> Iterator[tuple[str, int]]:
    """Addresses to connect from, in turn."""
    for number in itertools.count():
        yield f"127.0.1.{1 + number % ADDRESSES}", 0


async def slow_connections(url: str, count: int, seconds: float, between: float = 10.0) -> None:
    """Keep this many connections open that send one byte every ten seconds, as long as they live."""
    host, port = _place(url)
    until, ways = time.monotonic() + seconds, sources()

    async def one(way: tuple[str, int]) -> None:
        while time.monotonic() < until:
            with contextlib.suppress(*ENDS):
                reader, writer = await asyncio.open_connection(host, port, local_addr=way)
                try:
                    for byte in b"GET / HTTP/1.1\r\nHost: relay.example\r\n" * 100:
                        writer.write(bytes((byte,)))
                        left = until - time.monotonic()
                        async with asyncio.timeout(max(0.0, min(between, left))):
                            await reader.read()
                            break
                except TimeoutError:
                    continue
                finally:
                    writer.transport.abort()

    await asyncio.gather(*(one(next(ways)) for _ in range(count)))


async def mutated_frames(url: str, count: int, seed: int, device: TestDevice | None) -> None:
    """Send damaged frames, each of which the relay looks at; signed in where there is a device."""
    damaged, ways = itertools.islice(mutated(seed), count), sources()
    token: bytes | None = None
    data = next(damaged, None)
    while data is not None:
        with contextlib.suppress(*ENDS):
            async with await _opened(url, next(ways), device, token) as client:
                token = client.signed_in.token if device is not None else None
                await client.release()
                for _ in range(FRAMES_PER_CONNECTION):
                    sent, data = data, next(damaged, None)
                    if not await _survives(client.ws, sent) or data is None:
                        break


async def parallel_sign_ins(url: str, devices: list[TestDevice], rounds: int) -> None:
    """All devices sign in at once, again and again."""
    tokens: dict[bytes, bytes] = {}
    ways = sources()

    async def one(device: TestDevice) -> None:
        client = await _opened(url, next(ways), device, tokens.get(device.id))
        tokens[device.id] = client.signed_in.token
        await client.close()

    for _ in range(rounds):
        await asyncio.gather(*(one(device) for device in devices))


async def slow_reader(url: str, sender: TestDevice, reader: TestDevice, messages: int) -> None:
    """A device that reads a byte a second, while its room gets this many messages."""
    throttled = asyncio.Event()
    async with _throttling(url, throttled) as slow_url:
        slow = await RawClient.signed(slow_url, reader)
        client = await RawClient.signed(url, sender)
        group = os.urandom(16)
        first = commit(group, 0, (reader.id,))
        await client.ask(f.CreateGroup(client.rid(), group, os.urandom(16), first, b"welcome"))
        throttled.set()
        previous: bytes | None = None
        message = mls(group, 1, body=bytes(900))
        for _ in range(messages):
            send_id = os.urandom(16)
            accepted = await client.sends(message, previous, send_id=send_id)
            seq = accepted.position.seq
            await client.send(f.Acknowledge((f.Acknowledgement(group, seq),)))
            client.pushes.clear()
            previous = send_id
        slow.ws.transport.abort()
        await client.close()


# --- connections ------------------------------------------------------------------------------


async def _opened(
    url: str, way: tuple[str, int], device: TestDevice | None, token: bytes | None
) -> RawClient:
    client = await RawClient.open(url, local_addr=way)
    if device is not None:
        await client.sign_in(device, token)
        await client.ask(f.ConfirmToken(client.rid(), client.signed_in.token))
    return client


async def _survives(ws: ClientConnection, data: bytes) -> bool:
    """Send; where the frame ends the connection, wait for that."""
    await ws.send(data)
    try:
        decode_client_frame(data)
    except FrameError:
        async with asyncio.timeout(30):
            while True:
                await ws.recv()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            while True:
                await ws.recv()
    return True


def _place(url: str) -> tuple[str, int]:
    host, _, port = url.partition("://")[2].rpartition(":")
    return host, int(port)


@contextlib.asynccontextmanager
async def _throttling(url: str, throttled: asyncio.Event) -> AsyncIterator[str]:
    """A proxy to the relay that reads from it a byte a second, once it is told to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        upstream = socket.socket()
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        upstream.setblocking(False)
        await loop.sock_connect(upstream, _place(url))

        async def down() -> None:
            while data := await loop.sock_recv(upstream, 1 if throttled.is_set() else 65_536):
                writer.write(data)
                if throttled.is_set():
                    await asyncio.sleep(1)

        async def up() -> None:
            while data := await reader.read(65_536):
                await loop.sock_sendall(upstream, data)

        tasks = [asyncio.create_task(down()), asyncio.create_task(up())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        upstream.close()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
