"""Errors of the relay.

RelayError
├── Refusal          a request is refused; becomes one Refused frame (the peer must act)
├── StorageFailed    the disk reported an I/O error: the relay stops (the operator must act)
└── OperatorError    a command or a setting is wrong; one sentence with a remedy, and an exit code
"""

from typing import Final

from pli_protocol.relay.errors import CODES

CLOSING: Final = frozenset(
    {
        "unsupported-version",
        "bad-frame",
        "out-of-order",
        "sign-in-failed",
        "clone",
        "replaced",
        "shutting-down",
    }
)
"""The codes after which the connection is closed."""

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_STORAGE: Final = 3


class RelayError(Exception):
    """Base of the relay's errors."""


class Refusal(RelayError):
    """A request is refused. `code` is one of relay.errors.CODES; `detail` is text for strangers."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        epoch: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        assert code in CODES, code
        super().__init__(code)
        self.code = code
        self.detail = detail or CODES[code]
        self.epoch = epoch
        self.retry_after = retry_after


class StorageFailed(RelayError):
    """The database cannot be trusted any more in this process (an I/O error, a damaged file)."""


class OperatorError(RelayError):
    """What the operator asked for cannot be done; the text says why and what to do."""

    def __init__(self, text: str, exit_code: int = EXIT_REFUSED) -> None:
        super().__init__(text)
        self.exit_code = exit_code
