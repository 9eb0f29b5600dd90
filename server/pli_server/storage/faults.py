"""What an error of the database means for the relay, and how it is told to the log."""

from enum import Enum, auto
from typing import Final


class Fault(Enum):
    """What is to be done about an error. Each database sorts its own errors."""

    FULL = auto()
    """Nothing can be stored until there is room: refuse, go on reading."""
    BUSY = auto()
    """Not now: refuse."""
    CLASH = auto()
    """Transactions of several nodes met; nothing was stored: run it again."""
    LOST = auto()
    """The connection ended: what was not committed is undone, connect again."""
    BROKEN = auto()
    """What was written cannot be trusted any more: stop."""
    CONSTRAINT = auto()
    """It contradicts what is stored: a conflict."""
    PROGRAM = auto()
    """A mistake of ours."""


OF_THE_BATCH: Final = {Fault.FULL, Fault.BUSY, Fault.CLASH, Fault.LOST, Fault.BROKEN}
"""After these the whole transaction is to be undone, not one request of it."""


def describe(error: BaseException) -> str:
    """An error for the log: its class and where it was raised, never its text, which may quote data."""
    original = getattr(error, "orig", None) or error
    name = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {trace.tb_frame.f_globals['__name__']}:{trace.tb_lineno}"
    return f"{type(error).__name__}{f' {name}' if name else ''}{place}"
