"""Opening the WebSocket, and the error of ours for everything that can go wrong on the way."""

import contextlib
import errno
import logging
import socket
import ssl
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    ProxyError,
)

from pli_protocol.relay.frames import MAX_FRAME

from ..errors import (
    MissingExtra,
    Offline,
    PliError,
    ProxyFailed,
    RelayMisbehaved,
    UntrustedCertificate,
)
from ..i18n import _
from .address import RelayAddress, proxy_for, tls

OPEN_TIMEOUT = 15.0
"""Seconds for TCP, proxy, TLS and the WebSocket's opening together."""

HEARTBEAT = 3.0
"""Seconds between pings: a node that was stopped keeps its connections and says nothing."""

HEARTBEAT_ANSWER = 4.0
"""Seconds for the answer to one; then another node is looked for."""


class _Connect(connect):
    """Without redirects: the person named one relay."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def dial(
    address: RelayAddress,
    ca: str | None,
    proxy: str | bool,
    *,
    endpoint: tuple[str, int] | None = None,
    timeout: float | None = None,
) -> ClientConnection:
    """Open a WebSocket with flat memory: no compression, small frames, a short queue.

    Args:
        endpoint: The IP address and port to use instead of looking the name up.
        timeout: Seconds; OPEN_TIMEOUT when None.

    Raises:
        Offline, ProxyFailed, UntrustedCertificate, MissingExtra.
    """
    options: dict[str, Any] = {"ssl": tls(ca)} if address.secure else {}
    if endpoint is not None:
        options |= {"host": endpoint[0], "port": endpoint[1]}
    try:
        return await _Connect(
            address.url,
            proxy=proxy_for(address, proxy),
            compression=None,
            max_size=MAX_FRAME,
            max_queue=8,
            open_timeout=OPEN_TIMEOUT if timeout is None else timeout,
            ping_interval=HEARTBEAT,
            ping_timeout=HEARTBEAT_ANSWER,
            close_timeout=2,
            user_agent_header=None,
            logger=_quiet_logger(),
            **options,
        )
    except (OSError, InvalidHandshake, InvalidProxy, EOFError, ImportError, ValueError) as error:
        raise dialling_error(error) from None


def _quiet_logger() -> logging.Logger:
    """At DEBUG, websockets writes every frame into the log, the sign-in token among them."""
    logger = logging.getLogger("pli_client.websockets")
    logger.setLevel(max(logger.level, logging.INFO))
    return logger


def dialling_error(error: Exception) -> PliError:
    """What to tell the person. No text of a stranger goes into it but a certificate checker's."""
    match error:
        case ssl.SSLCertVerificationError():
            return UntrustedCertificate(reason=error.verify_message or "TLS")
        case ssl.SSLError():
            return Offline(_("what answers there does not speak TLS"))
        case ImportError():
            return MissingExtra("socks")
        case InvalidProxy():
            return ProxyFailed(reason=_("its address cannot be read"))
        case ProxyError():
            return ProxyFailed(reason=_proxy_reason(error))
        case InvalidStatus():
            status = error.response.status_code
            return Offline(
                _("what answers there is not a relay (HTTP %(status)s)") % {"status": status}
            )
        case InvalidHandshake() | EOFError() | ValueError():
            return Offline(_("what answers there is not a relay"))
        case socket.gaierror():
            return Offline(_("its name is not known"))
        case TimeoutError():
            return Offline(_("no answer"))
        case ConnectionRefusedError():
            return Offline(_("nothing answers at its address"))
        case OSError() if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return Offline(_("there is no way to it"))
        case _:
            return Offline(_("the connection could not be made"))


def _proxy_reason(error: ProxyError) -> str:
    response = getattr(error, "response", None)
    if response is None:
        return _("it does not answer as a proxy")
    return _("it answered HTTP %(status)s") % {"status": response.status_code}


def closed_error(closed: ConnectionClosed) -> PliError:
    """Why an open WebSocket ended: our side's complaint about the relay, or just the network."""
    ours = closed.sent is not None and not closed.rcvd_then_sent
    if ours and closed.sent is not None:
        match closed.sent.code:
            case 1009:
                return RelayMisbehaved("a frame over the limit")
            case 1002 | 1003 | 1007:
                return RelayMisbehaved("not a WebSocket frame")
            case 1011:
                return Offline(_("it stopped answering"))
    return Offline(_("the connection was lost"))


async def hang_up(websocket: ClientConnection) -> None:
    """Close politely, for at most the close time-out; errors do not matter any more."""
    with contextlib.suppress(TimeoutError, OSError, ConnectionClosed):
        await websocket.close()
