"""What a connection says about itself: connecting, online, disconnected."""

from dataclasses import dataclass

from pli_protocol.relay.frames import SignedIn, Welcomed

from ..errors import PliError


@dataclass(frozen=True, slots=True)
class Connecting:
    """Trying now; `attempt` counts from 0 since the last time that all was well."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Online:
    """Greeted, and signed in where there is somebody to sign in: requests are accepted."""

    greeting: Welcomed
    signed_in: SignedIn | None
    """None for an anonymous connection."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Why, and in how many seconds the next attempt is; None: it stopped for good."""

    error: PliError
    retry_in: float | None


ConnectionState = Connecting | Online | Disconnected
