"""A target with a fault in it, to see that faults are found. It is no part of a run."""

from __future__ import annotations

from pli_protocol.mls import MLSError, Reader

from .target import Target, target

NAME = "planted"


def planted_target() -> Target:
    """Divides by zero when the second of two vectors begins with a certain byte."""
    return target(NAME, run, [b"\x02ab\x01\x06"], MLSError)


def run(data: bytes) -> None:
    r = Reader(data)
    first, second = r.opaque(), r.opaque()
    r.finish()
    if second and second[0] == 7:
        print(len(first) // 0)
