"""Where the relay is, and how to speak to it: URL, TLS, proxy."""

import ipaddress
import ssl
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit

from ..errors import InvalidInput, UntrustedCertificate
from ..i18n import _


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """A relay's URL: wss://host[:port][/path]; ws:// for this very computer only."""

    url: str
    host: str
    secure: bool
    loopback: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises InvalidInput, which says what is wrong with the URL."""
        try:
            parts = urlsplit(url.strip())
            host, _port = parts.hostname, parts.port
        except ValueError:
            raise InvalidInput(_("the relay's address cannot be read")) from None
        if parts.scheme not in ("ws", "wss") or not host:
            raise InvalidInput(_("a relay's address looks like wss://relay.example"))
        if parts.username is not None or parts.query or parts.fragment:
            raise InvalidInput(_("a relay's address has no user, question mark or hash"))
        loopback = is_loopback(host)
        if parts.scheme == "ws" and not loopback:
            raise InvalidInput(
                _("a relay on another computer needs wss://, so that TLS protects it")
            )
        return cls(url.strip(), host, parts.scheme == "wss", loopback)


def is_loopback(host: str) -> bool:
    """The host can only be this computer."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls(ca: str | None) -> ssl.SSLContext:
    """How the relay's certificate is checked: by the system's authorities, or only by `ca`.

    Args:
        ca: certificates in PEM (text), of an establishment with an authority of its own.

    Raises:
        UntrustedCertificate: `ca` holds no certificate.
    """
    try:
        # An empty text must not mean the system's authorities.
        return ssl.create_default_context(cadata=None if ca is None else ca or "-")
    except (ssl.SSLError, ValueError):
        raise UntrustedCertificate(reason=_("the CA file holds no certificate")) from None


def check_proxy(proxy: str) -> str:
    """A proxy's URL, if it is one: http(s):// or socks5(h)://, host and port.

    Raises:
        InvalidInput: it is not; the text, which may hold a password, is not repeated.
    """
    try:
        parts = urlsplit(proxy.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if (
        not host
        or not port
        or any(letter.isspace() or not letter.isprintable() for letter in proxy.strip())
        or parts.scheme not in ("http", "https", "socks5", "socks5h")
        or (parts.username is None) != (parts.password is None)
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
    ):
        raise InvalidInput(_("a proxy looks like http://proxy.example:3128"))
    return proxy.strip()


def without_password(proxy: str) -> str:
    """A proxy's URL as it may be shown."""
    scheme, _colon, rest = proxy.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{place}"


def proxy_for(address: RelayAddress, proxy: str | bool) -> str | Literal[True] | None:
    """What websockets is told: a proxy's URL, True (the environment's), or None.

    The environment's proxy is never asked for this very computer.
    """
    if isinstance(proxy, str):
        return proxy or None
    return True if proxy and not address.loopback else None
