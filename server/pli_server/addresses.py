"""Addresses: where to listen, what clients are given, what means this computer."""

import ipaddress
from typing import TYPE_CHECKING

from .errors import OperatorError

if TYPE_CHECKING:
    from .settings import Settings


def parse_listen(text: str) -> tuple[str, int]:
    """HOST:PORT, an IPv6 address in brackets; raises OperatorError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise OperatorError(
            f"'{text[:60]}' is not an address to listen on; write HOST:PORT, as 127.0.0.1:8440"
        )
    return host, int(port)


def address_to_give(settings: "Settings", port: int) -> str:
    """What clients are given: the scheme, the relay's name (sign-in is bound to it), the port.

    Args:
        port: Where the relay listens. A name that is not this computer's, without TLS here, belongs to
            a proxy in front that speaks TLS on a port of its own, so it is left out.
    """
    host = f"[{settings.name}]" if ":" in settings.name else settings.name
    if settings.certificate is None and not is_loopback(settings.name):
        return f"wss://{host}"
    scheme, usual = ("ws", 80) if settings.certificate is None else ("wss", 443)
    return f"{scheme}://{host}" if port == usual else f"{scheme}://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host's name means this computer."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
