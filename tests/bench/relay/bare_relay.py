"""A relay of websockets alone: who sends names a room, all in it receive. Nothing is stored.

The upper limit for what a relay on this library can carry, for the table beside ours.
"""

import asyncio
import ssl
import sys
from collections import defaultdict
from contextlib import suppress

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

rooms: defaultdict[bytes, set[ServerConnection]] = defaultdict(set)


async def handle(ws: ServerConnection) -> None:
    """The first message names the room to be in (16 bytes), perhaps with how many messages are wanted at once
    (4 bytes) of 1 KiB; each later one begins with the room that receives it."""
    first = await ws.recv()
    assert isinstance(first, bytes)
    rooms[first[:16]].add(ws)
    await ws.send(b"ready")
    with suppress(ConnectionClosed):
        for _ in range(int.from_bytes(first[16:], "big")):
            await ws.send(bytes(1024))
        async for message in ws:
            assert isinstance(message, bytes)
            broadcast(rooms[message[:16]], message)
    rooms[first[:16]].discard(ws)


async def main() -> None:
    context = None
    if len(sys.argv) == 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
    async with serve(handle, "127.0.0.1", 0, compression=None, ssl=context) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"{'ws' if context is None else 'wss'}://127.0.0.1:{port}", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        sys.exit(asyncio.run(main()))
    uvloop.run(main())
