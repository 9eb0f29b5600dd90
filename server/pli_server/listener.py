"""The listener: sockets, TLS, admission, and the loop that reads one connection's frames."""

import asyncio
import contextlib
import itertools
import logging
import ssl
from collections import Counter
from typing import Any, Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from pli_protocol.relay.frames import MAX_FRAME

from .addresses import is_loopback
from .certificates import CHECK_SECONDS, Certificates
from .dispatch import step
from .errors import OperatorError, Refusal, StorageFailed
from .pace import Pace
from .proxy import client, networks, trusts
from .quiet import silent_logger
from .relay import Relay
from .session import (
    ACCOUNT,
    CLOSE_POLICY,
    CLOSE_TRY_LATER,
    WRITE_LIMIT,
    Session,
)

log = logging.getLogger(__name__)

MAX_MESSAGE: Final = MAX_FRAME + 1024
"""A WebSocket message above this is cut by the library; one between is refused with a frame."""

MAX_QUEUED_MESSAGES: Final = 8
OPEN_SECONDS: Final = 10
CLOSE_SECONDS: Final = 5

ANSWER_SECONDS: Final = 5
STOP_SECONDS: Final = 5


class Listener:
    """Accepts connections for a relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._numbers = itertools.count(1)
        self._all = 0
        self._by_address: Counter[str] = Counter()
        self._unsigned: Counter[str] = Counter()
        self._opening: Counter[str] = Counter()
        self._server: Server | None = None
        self._certificates: Certificates | None = None
        self._trusted = networks(relay.settings.trusted_proxies)

    async def start(self) -> str:
        """Listen; returns the URL.

        Raises:
            OperatorError: the address cannot be used, or would carry plain traffic.
        """
        settings = self._relay.settings
        host, port = settings.address
        tls = self._tls()
        if tls is None and not is_loopback(host) and not settings.plain_behind_proxy:
            raise OperatorError(
                f"plain WebSocket is for loopback only, not {host}: "
                "give `certificate` and `key` in relay.toml, or listen on 127.0.0.1"
            )
        try:
            self._server = await serve(
                self._serve,
                host,
                port,
                ssl=tls,
                compression=None,
                max_size=MAX_MESSAGE,
                max_queue=MAX_QUEUED_MESSAGES,
                write_limit=WRITE_LIMIT,
                create_connection=_counted(self),
                open_timeout=OPEN_SECONDS,
                close_timeout=CLOSE_SECONDS,
                ping_interval=settings.ping_seconds,
                ping_timeout=settings.ping_seconds,
                server_header=None,
                logger=silent_logger(),
                ssl_handshake_timeout=None if tls is None else OPEN_SECONDS,
            )
        except OSError as error:
            raise OperatorError(
                f"cannot listen on {settings.listen} ({error.strerror or error}); "
                "stop what uses the port, or change `listen` in relay.toml"
            ) from None
        bound = next(iter(self._server.sockets)).getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        return f"{'ws' if tls is None else 'wss'}://{shown}:{bound[1]}"

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Answer what was asked, tell everybody, wait a moment for them to go (not after `hurry`)."""
        if self._server is None:
            return
        self._server.close(close_connections=False)
        await self._answered()
        sessions = self._relay.connected
        for session in tuple(sessions):
            session.refuse(None, Refusal("shutting-down"))
        hurried = asyncio.ensure_future((hurry or asyncio.Event()).wait())
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while sessions and not hurried.done():
                    gone = asyncio.gather(*(session.ended for session in sessions))
                    await asyncio.wait((gone, hurried), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            pass
        hurried.cancel()
        if sessions:
            log.warning("%d connections did not close in time", len(sessions))
        for session in tuple(sessions):
            session.ws.transport.abort()
        await self._server.wait_closed()

    async def _answered(self) -> None:
        """Requests that wait for the disk are answered: what is behind them in the queue is the sign."""
        with contextlib.suppress(Refusal, StorageFailed, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._relay.writer.do("acknowledge", lambda _: None, owners=())

    def reload(self) -> None:
        """Read the certificate again (SIGHUP)."""
        if self._certificates is None:
            log.info("there is no certificate to be read again")
        else:
            self._certificates.reload()

    async def watch_certificate(self) -> None:
        """Notice for ever when the certificate's files change."""
        while self._certificates is not None:
            await asyncio.sleep(CHECK_SECONDS)
            self._certificates.reload_changed()

    def _tls(self) -> ssl.SSLContext | None:
        settings, folder = self._relay.settings, self._relay.folder
        if settings.certificate is None or settings.key is None:
            return None
        made = Certificates(folder / settings.certificate, folder / settings.key)
        self._certificates = made
        metrics = self._relay.metrics
        metrics.gauge(
            "certificate_expires_seconds", "When it ends, Unix time.", lambda: made.expires
        )
        metrics.counter("certificate_reads", "Read again.", lambda: made.read, "result")
        return made.context

    # --- one connection -----------------------------------------------------------------------

    async def _serve(self, ws: ServerConnection) -> None:
        address = self._address(ws)
        limits = self._relay.limits
        if (
            self._all >= limits.connections
            or self._by_address[address] >= limits.connections_per_address
            or self._unsigned[address] >= limits.unsigned_per_address
        ):
            self._relay.metrics.turned_away["limit"] += 1
            session = Session(ws, 0, self._relay.metrics)
            session.refuse(None, Refusal("limit", "too many connections", retry_after=5000))
            session.close(CLOSE_TRY_LATER)
            await session.closed()
            return
        session = Session(ws, next(self._numbers), self._relay.metrics, address)
        session.ended = asyncio.get_running_loop().create_future()
        self._all += 1
        self._by_address[address] += 1
        self._unsigned[address] += 1
        self._relay.connected.add(session)
        if isinstance(ws, _Counted):
            ws.admitted()
        session.timer = asyncio.get_running_loop().call_later(
            limits.sign_in_seconds, _expire, self._relay, session
        )
        session.on_signed_in = lambda: self._count_down(self._unsigned, address)
        try:
            await self._read(session)
        except ConnectionClosed:
            pass
        except Exception as error:
            session.fault(error)
        finally:
            self._relay.drop(session)
            await session.closed()
            self._all -= 1
            self._count_down(self._by_address, address)
            session.signed_in()
            self._relay.connected.discard(session)
            session.ended.set_result(None)

    def _address(self, ws: ServerConnection) -> str:
        assert ws.request is not None
        forwarded = ws.request.headers.get_all("X-Forwarded-For")
        return client(self._trusted, ws.remote_address, forwarded)

    def may_begin(self, peer: Any) -> bool:
        """Plain WebSocket on an open address is for the proxies that the settings name."""
        if not self._relay.settings.plain_behind_proxy or self.is_proxy(peer):
            return True
        self._relay.metrics.turned_away["not a proxy"] += 1
        return False

    def is_proxy(self, peer: Any) -> bool:
        """Whether it speaks for others, who are counted once their request has come."""
        return trusts(self._trusted, peer)

    def may_open(self, address: str) -> bool:
        """One more connection of this address begins its handshake."""
        self._opening[address] += 1
        if self._opening[address] <= self._relay.limits.unsigned_per_address:
            return True
        self._relay.metrics.turned_away["handshakes"] += 1
        return False

    def opened(self, address: str) -> None:
        """It was admitted, or has ended."""
        self._count_down(self._opening, address)

    @staticmethod
    def _count_down(counter: "Counter[str]", address: str) -> None:
        counter[address] -= 1
        if counter[address] <= 0:
            del counter[address]

    async def _read(self, session: Session) -> None:
        limit = self._relay.limits.requests_in_flight
        pace = Pace(self._relay.limits.frames_per_second)
        while session.open:
            data = await session.ws.recv()
            if self._relay.stopping or not session.open:
                return
            await step(self._relay, session, data)
            if session.in_flight >= limit:
                await session.below(limit)
            if session.congested:
                await session.drained()
            if wait := pace.frame():
                self._relay.metrics.paused += 1
                await asyncio.sleep(wait)


class _Counted(ServerConnection):
    """A connection that counts from its first byte: who never finishes a handshake, or is being
    turned away, holds a socket too."""

    listener: Listener
    _address: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if not self.listener.may_begin(peer):
            self.transport.abort()
        elif not self.listener.is_proxy(peer):
            self._address = client((), peer, ())
            if not self.listener.may_open(self._address):
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.admitted()
        super().connection_lost(exc)

    def admitted(self) -> None:
        """From now on the session counts."""
        if self._address is not None:
            self.listener.opened(self._address)
            self._address = None


def _counted(listener: Listener) -> type[_Counted]:
    return type("Counted", (_Counted,), {"listener": listener})


def _expire(relay: Relay, session: Session) -> None:
    """The time to sign in is over; who waits for an enrolment or to be linked gets
    longer, once."""
    session.timer = None
    extra = relay.limits.enrolment_wait_seconds - relay.limits.sign_in_seconds
    waits = session.enrolments or session.state is ACCOUNT
    if waits and not session.extended and extra > 0:
        session.extended = True
        session.timer = asyncio.get_running_loop().call_later(extra, _expire, relay, session)
        return
    session.close(CLOSE_POLICY)
