"""Accounts: password and second factor, acts that need both, devices, closing."""

from typing import Annotated

from msgspec import Meta, Struct

from .values import Frame, Id16, Id32, Number, Request, Rid, Short, Time

Code = Annotated[str, Meta(min_length=1, max_length=32)]
"""A TOTP code of 6 digits, or a recovery code."""

RECOVERY_CODES = 10
"""Recovery codes that an account is given at a time."""


class OpenAccount(Request, frozen=True):
    """A device that is not enrolled proves password and second factor: it may ask to be linked.

    `password` is the account password as the device derives it (identity.password).
    """

    establishment: Id16
    account: Id16
    password: Id32
    code: Code

    def __repr__(self) -> str:
        return f"OpenAccount(rid={self.rid}, …)"


class StepUp(Request, frozen=True):
    """Password and second factor of who is signed in: acts that need them are allowed for a while."""

    password: Id32
    code: Code

    def __repr__(self) -> str:
        return f"StepUp(rid={self.rid}, …)"


class SetPassword(Request, frozen=True):
    """Set the account password, derived. Needs StepUp once password and second factor are there."""

    password: Id32

    def __repr__(self) -> str:
        return f"SetPassword(rid={self.rid}, …)"


class BeginSecondFactor(Request, frozen=True):
    """Ask for a new TOTP secret, good once confirmed. Needs StepUp like SetPassword."""


class SecondFactor(Frame, frozen=True):
    """The new secret of TOTP (RFC 6238: SHA-1, 6 digits, 30 s), 20 bytes."""

    rid: Rid
    secret: Annotated[bytes, Meta(min_length=20, max_length=20)]

    def __repr__(self) -> str:
        return f"SecondFactor(rid={self.rid}, …)"


class ConfirmSecondFactor(Request, frozen=True):
    """A first code of the new secret: it replaces the one before, and so do the recovery codes."""

    code: Code

    def __repr__(self) -> str:
        return f"ConfirmSecondFactor(rid={self.rid}, …)"


class RenewRecoveryCodes(Request, frozen=True):
    """New recovery codes; those before are worth nothing any more. Needs StepUp."""


class RecoveryCodes(Frame, frozen=True):
    """Each stands once for a TOTP code. They are told here and never again."""

    rid: Rid
    codes: Annotated[tuple[Short, ...], Meta(max_length=RECOVERY_CODES)]

    def __repr__(self) -> str:
        return f"RecoveryCodes(rid={self.rid}, …)"


class GetAccount(Request, frozen=True):
    """What is set up for who is signed in."""


class Account(Frame, frozen=True):
    rid: Rid
    password: bool
    second_factor: bool
    recovery_codes: Number
    """How many are left."""


class ResetCredentials(Request, frozen=True):
    """Issuer, after StepUp: password, second factor and recovery codes of an account are erased."""

    account: Id16


class GetDevices(Request, frozen=True):
    """The devices of one's own account, or (issuer) of one of the establishment's."""

    account: Id16 | None = None


class DeviceState(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One device as the relay knows it."""

    device: Id16
    created: Time
    last_seen: Time | None = None
    revoked: Time | None = None
    cloned: bool = False
    """Locked: a copy of its vault was seen."""
    stocked: bool = False
    """It has published key packages, so it can be added to conversations."""


class Devices(Frame, frozen=True):
    """Newest first, at most 256."""

    rid: Rid
    devices: Annotated[tuple[DeviceState, ...], Meta(max_length=256)]


class CloseAccount(Request, frozen=True):
    """Close one's own account, or (issuer) one of the establishment's, for good. Needs StepUp."""

    account: Id16 | None = None


FromClient = (
    OpenAccount
    | StepUp
    | SetPassword
    | BeginSecondFactor
    | ConfirmSecondFactor
    | RenewRecoveryCodes
    | GetAccount
    | ResetCredentials
    | GetDevices
    | CloseAccount
)
FromRelay = SecondFactor | RecoveryCodes | Account | Devices
