"""Invitations: the code that an administrator hands over, as text or as a QR picture.

    secret 16 || establishment 16 || relay address (ASCII) || checksum 4

It is written as `letters` says, its checksum over "pli invitation v1".
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from ..secret import Secret
from . import letters
from .errors import InvitationError

SECRET_SIZE = 16
MAX_RELAY = 200
"""Bytes of the longest relay address."""

_PURPOSE = b"pli invitation v1"
_SHORTEST = SECRET_SIZE + 16 + len("ws://a") + letters.CHECKSUM


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an invitation code says.

    `secret` proves to the issuer who asks; `establishment` is what the authority's fingerprint must
    begin with; `relay` is where the certificates are fetched, and the only name the client accepts.
    """

    secret: Secret
    establishment: bytes
    relay: str

    def text(self) -> str:
        """The code, as it is printed and as it stands in the QR picture."""
        check_relay(self.relay)
        data = bytes(self.secret) + self.establishment + self.relay.encode("ascii")
        return letters.written(_PURPOSE, data)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a code.

        Raises:
            InvitationError: .cause is "empty", "character" (a character that no code has),
                "too-short", "checksum" (a letter is wrong, missing or too many) or "relay".
        """
        body = letters.read(_PURPOSE, text, _SHORTEST, _SHORTEST + MAX_RELAY)
        try:
            relay = check_relay(body[SECRET_SIZE + 16 :].decode("ascii"))
        except UnicodeDecodeError:
            raise InvitationError("relay", "the code names no relay") from None
        return cls(Secret(body[:SECRET_SIZE]), body[SECRET_SIZE : SECRET_SIZE + 16], relay)


def check_relay(url: str) -> str:
    """The address itself, if it is `ws://` or `wss://`, a host, perhaps a port and a path.

    Raises:
        InvitationError: cause "relay".
    """
    printable = url.isascii() and all("!" <= character <= "~" for character in url)
    try:
        parts = urlsplit(url)
        good = (
            printable
            and len(url) <= MAX_RELAY
            and parts.scheme in ("ws", "wss")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and not (parts.username or parts.password or parts.query or parts.fragment)
            and not any(mark in url for mark in "?#@")
        )
    except ValueError:
        good = False
    if not good:
        raise InvitationError("relay", "not the address of a relay (wss://…)")
    return url
