"""The drivers' line protocol: one JSON object a line in, one reply a line out.

A driver is a table of ops; this module reads, times and answers. Whatever a line holds, it gets a
reply and the process goes on; `quit` or the end of input ends it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn

from pli_protocol.mls import UnsupportedError

JSON = dict[str, Any]
Operation = Callable[[JSON], JSON]


class BadRequest(Exception):
    """The request does not say what the op needs."""


class Unsupported(Exception):
    """This driver cannot do it at all."""


def answer(operations: Mapping[str, Operation], request: JSON) -> JSON:
    """Run one op. Every failure of it becomes `ok: false`."""
    operation = operations.get(str(request.get("op")))
    begun = time.perf_counter_ns()
    if operation is None:
        reply: JSON = {"ok": False, "error": "unknown op", "unsupported": True}
    else:
        try:
            reply = {"ok": True, **operation(request)}
        except (Unsupported, UnsupportedError) as error:
            reply = {"ok": False, "error": str(error), "unsupported": True}
        except KeyError as error:
            reply = {"ok": False, "error": f"the request lacks {error}"}
        # Whatever it is: a scenario wants a reply, never a dead process.
        except Exception as error:
            reply = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    reply["us"] = (time.perf_counter_ns() - begun) // 1000
    return {"id": request.get("id"), **reply}


def serve(operations: Mapping[str, Operation], lines: BinaryIO, replies: BinaryIO) -> None:
    """Answer request after request until `quit` or the end of input."""
    for line in lines:
        if not line.strip():
            continue
        try:
            request = parse(line)
        except BadRequest as error:
            write(replies, {"id": None, "ok": False, "error": str(error), "us": 0})
            continue
        if request.get("op") == "quit":
            write(replies, {"id": request.get("id"), "ok": True, "us": 0})
            return
        write(replies, answer(operations, request))


def parse(line: bytes) -> JSON:
    """Read a request. Raises BadRequest when the line is not one JSON object."""
    try:
        request = json.loads(line, parse_constant=_refuse)
    # Also bytes that are no UTF-8, a number of a million digits, a million brackets.
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not JSON: {type(error).__name__}") from None
    if not isinstance(request, dict):
        raise BadRequest("not a JSON object")
    return request


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def write(replies: BinaryIO, reply: JSON) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


def octets(request: JSON, name: str) -> bytes:
    """A field in hex. Raises BadRequest when it is missing or something else."""
    try:
        return bytes.fromhex(request[name])
    except KeyError:
        raise BadRequest(f"the request lacks {name!r}") from None
    except (TypeError, ValueError):
        raise BadRequest(f"{name!r} is not hex") from None


def optional_octets(request: JSON, name: str) -> bytes | None:
    """A field in hex that may be missing (or null)."""
    return None if request.get(name) is None else octets(request, name)


def items(request: JSON, name: str) -> list[Any]:
    """A field that is a list; nothing when it is missing."""
    value = request.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequest(f"{name!r} is not a list")
    return value
