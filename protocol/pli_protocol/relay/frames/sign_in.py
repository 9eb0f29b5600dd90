"""Greeting and sign-in."""

from typing import Annotated

from msgspec import Meta

from ...transparency.heads import SignedHead
from .values import Chain, Frame, Id16, Id32, Number, Request, Rid, Short, Signature, Time


class Hello(Frame, frozen=True):
    """Client's first frame: the versions it speaks."""

    versions: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=16)]
    software: Short = ""


class Welcomed(Frame, frozen=True):
    """Relay's first frame: the version chosen, its name, a challenge of 32 random bytes."""

    version: Number
    relay: Short
    challenge: Id32
    time: Time


class SignIn(Request, frozen=True):
    """Prove a device (chain: device, person, issuer) or an issuer (chain: issuer).

    The signature covers `sign_in_challenge(relay, challenge, token)`. `token` is the one kept from
    the last sign-in; None at the first.
    """

    chain: Chain
    signature: Signature
    token: Id16 | None = None

    def __repr__(self) -> str:
        return f"SignIn(rid={self.rid}, …)"


class SignedIn(Frame, frozen=True):
    """Signed in. Store `token` durably, then send ConfirmToken with it; both are valid until then."""

    rid: Rid
    token: Id16
    timeline: Number
    revocations: Number
    """Number of the newest revocation list that the relay holds for the establishment; 0 if none."""
    key_packages: Number
    """Key packages left for this device, without the last-resort one."""
    log_key: Id32
    """The Ed25519 key that signs the heads of the relay's audit log; the same for ever."""
    head: SignedHead
    """The newest head of that log, of this timeline."""
    first: bool = False
    """The relay had never seen this device before."""
    statements: Number = 0
    """Number of the newest statement beside the list that the relay holds for the establishment."""

    def __repr__(self) -> str:
        return f"SignedIn(rid={self.rid}, timeline={self.timeline}, …)"


class ConfirmToken(Request, frozen=True):
    """The new token is durable: the old one may die."""

    token: Id16

    def __repr__(self) -> str:
        return f"ConfirmToken(rid={self.rid}, …)"


FromClient = Hello | SignIn | ConfirmToken
FromRelay = Welcomed | SignedIn
