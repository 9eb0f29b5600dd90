"""Signing heads of the log, and keeping some of them for `audit verify` to compare with."""

import sqlalchemy as sa

from pli_protocol.identity import SigningKey
from pli_protocol.transparency import Frontier, SignedHead, TreeHead, sign_head

from ..storage import tables as t


class HeadSigner:
    """Signs what is committed, for one relay's name."""

    def __init__(self, relay: str, key: SigningKey) -> None:
        self._relay = relay
        self._key = key
        self._last: SignedHead | None = None

    @property
    def public(self) -> bytes:
        """The log key that clients pin (32 bytes)."""
        return self._key.public

    def sign(self, timeline: int, tree: Frontier, now: int) -> SignedHead:
        """The head of a committed tree; the same again where the tree is that of the last call."""
        last = self._last
        if last is None or (last.head.timeline, last.head.size) != (timeline, tree.size):
            head = TreeHead(timeline, tree.size, tree.root, now)
            self._last = last = sign_head(self._relay, head, self._key)
        return last


def keep(db: sa.Connection, signed: SignedHead) -> None:
    """Note a signed head, for good; once for each size."""
    head = signed.head
    db.execute(
        sa.text(_KEEP),
        {
            "timeline": head.timeline,
            "size": head.size,
            "root": head.root,
            "time": head.time,
            "signature": signed.signature,
        },
    )


_KEEP = (
    f"INSERT INTO {t.trace_heads.name} (timeline, size, root, time, signature)"
    " VALUES (:timeline, :size, :root, :time, :signature) ON CONFLICT DO NOTHING"
)
