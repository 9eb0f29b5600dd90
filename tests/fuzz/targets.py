"""All fuzz targets by name; each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from . import group_targets, mls_targets, outer_targets, planted
from .target import Target

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


def make(name: str) -> Target:
    """The target of a name."""
    return planted.planted_target() if name == planted.NAME else TARGETS[name]()
