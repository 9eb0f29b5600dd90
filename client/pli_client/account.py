"""One's account at the relay: password, second factor, recovery codes, devices, its end.

The same for a professional and, about the issuer itself, for the administrator.
"""

import asyncio
import base64
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from pli_protocol.identity.password import COST, Cost, derive
from pli_protocol.relay import frames
from pli_protocol.relay.frames import DeviceState
from pli_protocol.secret import Secret

from .connection import Requests
from .errors import EXIT_PASSPHRASE, PliError, RelayRefused
from .i18n import N_


class NotAccepted(PliError):
    """The relay took password or code for wrong, and does not say which."""

    code = "not-accepted"
    exit_code = EXIT_PASSPHRASE
    CAUSE = N_("The account password or the code is not right, or was used already.")
    REMEDY = N_("Try again with the next code of your authenticator.")


class Locked(NotAccepted):
    """Too many attempts failed; `retry_after` milliseconds until the next one is looked at."""

    code = "locked"
    CAUSE = N_("The account password or the code is not right; too many attempts failed.")
    REMEDY = N_("Try again in %(minutes)s min.")

    def __init__(self, retry_after: int) -> None:
        super().__init__(minutes=-(-retry_after // 60_000))
        self.retry_after = retry_after


class StepUpNeeded(PliError):
    """The act needs password and second factor first, which may not be set up."""

    code = "step-up"
    exit_code = EXIT_PASSPHRASE
    CAUSE = N_("This needs the account password and a code of the second factor.")
    REMEDY = N_("Set them up if they are not: pli account password, then pli account totp.")


def told(refused: RelayRefused) -> PliError:
    """The error for a refusal about password or code; another one as it is."""
    match refused.refusal:
        case "not-accepted" if refused.retry_after:
            return Locked(refused.retry_after)
        case "not-accepted":
            return NotAccepted()
        case "step-up":
            return StepUpNeeded()
        case _:
            return refused


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """A new TOTP secret, for an authenticator. Secret."""

    secret: Secret
    label: str

    @property
    def letters(self) -> str:
        """The secret as one types it into an authenticator: base32."""
        return base64.b32encode(self.secret).decode()

    @property
    def uri(self) -> str:
        """`otpauth://…`, as a QR picture carries it."""
        fields = urlencode({"secret": self.letters, "issuer": "Pli"})
        return f"otpauth://totp/{quote('Pli:' + self.label)}?{fields}"


class Account:
    """What one may do about one's account on a connection that is signed in.

    Each method raises NotAccepted, Locked, StepUpNeeded where they apply, and what a request raises.
    """

    def __init__(
        self, relay: Requests, establishment: bytes, holder: bytes, *, cost: Cost = COST
    ) -> None:
        self._relay, self._establishment, self._holder = relay, establishment, holder
        self._cost = cost

    async def state(self) -> frames.Account:
        """What is set up."""
        return await self._relay.request(frames.GetAccount(0))

    async def step_up(self, password: str, code: str) -> None:
        """Show both factors; for ten minutes this connection may do what needs them."""
        derived = await self._derived(password)
        await self._ask(frames.StepUp(0, derived, code.strip()))

    async def set_password(self, password: str) -> None:
        """Set the account password; after `step_up` where both factors are set up."""
        await self._ask(frames.SetPassword(0, await self._derived(password)))

    async def begin_second_factor(self, label: str) -> SecondFactor:
        """A new secret for an authenticator; it holds once `confirm_second_factor` took a code."""
        try:
            answer = await self._relay.request(frames.BeginSecondFactor(0))
        except RelayRefused as refused:
            raise told(refused) from None
        return SecondFactor(Secret(answer.secret), label)

    async def confirm_second_factor(self, code: str) -> tuple[str, ...]:
        """The first code of the new secret; the recovery codes, told this once."""
        try:
            answer = await self._relay.request(frames.ConfirmSecondFactor(0, code.strip()))
        except RelayRefused as refused:
            raise told(refused) from None
        return answer.codes

    async def renew_recovery_codes(self) -> tuple[str, ...]:
        """New ones; those before are worth nothing any more."""
        try:
            return (await self._relay.request(frames.RenewRecoveryCodes(0))).codes
        except RelayRefused as refused:
            raise told(refused) from None

    async def devices(self, account: bytes | None = None) -> tuple[DeviceState, ...]:
        """One's own devices as the relay knows them; for the issuer those of an account."""
        return (await self._relay.request(frames.GetDevices(0, account))).devices

    async def reset(self, account: bytes) -> None:
        """Issuer: erase password, second factor and recovery codes of an account."""
        await self._ask(frames.ResetCredentials(0, account))

    async def close(self, account: bytes | None = None) -> None:
        """Close one's own account for good, or as the issuer one of the establishment's."""
        await self._ask(frames.CloseAccount(0, account))

    async def _derived(self, password: str) -> bytes:
        derived = await asyncio.to_thread(
            derive, password, self._establishment, self._holder, self._cost
        )
        return bytes(derived)  # a frame takes no Secret

    async def _ask(
        self,
        frame: frames.StepUp | frames.SetPassword | frames.ResetCredentials | frames.CloseAccount,
    ) -> None:
        try:
            await self._relay.request(frame)
        except RelayRefused as refused:
            raise told(refused) from None
