"""Partner codes: what one administrator gives another, out of band, to be named a partner.

    fingerprint 32 || relay address (ASCII) || checksum 4

Nothing in it is secret; what counts is that it came from the partner itself. It is written as `letters`
says, its checksum over "pli partner v1".
"""

from dataclasses import dataclass
from typing import Self

from . import letters
from .errors import InvitationError
from .invitation import MAX_RELAY, check_relay

_PURPOSE = b"pli partner v1"
_FINGERPRINT = 32
_SHORTEST = _FINGERPRINT + len("ws://a") + letters.CHECKSUM


@dataclass(frozen=True, slots=True)
class PartnerCode:
    """An establishment's authority, by its whole fingerprint (32 bytes), and the relay where it is."""

    fingerprint: bytes
    relay: str

    @property
    def establishment(self) -> bytes:
        """The establishment's id: the fingerprint's first 16 bytes."""
        return self.fingerprint[:16]

    def text(self) -> str:
        """The code as it is printed."""
        check_relay(self.relay)
        return letters.written(_PURPOSE, self.fingerprint + self.relay.encode("ascii"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a code. Raises InvitationError, with the causes that an invitation's code has."""
        body = letters.read(_PURPOSE, text, _SHORTEST, _SHORTEST + MAX_RELAY)
        try:
            relay = check_relay(body[_FINGERPRINT:].decode("ascii"))
        except UnicodeDecodeError:
            raise InvitationError("relay", "the code names no relay") from None
        return cls(body[:_FINGERPRINT], relay)
