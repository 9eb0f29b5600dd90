"""The port for whoever watches the relay: /metrics for Prometheus, /health for a proxy or container."""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from .addresses import is_loopback, parse_listen
from .errors import OperatorError
from .metrics import CONTENT_TYPE
from .quiet import silent_logger
from .settings import Metrics

if TYPE_CHECKING:
    from .relay import Relay

log = logging.getLogger(__name__)

OPEN_SECONDS: Final = 5
DATABASE_SECONDS: Final = 3
AGAIN_SECONDS: Final = 30
LAG_SECONDS: Final = 1.0


class Watching:
    """Serves the figures of a relay; a taken port costs the figures, never the relay."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._settings: Metrics = relay.settings.metrics
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._opened: Callable[[str], None]

    async def start(self, opened: Callable[[str], None] = lambda url: None) -> None:
        """Open the port, now or when it is free; `opened` is then told its URL.

        Raises:
            OperatorError: the address is not loopback and the settings do not allow another.
        """
        if not self._settings.enabled:
            return
        self._opened = opened
        host, _ = parse_listen(self._settings.listen)
        if not is_loopback(host) and not self._settings.exposed:
            raise OperatorError(
                f"[metrics] would be readable by others at {host}: listen on 127.0.0.1, "
                "or set `exposed = true` and let a firewall keep others out"
            )
        self._tasks.append(asyncio.create_task(self._measure_lag(), name="pli loop lag"))
        if not await self._open():
            log.warning("the port of [metrics] is taken; it is tried again, the relay serves")
            self._tasks.append(asyncio.create_task(self._open_later(), name="pli metrics"))

    async def stop(self) -> None:
        """Close the port."""
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _open(self) -> bool:
        host, port = parse_listen(self._settings.listen)
        try:
            self._server = await serve(
                _no_websocket,
                host,
                port,
                process_request=self._answer,
                open_timeout=OPEN_SECONDS,
                server_header=None,
                logger=silent_logger(),
            )
        except OSError:
            return False
        bound = next(iter(self._server.sockets)).getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self._opened(f"http://{shown}:{bound[1]}")
        return True

    async def _open_later(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            if await self._open():
                return

    async def _answer(self, ws: ServerConnection, request: Request) -> Response:
        match request.path.partition("?")[0]:
            case "/metrics":
                response = ws.respond(HTTPStatus.OK, self._relay.metrics.text().decode())
                del response.headers["Content-Type"]
                response.headers["Content-Type"] = CONTENT_TYPE
                return response
            case "/health":
                wrong = await self._wrong()
                status = HTTPStatus.OK if wrong is None else HTTPStatus.SERVICE_UNAVAILABLE
                return ws.respond(status, f"{wrong or 'ok'}\n")
        return ws.respond(HTTPStatus.NOT_FOUND, "there are /metrics and /health\n")

    async def _wrong(self) -> str | None:
        """Why nobody should be sent here; None: the relay serves."""
        if self._relay.failed.is_set():
            return "the storage failed"
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                await self._relay.readers.run(lambda db: db.scalar(sa.select(1)))
        except Exception:
            # Whatever it is: a node without its database serves nobody.
            return "the database does not answer"
        return None

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._relay.metrics.lag.observe(max(0.0, loop.time() - due))


async def _no_websocket(_: ServerConnection) -> None:
    """Never called: every request is answered before it could become a WebSocket."""
