"""What `Issuer.serve` tells the administrator, one class each. Names are safe to display."""

from dataclasses import dataclass

from pli_protocol.identity.certificates import Kind
from pli_protocol.identity.enrolment import RefusalCode

from ..errors import PliError


@dataclass(frozen=True, slots=True)
class ServiceOnline:
    """Signed in at the relay; requests are answered from now on."""

    relay: str


@dataclass(frozen=True, slots=True)
class ServiceOffline:
    """Not connected; tried again in `retry_in` seconds, or not any more (None)."""

    error: PliError
    retry_in: float | None


@dataclass(frozen=True, slots=True)
class EnrolmentAnswered:
    """A request was answered: somebody was signed, or turned away (`refused`)."""

    request_id: bytes
    account: bytes | None
    name: str | None
    profession: str | None
    kind: Kind | None
    refused: RefusalCode | None
    again: bool = False
    """The answer had been given before."""


@dataclass(frozen=True, slots=True)
class RevocationsPublished:
    """The relay has the revocation list of this number."""

    number: int


Report = ServiceOnline | ServiceOffline | EnrolmentAnswered | RevocationsPublished
