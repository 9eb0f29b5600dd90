"""Hints over NATS: one subject for each database, a connection that is found again for ever."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..errors import OperatorError
from ..settings import Bus as BusSettings
from ..storage.faults import describe

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 2
RETRY_SECONDS: Final = 0.5
PING_SECONDS: Final = 2
"""A server that is silent is given up after two unanswered pings."""

WAITING_BYTES: Final = 1024 * 1024
"""Hints that wait for the socket; above, the others look by themselves."""


class NatsBus:
    """Publishes to, and hears, the subject of one cluster."""

    def __init__(self, settings: BusSettings, cluster: str) -> None:
        """`cluster` names the database: several clusters may share a NATS server.

        Raises:
            OperatorError: the URL or its certificate cannot be used.
        """
        assert settings.url is not None
        self._settings = settings
        self._tls = _tls(settings)
        self._subject = f"pli.{cluster}.hints"
        self._nats: Client | None = None
        self._running: asyncio.Task[None] | None = None
        self._saying: set[asyncio.Task[None]] = set()
        self._complained = False
        self._heard: Callable[[bytes], None]
        self._back: Callable[[], None]

    @property
    def up(self) -> bool:
        return self._nats is not None and self._nats.is_connected

    def start(self, heard: Callable[[bytes], None], back: Callable[[], None]) -> None:
        self._heard, self._back = heard, back
        self._running = asyncio.create_task(self._connect(), name="pli bus")

    def say(self, data: bytes) -> None:
        nats = self._nats
        if nats is None or not nats.is_connected or nats.pending_data_size > WAITING_BYTES:
            return
        task = asyncio.create_task(self._publish(nats, data), name="pli hint")
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    async def close(self) -> None:
        self._complained = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._nats is not None:
            await self._nats.close()

    async def _publish(self, nats: "Client", data: bytes) -> None:
        try:
            await nats.publish(self._subject, data)
        except Exception as error:
            self._complain(error)

    async def _connect(self) -> None:
        """Until there is a first connection; from then on the library connects again by itself."""
        from nats.aio.client import Client

        while True:
            nats = Client()
            try:
                await nats.connect(**self._options())
                await nats.subscribe(self._subject, cb=self._message)
                await nats.flush(CONNECT_SECONDS)  # the server has the subscription now
                self._nats = nats
                self._connected()
                return
            except Exception as error:
                self._complain(error)
                await nats.close()
            await asyncio.sleep(RETRY_SECONDS)

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        options: dict[str, Any] = {
            "servers": [url.strip() for url in (settings.url or "").split(",")],
            "name": "pli",
            "connect_timeout": CONNECT_SECONDS,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RETRY_SECONDS,
            "ping_interval": PING_SECONDS,
            "max_outstanding_pings": 2,
            "no_echo": True,
            "error_cb": self._failed,
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
        }
        if settings.credentials is not None:
            options["user_credentials"] = settings.credentials
        if self._tls is not None:
            options["tls"] = self._tls
        return options

    async def _message(self, message: "Msg") -> None:
        self._heard(message.data)

    async def _failed(self, error: Exception) -> None:
        self._complain(error)

    async def _disconnected(self) -> None:
        self._complain(None)

    async def _reconnected(self) -> None:
        assert self._nats is not None
        with contextlib.suppress(Exception):
            await self._nats.flush(CONNECT_SECONDS)
        self._connected()

    def _connected(self) -> None:
        log.info("the bus is up")
        self._complained = False
        self._back()

    def _complain(self, error: Exception | None) -> None:
        """Once, until it is up again. The library's text may quote the URL, which may hold a password."""
        if not self._complained:
            self._complained = True
            why = "" if error is None else f" ({describe(error)})"
            log.warning("the bus is down%s: this node looks into the database more often", why)


def _tls(settings: BusSettings) -> ssl.SSLContext | None:
    secure = any(
        url.strip().startswith(("tls://", "wss://")) for url in (settings.url or "").split(",")
    )
    if settings.ca is None and not secure:
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except (OSError, ssl.SSLError):
        raise OperatorError(
            "the certificates of `[bus] ca` cannot be read; give a PEM file"
        ) from None
