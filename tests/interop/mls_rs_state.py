"""What mls-rs stores of a group, and what can be read from it that its bindings do not tell."""

from __future__ import annotations

from collections.abc import Callable

from mls_rs_uniffi import EpochRecord, GroupStateStorage

from pli_protocol.mls import GroupContext, suite
from pli_protocol.mls.codec import Reader
from pli_protocol.mls.key_schedule import export_secret

SECRET = 32
"""Bytes of a secret in suite 0x0001; in the state, each follows a length byte of this value."""


class Store(GroupStateStorage):  # type: ignore[misc]
    """Group state in memory. `last_written` is the group of the last write."""

    def __init__(self) -> None:
        self.states: dict[bytes, bytes] = {}
        self.epochs: dict[bytes, dict[int, bytes]] = {}
        self.last_written = b""

    def state(self, group_id: bytes) -> bytes | None:
        return self.states.get(group_id)

    def epoch(self, group_id: bytes, epoch_id: int) -> bytes | None:
        return self.epochs.get(group_id, {}).get(epoch_id)

    def write(
        self,
        group_id: bytes,
        group_state: bytes,
        epoch_inserts: list[EpochRecord],
        epoch_updates: list[EpochRecord],
    ) -> None:
        self.last_written = group_id
        self.states[group_id] = group_state
        kept = self.epochs.setdefault(group_id, {})
        kept.update({record.id: record.data for record in (*epoch_inserts, *epoch_updates)})

    def max_epoch_id(self, group_id: bytes) -> int | None:
        return max(self.epochs.get(group_id, {}), default=None)

    def forget(self, group_id: bytes) -> None:
        self.states.pop(group_id, None)
        self.epochs.pop(group_id, None)


def group_context(state: bytes) -> tuple[GroupContext, bytes]:
    """The GroupContext, which follows the state's version (2 bytes), and its encoding."""
    reader = Reader(state[2:])
    context = GroupContext.read(reader)
    return context, state[2 : 2 + reader.position]


def epoch_authenticator(state: bytes, exporter: Callable[[bytes, bytes, int], bytes]) -> bytes:
    """The epoch authenticator: in the state it follows the exporter secret.

    That one is known by what it exports. Raises ValueError when the state has another shape.
    """
    exported = exporter(b"where", b"", SECRET)
    step = SECRET + 1
    for place in range(len(state) - 2 * step, -1, -1):
        if state[place] != SECRET or state[place + step] != SECRET:
            continue
        candidate = state[place + 1 : place + step]
        if export_secret(suite(1), candidate, b"where", b"", SECRET) == exported:
            return state[place + step + 1 : place + 2 * step]
    raise ValueError("no exporter secret in the stored state")
