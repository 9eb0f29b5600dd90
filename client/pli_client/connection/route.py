"""Finding a node of the relay: the addresses that its name has, each tried in turn.

A relay may run on several nodes under one name. One that was stopped still takes connections, since its
kernel does, and says nothing: so none of several is waited for long, and the one that has just failed
comes last.
"""

import asyncio
import socket
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidURI
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from ..errors import Offline, PliError
from . import dialling
from .address import RelayAddress, proxy_for

Endpoint = tuple[str, int]
"""An IP address and a port."""

ANOTHER_TIMEOUT: Final = 4.0
"""Seconds for one of several addresses, at first; on a slow network it doubles with each round."""


class Route:
    """The way to one relay. It remembers the address that was used last."""

    def __init__(self, address: RelayAddress, ca: str | None, proxy: str | bool) -> None:
        self._address, self._ca, self._proxy = address, ca, proxy
        self._last: Endpoint | None = None
        self._rounds = 0

    async def dial(self) -> ClientConnection:
        """Open a WebSocket to the first address that answers.

        Raises:
            PliError: as `dialling.dial`.
        """
        if self._through_proxy():
            return await dialling.dial(self._address, self._ca, self._proxy)
        try:
            found = await resolve(self._address)
        except OSError as error:
            raise dialling.dialling_error(error) from None
        endpoints = sorted(found, key=lambda endpoint: endpoint == self._last)
        several = min(dialling.OPEN_TIMEOUT, ANOTHER_TIMEOUT * 2**self._rounds)
        timeout = several if len(endpoints) > 1 else dialling.OPEN_TIMEOUT
        failed: PliError | None = None
        for endpoint in endpoints:
            self._last = endpoint
            try:
                opened = await dialling.dial(
                    self._address, self._ca, False, endpoint=endpoint, timeout=timeout
                )
            except PliError as error:
                # What a person must see to is told rather than that another address is silent.
                if failed is None or isinstance(failed, Offline):
                    failed = error
                continue
            self._rounds = 0
            return opened
        self._rounds = min(self._rounds + 1, 4)
        assert failed is not None
        raise failed

    def _through_proxy(self) -> bool:
        chosen = proxy_for(self._address, self._proxy)
        if chosen is not True:
            return chosen is not None
        try:
            return get_proxy(parse_uri(self._address.url)) is not None
        except InvalidURI:
            return True  # dialling tells what is wrong


async def resolve(address: RelayAddress) -> list[Endpoint]:
    """The addresses of a relay's name, in the system's order.

    Raises:
        OSError: the name is not known.
    """
    port = urlsplit(address.url).port or (443 if address.secure else 80)
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, port, type=socket.SOCK_STREAM
    )
    return list(dict.fromkeys((str(place[0]), int(place[1])) for *_, place in found))
