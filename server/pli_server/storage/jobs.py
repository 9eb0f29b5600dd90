"""What the writer is given to do: jobs, their kinds, and the places where a test may kill the process."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

from pli_protocol.failpoint import declare, failpoint

from .locks import Owners
from .transaction import Transaction

T = TypeVar("T")

WRITES: Final = (
    "acknowledge",
    "attempt",
    "authority-change",
    "blob",
    "bring",
    "certificate",
    "blob-fetch",
    "claim",
    "close-account",
    "commit",
    "confirm-token",
    "create-group",
    "enrolment-answer",
    "enrolment-request",
    "head",
    "key-packages",
    "leave",
    "linking-answer",
    "linking-request",
    "partner",
    "password",
    "recovery-codes",
    "register",
    "report",
    "reset-credentials",
    "return",
    "revocations",
    "second-factor",
    "send",
    "sign-in",
    "sign-in-failed",
    "sweep",
    "totp",
    "welcome",
)
"""The kinds of write transaction, each with fail points relay.<kind>.before, .within, .after."""

declare(*(f"relay.{what}.{when}" for what in WRITES for when in ("before", "within", "after")))


def passage(kinds: Iterable[str], when: str) -> None:
    """Transactions of these kinds pass their fail points."""
    for kind in kinds:
        failpoint(f"relay.{kind}.{when}")


class Job(Protocol):
    """Something to write."""

    what: str
    size: int
    hot: bool
    key: tuple[int, bytes] | None
    """Device number and send id, where the job appends a row."""
    owners: Owners
    """Under whose name it is kept apart from other nodes' jobs (`locks`)."""
    groups: tuple[bytes, ...]
    """The groups that it is known to need."""

    def apply(self, tx: Transaction, /) -> Any:
        """Do it, on the writer's thread; raises Refusal."""

    def finish(self, outcome: Any, /) -> None:
        """On the loop, after COMMIT: the result, a Refusal or StorageFailed."""


class Work(Generic[T]):
    """A job made of functions; `then` runs on the loop in the order of the log, before any later job's."""

    hot = False

    def __init__(
        self,
        what: str,
        function: Callable[[Transaction], T],
        then: Callable[[T], None] | None,
        future: "asyncio.Future[T] | None",
        *,
        key: tuple[int, bytes] | None = None,
        size: int = 256,
        owners: Owners = None,
        groups: tuple[bytes, ...] = (),
    ) -> None:
        self.what = what
        self.key = key
        self.size = size
        self.owners = owners
        self.groups = groups
        self._function = function
        self._then = then
        self._future = future

    def apply(self, tx: Transaction) -> T:
        return self._function(tx)

    def finish(self, outcome: Any) -> None:
        failed = isinstance(outcome, Exception)
        if not failed and self._then is not None:
            self._then(outcome)
        if self._future is None or self._future.done():
            return
        if failed:
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)
