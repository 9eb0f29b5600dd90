"""A relay of the tests' own: real WebSockets on loopback, each connection played by a script."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from pli_protocol.identity import SigningKey
from pli_protocol.relay import frames
from pli_protocol.relay.codec import decode_client_frame, encode
from pli_protocol.relay.frames import (
    ClientFrame,
    ConfirmToken,
    Done,
    Hello,
    RelayFrame,
    Row,
    SignedIn,
    SignIn,
    Welcomed,
)
from pli_protocol.transparency import EMPTY_ROOT, TreeHead, sign_head

F = TypeVar("F", bound=ClientFrame)
CHALLENGE = bytes(range(32))
TOKEN = b"t" * 16
_LOG = SigningKey.from_seed(bytes(32))
LOG_KEY = _LOG.public
HEAD = sign_head("localhost", TreeHead(1, 0, EMPTY_ROOT, 1), _LOG)


class Peer:
    """The relay's end of one connection, as a script uses it."""

    def __init__(self, websocket: ServerConnection, number: int) -> None:
        self.websocket = websocket
        self.number = number
        """How many connections there were before this one."""

    async def say(self, frame: RelayFrame) -> None:
        await self.websocket.send(encode(frame))

    async def hear(self, kind: type[F]) -> F:
        data = await self.websocket.recv()
        assert isinstance(data, bytes)
        frame = decode_client_frame(data)
        assert isinstance(frame, kind), frame
        return frame

    async def welcome(self, relay: str = "localhost", version: int = 1) -> Hello:
        hello = await self.hear(Hello)
        await self.say(Welcomed(version, relay, CHALLENGE, 1))
        return hello

    async def sign_in(self, token: bytes = TOKEN) -> SignIn:
        await self.welcome()
        asked = await self.hear(SignIn)
        await self.say(SignedIn(asked.rid, token, 1, 0, 10, LOG_KEY, HEAD))
        confirmed = await self.hear(ConfirmToken)
        assert confirmed.token == token
        await self.say(Done(confirmed.rid))
        return asked

    async def until_closed(self) -> None:
        await self.websocket.wait_closed()


Script = Callable[[Peer], Awaitable[None]]


class FakeRelay:
    """Serves the script to every connection; what a script raises fails the test at the end."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._script, self._tls, self._port = script, tls, port
        self._server: Server | None = None
        self._failures: list[BaseException] = []
        self.connections = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://localhost:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._play,
            "127.0.0.1",
            self._port,
            ssl=self._tls,
            compression=None,
            max_size=2**20,
            ping_interval=None,
            close_timeout=1,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        if error is None and self._failures:
            raise self._failures[0]

    async def _play(self, websocket: ServerConnection) -> None:
        peer = Peer(websocket, self.connections)
        self.connections += 1
        try:
            await self._script(peer)
        except ConnectionClosed:
            pass
        except BaseException as error:
            self._failures.append(error)
            raise


def row(seq: int, size: int = 10) -> Row:
    """A push, recognised by its seq."""
    return Row(
        group=b"g" * 16,
        position=frames.Position(1, seq),
        epoch=1,
        kind="application",
        sender=b"s" * 16,
        send_id=b"i" * 16,
        time=1,
        message=b"m" * size,
        chain=b"c" * 32,
    )


class Pause:
    """Stands for asyncio.sleep between attempts: notes what was asked, ends when told."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self._ends: list[asyncio.Future[None]] = []

    async def __call__(self, seconds: float) -> None:
        end = asyncio.get_running_loop().create_future()
        self._ends.append(end)
        self.asked.put_nowait(seconds)
        await end

    async def end(self) -> float:
        """Wait for the next pause, end it; how long it was to be."""
        seconds = await self.asked.get()
        for end in self._ends:
            if not end.done():
                end.set_result(None)
        self._ends.clear()
        return seconds
