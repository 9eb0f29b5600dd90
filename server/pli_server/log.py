"""The log on standard error, as text or as JSON lines: what happened and where, never to whom.

Messages of this program are written so that they name nobody. Those of libraries are not: of them only
the library, the place and the class of the error are told.
"""

import logging
import sys
import time
from typing import Final

import msgspec

from .settings import Log
from .storage.faults import describe

OURS: Final = ("pli_server", "pli_protocol")


def configure(settings: Log) -> None:
    """From now on, everything that this process logs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.level.upper())


class TextLines(logging.Formatter):
    """Time (UTC), level, module, message."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname} {record.name}: {_message(record)}"


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, and the error's class and place if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        return msgspec.json.encode(told).decode()


def _message(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] in OURS:
        text = record.getMessage()
    else:
        text = f"a message of this library, from {record.module}:{record.lineno}"
    error = record.exc_info[1] if record.exc_info else None
    return text if error is None else f"{text} ({describe(error)})"


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
