"""A relay of websockets alone: who sends names a peer, who is named receives. Nothing is stored.

The upper limit for what a relay on this library can carry, for the table beside ours.
"""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

peers: dict[bytes, ServerConnection] = {}


async def handle(ws: ServerConnection) -> None:
    """The first message is one's own name (16 bytes); each later one begins with the receiver's."""
    name = await ws.recv()
    assert isinstance(name, bytes)
    peers[name] = ws
    await ws.send(b"ready")
    async for message in ws:
        assert isinstance(message, bytes)
        broadcast((peers[message[:16]], ws), message)


async def main() -> None:
    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"ws://127.0.0.1:{port}", flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        sys.exit(asyncio.run(main()))
    uvloop.run(main())
