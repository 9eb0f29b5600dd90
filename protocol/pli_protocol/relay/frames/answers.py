"""The answers that any request may get."""

from .values import Frame, Number, Rid, Short


class Done(Frame, frozen=True):
    """It was done, and is on disk where it matters."""

    rid: Rid


class Refused(Frame, frozen=True):
    """A request was refused, or (rid None) the connection is about to be closed.

    `code` is one of errors.CODES; `detail` is generic text for strangers; `epoch` is the group's
    current epoch with `stale-epoch`; `retry_after` milliseconds with `try-later`.
    """

    code: Short
    rid: Rid | None = None
    detail: Short = ""
    epoch: Number | None = None
    retry_after: Number | None = None


FromRelay = Done | Refused
