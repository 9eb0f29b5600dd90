"""Checks of what clients meet: certificate, port or running relay, the proxy in front."""

import asyncio
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from pli_protocol.relay.codec import FrameError, decode_relay_frame, encode
from pli_protocol.relay.frames import PROTOCOL_VERSIONS, Hello, Welcomed

from ..addresses import is_loopback
from ..certificates import Certificates, leaf
from ..errors import OperatorError
from ..nodes.nats_bus import NatsBus
from ..settings import Bus
from .findings import Finding, Situation, fail, ok, warn

DAY: Final = 86_400
RENEW_DAYS: Final = 14
SECONDS: Final = 10.0
BUS_SECONDS: Final = 5.0


def certificate(situation: Situation) -> Iterable[Finding]:
    """Usable, in date, with its key, for the relay's name."""
    settings, folder = situation.settings, situation.folder
    if settings.certificate is None or settings.key is None:
        return
    try:
        Certificates(folder / settings.certificate, folder / settings.key)
    except OperatorError as error:
        yield fail("certificate", str(error), "both are PEM, the key is the certificate's own")
        return
    found = leaf(folder / settings.certificate)
    days = (found.not_valid_after_utc.timestamp() - time.time()) / DAY
    if days < 0:
        yield fail("certificate", f"ended {-days:.0f} days ago", "renew it; no restart is needed")
    elif found.not_valid_before_utc.timestamp() > time.time():
        yield fail("certificate", "is not valid yet", "check the clock, or wait")
    elif not _names(found, settings.name):
        yield fail(
            "certificate",
            f"is not for {settings.name}: its clients refuse it",
            "get one for this name; the relay's name itself must not change",
        )
    elif days < RENEW_DAYS:
        yield warn("certificate", f"ends in {days:.0f} days", "renew it; no restart is needed")
    else:
        yield ok("certificate", f"for {settings.name}, {days:.0f} more days")


def port(situation: Situation) -> Iterable[Finding]:
    """A relay that runs is asked; else its port must be free."""
    if situation.running is None:
        yield from _free(situation)
        return
    url = situation.running.get("url")
    if url is None:
        yield warn("relay", "runs, but does not listen yet", "wait; if it stays so, see its log")
        return
    try:
        name = _greet(url)
    except (OSError, EOFError, WebSocketException, FrameError) as error:
        yield fail("relay", f"runs, but does not answer ({type(error).__name__})", "see its log")
        return
    if name == situation.settings.name:
        yield ok("relay", f"answers as {name}")
    else:
        yield warn("relay", f"answers as {name}: the settings are newer", "restart it")


def figures(situation: Situation) -> Iterable[Finding]:
    """The running relay's own word on how it goes."""
    if situation.running is None or not situation.settings.metrics.enabled:
        return
    url = situation.running.get("metrics")
    if url is None:
        yield warn("figures", "their port is taken", "change `listen` in [metrics] and restart")
        return
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=SECONDS):
            yield ok("figures", f"{url}/metrics")
    except OSError:
        yield fail("figures", "the relay says that it does not serve", "see its log")


def proxy(situation: Situation) -> Iterable[Finding]:
    """Plain on loopback under a name of the outside: there is a proxy, which should be known."""
    settings = situation.settings
    if settings.certificate is not None or is_loopback(settings.name):
        return
    if settings.trusted_proxies:
        yield ok("proxy", f"{', '.join(settings.trusted_proxies)} may speak for others")
    else:
        yield warn(
            "proxy",
            "all clients behind it count as one address and share one limit",
            'trusted_proxies = ["127.0.0.1"], and let the proxy set X-Forwarded-For',
        )


def bus(situation: Situation) -> Iterable[Finding]:
    """The NATS server that wakes the other nodes lets this one in."""
    settings = situation.settings.bus
    if settings.url is None:
        return
    try:
        asyncio.run(_reach(settings))
    except (OperatorError, TimeoutError) as error:
        why = str(error) or f"nothing answered within {BUS_SECONDS:.0f} s"
        yield fail("bus", why, "start NATS, or mend [bus]; nodes work without it, a second later")
    else:
        yield ok("bus", "the NATS server lets this node in")


async def _reach(settings: Bus) -> None:
    reached, tried = asyncio.Event(), NatsBus(settings, "doctor")
    tried.start(lambda _: None, reached.set)
    try:
        async with asyncio.timeout(BUS_SECONDS):
            await reached.wait()
    finally:
        await tried.close()


def _free(situation: Situation) -> Iterable[Finding]:
    host, number = situation.settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, number))
        except PermissionError:
            yield fail(
                "port",
                f"{number} is not for this user",
                "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or a port above 1023",
            )
        except OSError as error:
            yield fail(
                "port",
                f"{situation.settings.listen} cannot be used ({error.strerror})",
                "stop what uses it, or change `listen`",
            )
        else:
            yield ok("port", f"{situation.settings.listen} is free; no relay runs here")


def _greet(url: str) -> str:
    """The name with which the relay at this URL greets."""
    tls = None
    if url.startswith("wss:"):
        # Whose certificate it is was checked above; here it only has to speak.
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    target = url.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
    with connect(target, ssl=tls, proxy=None, compression=None, open_timeout=SECONDS) as ws:
        ws.send(encode(Hello(PROTOCOL_VERSIONS, "pli-server doctor")))
        answer = ws.recv(SECONDS)
    frame = decode_relay_frame(answer) if isinstance(answer, bytes) else None
    if not isinstance(frame, Welcomed):
        raise EOFError
    return frame.relay


def _names(found: x509.Certificate, name: str) -> bool:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        # Clients look at nothing else; the common name alone has not counted for years.
        return False
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    hosts = {host.lower() for host in names.get_values_for_type(x509.DNSName)}
    wildcard = "*." + name.lower().partition(".")[2]
    return name in addresses or name.lower() in hosts or wildcard in hosts
