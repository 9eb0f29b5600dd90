"""A client of the tests' own: websockets and frames, nothing of pli_client."""

import asyncio
import itertools
import os
from collections import deque
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import decode_relay_frame, encode
from pli_protocol.relay.log import registration_challenge, sign_in_challenge

from .people import TestDevice, TestEstablishment

F = TypeVar("F")


NEWS = (f.PartnersChanged, f.DirectoryChanged)
"""What a node may tell again, when it looks at what others stored."""


class Refused(Exception):
    """The relay refused a request."""

    def __init__(self, frame: f.Refused) -> None:
        super().__init__(frame.code)
        self.frame = frame
        self.code = frame.code


class RawClient:
    """One connection. Pushes are kept in order; `push(Type)` takes the next one."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.greeting: f.Welcomed
        self.signed_in: f.SignedIn
        self.pushes: deque[f.RelayFrame] = deque()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._rids = itertools.count(1)
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self.closed = False

    @classmethod
    async def open(cls, url: str, **options: Any) -> Self:
        """Connect and greet."""
        self = cls(await connect(url, compression=None, proxy=None, **options))
        await self.send(f.Hello(f.PROTOCOL_VERSIONS))
        self.greeting = await self.push(f.Welcomed)
        return self

    @classmethod
    async def signed(cls, url: str, device: TestDevice, token: bytes | None = None) -> Self:
        """Connect, greet, sign in, confirm the token."""
        self = await cls.open(url)
        await self.sign_in(device, token)
        await self.ask(f.ConfirmToken(self.rid(), self.signed_in.token))
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await self.ws.close()

    async def release(self) -> None:
        """Stop reading: from now on the caller reads `ws` itself."""
        self._reader.cancel()
        await asyncio.wait([self._reader])

    def rid(self) -> int:
        return next(self._rids)

    async def send(self, frame: f.ClientFrame) -> None:
        await self.ws.send(encode(frame))

    async def ask(self, frame: Any) -> Any:
        """Send a request and wait for its answer; raises Refused."""
        return await (await self.begin(frame))

    async def begin(self, frame: Any) -> "asyncio.Future[Any]":
        """Send a request; the future is its answer."""
        future = asyncio.get_running_loop().create_future()
        if self.closed:
            raise ConnectionClosed(None, None)
        self._answers[frame.rid] = future
        await self.send(frame)
        return future

    async def push(self, kind: type[F]) -> F:
        """The next push, which must be of this kind; news that may come at any time is passed over."""
        frame = await self.next()
        while isinstance(frame, NEWS) and not isinstance(frame, kind):
            frame = await self.next()
        assert isinstance(frame, kind), frame
        return frame

    async def next(self) -> f.RelayFrame:
        """The next push; raises ConnectionClosed when there is none any more."""
        while not self.pushes:
            if self.closed:
                raise ConnectionClosed(None, None)
            self._news.clear()
            await self._news.wait()
        return self.pushes.popleft()

    async def wait_closed(self) -> None:
        await asyncio.wait([self._reader])

    async def sign_in(self, device: TestDevice, token: bytes | None = None) -> f.SignedIn:
        challenge = sign_in_challenge(self.greeting.relay, self.greeting.challenge, token)
        self.signed_in = await self.ask(
            f.SignIn(self.rid(), device.chain, device.key.sign(challenge), token)
        )
        return self.signed_in

    async def sign_in_issuer(self, establishment: TestEstablishment) -> f.SignedIn:
        challenge = sign_in_challenge(self.greeting.relay, self.greeting.challenge, None)
        self.signed_in = await self.ask(
            f.SignIn(self.rid(), (establishment.issuer,), establishment.issuer_key.sign(challenge))
        )
        return self.signed_in

    async def register(self, establishment: TestEstablishment, code: str) -> f.Done:
        signed = registration_challenge(self.greeting.relay, self.greeting.challenge, code)
        return await self.ask(
            f.RegisterEstablishment(
                self.rid(),
                code,
                establishment.authority,
                establishment.issuer,
                establishment.enrolment_key,
                establishment.issuer_key.sign(signed),
            )
        )

    async def settle(self) -> None:
        """Everything sent before was handled, and everything owed for it was received."""
        await self.ask(f.GetGroups(self.rid()))

    async def sends(
        self,
        message: bytes,
        previous: bytes | None = None,
        *,
        send_id: bytes | None = None,
        welcome: bytes | None = None,
    ) -> f.Accepted:
        return await self.ask(
            f.Send(self.rid(), send_id or os.urandom(16), previous, message, welcome)
        )

    async def _read(self) -> None:
        try:
            async for data in self.ws:
                assert isinstance(data, bytes)
                self._receive(decode_relay_frame(data))
        except ConnectionClosed:
            pass
        finally:
            self.closed = True
            self._news.set()
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(ConnectionClosed(None, None))
                    future.exception()

    def _receive(self, frame: f.RelayFrame) -> None:
        rid = getattr(frame, "rid", None)
        future = None if rid is None else self._answers.pop(rid, None)
        if future is None:
            self.pushes.append(frame)
            self._news.set()
        elif future.cancelled():
            return
        elif isinstance(frame, f.Refused):
            future.set_exception(Refused(frame))
        else:
            future.set_result(frame)
