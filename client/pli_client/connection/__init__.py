"""The way to the relay: one WebSocket, signed in, found again for ever when it is lost."""

from .address import RelayAddress
from .connection import Connection, PushHandler
from .requests import Requests
from .sign_in import Signer
from .state import Connecting, ConnectionState, Disconnected, Online

__all__ = [
    "Connecting",
    "Connection",
    "ConnectionState",
    "Disconnected",
    "Online",
    "PushHandler",
    "RelayAddress",
    "Requests",
    "Signer",
]
