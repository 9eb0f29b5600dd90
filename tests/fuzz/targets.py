"""All fuzz targets by name; each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from pli_protocol.mls import MLSError, Reader

from . import group_targets, mls_targets, outer_targets
from .target import Target, target

TARGETS: dict[str, Callable[[], Target]] = {
    "mls-message": mls_targets.message_target,
    "mls-structs": mls_targets.struct_target,
    "group-stranger": group_targets.stranger_target,
    "group-insider": group_targets.insider_target,
    "group-join": group_targets.join_target,
    "group-entries": group_targets.entries_target,
    "relay-from-client": outer_targets.client_frames_target,
    "relay-from-relay": outer_targets.relay_frames_target,
    "relay-roster": outer_targets.roster_target,
    "content": outer_targets.content_target,
    "identity-certificates": outer_targets.certificates_target,
    "identity-statements": outer_targets.statements_target,
    "identity-invitations": outer_targets.invitations_target,
    "identity-enrolment": outer_targets.enrolment_target,
}

PLANTED = "planted"
"""A target with a fault in it, to see that faults are found; it is no part of a run."""


def planted_target() -> Target:
    """Divides by zero when a message deep within has a certain byte."""

    def run(data: bytes) -> None:
        vectors = decode_vectors(data)
        if len(vectors) == 2 and vectors[1][:1] == b"\x07":
            print(1 // 0)

    return target("planted", run, [b"\x02ab"], MLSError)


def decode_vectors(data: bytes) -> list[bytes]:
    """All vectors of an input, one after the other."""
    r = Reader(data)
    found = []
    while r.position < len(data):
        found.append(r.opaque())
    return found


def make(name: str) -> Target:
    """The target of a name."""
    return planted_target() if name == PLANTED else TARGETS[name]()
