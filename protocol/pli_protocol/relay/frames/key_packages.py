"""Key packages: published by a device, claimed by who adds it."""

from typing import Annotated

from msgspec import Meta

from .values import ClaimedKeyPackage, Frame, Id16, Inline, Request, Rid


class PublishKeyPackages(Request, frozen=True):
    """Add key packages for this device; `last_resort` replaces the one held.

    `replace`: those that nobody claimed yet go, the last resort too: they are of a cipher suite that
    this device offers no more.
    """

    key_packages: Annotated[tuple[Inline, ...], Meta(max_length=32)]
    last_resort: Inline | None = None
    replace: bool = False


class ClaimKeyPackages(Request, frozen=True):
    """One key package of every active device of these accounts, each handed out once.

    `establishment`: the partner whose accounts they are; None: one's own.
    """

    accounts: Annotated[tuple[Id16, ...], Meta(min_length=1, max_length=64)]
    establishment: Id16 | None = None
    device: Id16 | None = None
    """Of this device alone."""


class KeyPackages(Frame, frozen=True):
    rid: Rid
    claimed: tuple[ClaimedKeyPackage, ...]


FromClient = PublishKeyPackages | ClaimKeyPackages
FromRelay = KeyPackages
