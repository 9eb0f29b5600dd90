"""Signing in: a chain, a signature over the relay's challenge, and the token that catches copies."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import structs

from pli_protocol.relay.frames import ConfirmToken, SignedIn, SignIn, Welcomed
from pli_protocol.relay.log import sign_in_challenge

from ..errors import (
    ClientOutdated,
    Offline,
    PliError,
    RelayMisbehaved,
    RelayOutdated,
    RelayRefused,
    SignedInElsewhere,
    SignInRefused,
    VaultCopied,
    VaultWiped,
)
from ..i18n import _
from .requests import Requests


class Signer(Protocol):
    """Who signs in: a device (chain device, person, issuer) or an issuer (chain issuer)."""

    @property
    def chain(self) -> Sequence[bytes]:
        """The certificates, DER."""
        ...

    def sign(self, data: bytes) -> bytes:
        """An Ed25519 signature (64 bytes) by the key of the first certificate."""
        ...

    async def token(self) -> bytes | None:
        """The token kept from the last sign-in; None before the first."""
        ...

    async def store_token(self, token: bytes) -> None:
        """Keep the new token; it is on disk when this returns (reliability rule 9)."""
        ...


async def sign_in(relay: Requests, signer: Signer, greeting: Welcomed) -> SignedIn:
    """Sign in and confirm the new token once it is durable; the answer comes back without it.

    A crash between the two is harmless: the relay takes the old token and the new one until then.

    Raises:
        SignInRefused, VaultCopied: for good. RelayRefused, Offline: for now.
        PliError: of `store_token`.
    """
    token = await signer.token()
    challenge = sign_in_challenge(greeting.relay, greeting.challenge, token)
    chain = tuple(bytes(certificate) for certificate in signer.chain)
    shown = None if token is None else bytes(token)  # a frame takes no Secret
    try:
        signed_in = await relay.request(SignIn(0, chain, bytes(signer.sign(challenge)), shown))
        await signer.store_token(signed_in.token)
        await relay.request(ConfirmToken(0, signed_in.token))
    except RelayRefused as refused:
        raise closing_error(refused.refusal, refused.detail) or refused from None
    # The token lies in the vault now, and nowhere else.
    return structs.replace(signed_in, token=bytes(16))


def closing_error(code: str, detail: str) -> PliError | None:
    """The error for a refusal that ends the connection; None for one that does not."""
    match code:
        case "clone":
            return VaultCopied()
        case "sign-in-failed":
            return SignInRefused()
        case "replaced":
            return SignedInElsewhere()
        case "unsupported-version":
            # The detail's last word says which side to update: `client` or `relay`.
            return RelayOutdated() if detail.split()[-1:] == ["relay"] else ClientOutdated()
        case "shutting-down":
            return Offline(_("the relay is being stopped"))
        case "bad-frame" | "out-of-order":
            return RelayMisbehaved(f"answered {code}: {detail}")
        case _:
            return None


TERMINAL = (VaultCopied, SignInRefused, SignedInElsewhere, VaultWiped)
"""Errors after which the connection does not try again."""
