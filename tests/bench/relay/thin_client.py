"""A WebSocket client that costs the load generator little: frames as they are, no library in the way.

What it leaves out (fragments, a close handshake) a relay of ours does not need. Masks are zero: allowed by
RFC 6455 §5.3 as any other, and the payload then goes out as it is.
"""

import asyncio
import base64
import os
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import decode_relay_frame, encode
from pli_protocol.relay.log import registration_challenge, sign_in_challenge
from tests.server.people import TestDevice, TestEstablishment

BINARY: Final = 0x82
PING: Final = 0x89
PONG: Final = 0x8A
CLOSE: Final = 0x88
NO_MASK: Final = bytes(4)


class Refused(Exception):
    """The relay refused a request."""


class ThinClient(asyncio.Protocol):
    """One connection; `on_data` is called with each message's payload as it comes."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.on_data: Callable[[bytes], None] = self._frame
        self.on_row: Callable[[f.Row], None] | None = None
        self.closed = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._opened: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._pushes: asyncio.Queue[f.RelayFrame] = asyncio.Queue()
        self._rid = 0
        self.token: bytes | None = None

    # --- opening ------------------------------------------------------------------------------

    @classmethod
    async def open(cls, url: str, tls: ssl.SSLContext | None = None) -> "ThinClient":
        """Connect and upgrade."""
        parts = urlsplit(url)
        _, self = await asyncio.get_running_loop().create_connection(
            cls, parts.hostname, parts.port, ssl=tls
        )
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET / HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert self._opened is not None
        await self._opened
        self._opened = None
        return self

    @classmethod
    async def greeted(
        cls, url: str, tls: ssl.SSLContext | None = None
    ) -> "tuple[ThinClient, f.Welcomed]":
        """Connect and greet."""
        self = await cls.open(url, tls)
        self.send(f.Hello(f.PROTOCOL_VERSIONS))
        greeting = await self.push()
        assert isinstance(greeting, f.Welcomed)
        return self, greeting

    @classmethod
    async def signed(
        cls,
        url: str,
        device: TestDevice,
        tls: ssl.SSLContext | None = None,
        token: bytes | None = None,
        on_row: Callable[["ThinClient", f.Row], None] | None = None,
    ) -> "ThinClient":
        """Connect, greet, sign in, confirm the token, which is in `token` afterwards."""
        self, greeting = await cls.greeted(url, tls)
        if on_row is not None:
            self.on_row = partial(on_row, self)
        challenge = sign_in_challenge(greeting.relay, greeting.challenge, token)
        answer = await self.ask(
            lambda rid: f.SignIn(rid, device.chain, device.key.sign(challenge), token)
        )
        self.token = answer.token
        await self.ask(lambda rid: f.ConfirmToken(rid, answer.token))
        return self

    async def register(
        self, establishment: TestEstablishment, greeting: f.Welcomed, code: str
    ) -> None:
        """Open an establishment with the host's code."""
        signed = registration_challenge(greeting.relay, greeting.challenge, code)
        await self.ask(
            lambda rid: f.RegisterEstablishment(
                rid,
                code,
                establishment.authority,
                establishment.issuer,
                establishment.enrolment_key,
                establishment.issuer_key.sign(signed),
            )
        )

    # --- frames -------------------------------------------------------------------------------

    def send(self, frame: f.ClientFrame) -> None:
        """Send a frame without waiting."""
        self.write(encode(frame))

    def write(self, payload: bytes) -> None:
        """Send a message without waiting."""
        length = len(payload)
        if length < 126:
            header = bytes((BINARY, 0x80 | length))
        elif length < 65536:
            header = bytes((BINARY, 0xFE)) + length.to_bytes(2, "big")
        else:
            header = bytes((BINARY, 0xFF)) + length.to_bytes(8, "big")
        self.transport.write(header + NO_MASK + payload)

    async def ask(self, make: Callable[[int], Any]) -> Any:
        """Send the request that `make` gives for a rid; its answer, or Refused."""
        self._rid += 1
        future = self._answers[self._rid] = asyncio.get_running_loop().create_future()
        self.send(make(self._rid))
        return await future

    async def push(self) -> f.RelayFrame:
        """The next frame that is no answer and no row."""
        return await self._pushes.get()

    def _frame(self, data: bytes) -> None:
        frame = decode_relay_frame(data)
        if isinstance(frame, f.Row) and self.on_row is not None:
            self.on_row(frame)
            return
        rid = getattr(frame, "rid", None)
        future = None if rid is None else self._answers.pop(rid, None)
        if future is None:
            self._pushes.put_nowait(frame)
        elif isinstance(frame, f.Refused):
            future.set_exception(Refused(f"{frame.code}: {frame.detail}"))
        else:
            future.set_result(frame)

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self._opened, *self._answers.values()):
            if future is not None and not future.done():
                future.set_exception(ConnectionError("the relay closed the connection"))
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if self._opened is not None:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(bytes(buffer[:60]).decode(errors="replace"))
            del buffer[: end + 4]
            if not self._opened.done():
                self._opened.set_result(None)
        self._messages()

    def _messages(self) -> None:
        buffer, start, held = self._buffer, 0, len(self._buffer)
        while held - start >= 2:
            length, body = buffer[start + 1], start + 2
            if length == 126:
                body = start + 4
                length = int.from_bytes(buffer[start + 2 : body], "big")
            elif length == 127:
                body = start + 10
                length = int.from_bytes(buffer[start + 2 : body], "big")
            if held < body + length:
                break
            self._message(buffer[start], bytes(buffer[body : body + length]))
            start = body + length
        del buffer[:start]

    def _message(self, kind: int, payload: bytes) -> None:
        if kind == BINARY:
            self.on_data(payload)
        elif kind == PING:
            self.transport.write(bytes((PONG, 0x80 | len(payload))) + NO_MASK + payload)
        elif kind == CLOSE:
            self.transport.close()

    def close(self) -> None:
        """Cut the connection; what still comes is not looked at."""
        self.on_data = lambda _: None
        self.transport.abort()
