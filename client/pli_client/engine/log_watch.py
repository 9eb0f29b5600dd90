"""Watching the relay's audit log: every head that is shown must follow the one kept, provably.

The key is pinned at first sight. A head comes from the relay at each sign-in, and from members inside
their messages; a newer one is kept once the relay has proven that it follows. What contradicts is kept
with its signatures and told; messages go on. docs/protocol/audit.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from pli_protocol.identity import IdentityError
from pli_protocol.relay.frames import GetConsistency, SignedIn
from pli_protocol.transparency import ProofError, SignedHead, verify_consistency, verify_head

from ..errors import RelayError, RelayRefused, RequestTimedOut
from ..store import log_heads
from ..vault import transaction
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

HEADS: Final = transaction("log-heads")

MOST_HEARD: Final = 64
"""Heads from members that wait to be checked; those that came first go."""

MOST_SEEN: Final = 1024

PUT_OFF: Final = 36
"""How often in a row a relay may put off a proof, on whichever connections, before it counts as refused."""

PUTS_OFF: Final = (RelayRefused, RequestTimedOut)

EARLIER: Final = b"relay"
"""Instead of a person: the relay itself showed the head, at a sign-in of before."""


class Question(NamedTuple):
    """Whether one head follows another."""

    older: SignedHead
    newer: SignedHead
    by: bytes | None


class LogWatch:
    """One engine's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = asyncio.Lock()
        self._heard: deque[tuple[SignedHead, bytes]] = deque(maxlen=MOST_HEARD)
        self._seen: OrderedDict[tuple[int, int, bytes], None] = OrderedDict()
        self._checking = False
        self._put_off = 0

    async def after_sign_in(self, relay: str, signed_in: SignedIn) -> None:
        """Compare what the relay shows with what is kept; then what members showed meanwhile."""
        async with self._lock:
            found = await self._engine.write(
                lambda work: _first_look(work, relay, signed_in), name=HEADS
            )
            try:
                await self._prove(found)
            except RelayError:
                self._heard.appendleft((signed_in.head, EARLIER))
        if not self._checking:
            await self._check_heard()

    def heard_of(self, heads: Iterable[tuple[SignedHead, bytes]]) -> None:
        """Members' messages carried these: each that is new is checked, beside all else."""
        for signed, by in heads:
            head = signed.head
            place = (head.timeline, head.size, head.root)
            if place not in self._seen:
                self._seen[place] = None
                self._heard.append((signed, by))
        while len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        if self._heard and not self._checking:
            self._engine.spawn(self._check_heard(), "pli log heads")

    async def check(self, signed: SignedHead, by: bytes) -> str | None:
        """Compare a head with what is kept, asking the relay for a proof where it takes one.

        Args:
            by: the person who showed it; nothing: a file.

        Returns:
            None where all agrees, else the reason of the contradiction, which is kept.

        Raises:
            RelayError: the relay could not be asked.
        """
        async with self._lock:
            found = await self._engine.write(lambda work: look(work, signed, by), name=HEADS)
            return await self._prove(found)

    async def _check_heard(self) -> None:
        self._checking = True
        try:
            while self._heard and self._engine.online:
                signed, by = self._heard.popleft()
                try:
                    await self.check(signed, by)
                except RelayError as error:
                    self._heard.appendleft((signed, by))
                    if not isinstance(error, PUTS_OFF):
                        return  # until the next sign-in
                    await self._engine.timing.pause(self._engine.timing.prove_again)
        finally:
            self._checking = False

    async def _prove(self, found: Question | str | None) -> str | None:
        if not isinstance(found, Question):
            return found
        older, newer = found.older.head, found.newer.head
        asked = GetConsistency(0, newer.timeline, older.size, newer.size)
        reason: str | None = None
        path = await self._proof(asked)
        if path is None:
            reason = "refused"
        else:
            try:
                verify_consistency(older.size, older.root, newer.size, newer.root, path)
            except ProofError:
                reason = "inconsistent"
        await self._engine.write(lambda work: _settle(work, found, reason), name=HEADS)
        return reason

    async def _proof(self, asked: GetConsistency) -> tuple[bytes, ...] | None:
        """The relay's proof; None: it gives none, which an honest relay always can, if not at once.

        Raises RelayError: it was put off, or the connection was lost.
        """
        try:
            path = (await self._engine.connection.request(asked)).path
        except PUTS_OFF as error:
            later = isinstance(error, RequestTimedOut) or error.refusal == "try-later"
            self._put_off += 1
            if later and self._put_off < PUT_OFF:
                raise
            path = None
        self._put_off = 0
        return path


def _first_look(work: Work, relay: str, signed_in: SignedIn) -> Question | str | None:
    pinned = log_heads.read_key(work.db)
    if pinned is None:
        log_heads.pin_key(work.db, relay, signed_in.log_key, work.now)
    elif pinned[1] != signed_in.log_key:
        newest = log_heads.newest(work.db)
        return _contradiction(work, "another-key", newest, signed_in.head, None)
    return look(work, signed_in.head, None)


def look(work: Work, signed: SignedHead, by: bytes | None) -> Question | str | None:
    """What can be told of a head without a proof; else the question that a proof must answer.

    None: it agrees, or tells nothing. A text: the reason why it contradicts.

    Args:
        by: the person whose message carried it; None: the relay shows it as its newest.
    """
    pinned = log_heads.read_key(work.db)
    if pinned is None:
        return None
    try:
        head = verify_head(pinned[0], signed, pinned[1])
    except IdentityError:
        if by is None:
            return _contradiction(work, "signature", log_heads.newest(work.db), signed, None)
        return None  # a member can make up anything but the relay's signature
    newest = log_heads.newest(work.db)
    if by is None and newest is not None and head.timeline < newest.head.timeline:
        return _contradiction(work, "set-back", newest, signed, None)
    kept = log_heads.head_of(work.db, head.timeline)
    if kept is None:
        _new_timeline(work, newest, signed)
        return None
    if newest is not None and head.timeline < newest.head.timeline:
        return _compare_ended(work, kept, signed, by)
    return _compare(work, kept, signed, by)


def _compare_ended(
    work: Work, kept: SignedHead, signed: SignedHead, by: bytes | None
) -> str | None:
    """A head of a timeline that ended: of what a restored relay lost it can prove nothing any more."""
    ours, shown = kept.head, signed.head
    if shown.size == ours.size and shown.root != ours.root:
        return _contradiction(work, "forked", kept, signed, by)
    if shown.size > ours.size:
        log_heads.keep(work.db, signed)
    return None


def _new_timeline(work: Work, newest: SignedHead | None, signed: SignedHead) -> None:
    if newest is None:
        log_heads.keep(work.db, signed)
    elif signed.head.timeline > newest.head.timeline:
        log_heads.keep(work.db, signed)
        before = newest.head
        work.event(
            None,
            "log-anew",
            timeline=signed.head.timeline,
            before=before.timeline,
            size=before.size,
        )


def _compare(
    work: Work, kept: SignedHead, signed: SignedHead, by: bytes | None
) -> Question | str | None:
    ours, shown = kept.head, signed.head
    if shown.size == ours.size:
        if shown.root != ours.root:
            return _contradiction(work, "forked", kept, signed, by)
        return None
    if shown.size > ours.size:
        return Question(kept, signed, by)
    if by is None:
        return _contradiction(work, "truncated", kept, signed, None)
    return Question(signed, kept, by)


def _settle(work: Work, question: Question, reason: str | None) -> None:
    older, newer, by = question
    if reason is not None:
        ours, other = (newer, older) if _is_kept(work, newer) else (older, newer)
        _contradiction(work, reason, ours, other, by)
    elif not _is_kept(work, newer):
        log_heads.keep(work.db, newer)


def _is_kept(work: Work, signed: SignedHead) -> bool:
    return log_heads.head_of(work.db, signed.head.timeline) == signed


def _contradiction(
    work: Work, reason: str, ours: SignedHead | None, other: SignedHead, by: bytes | None
) -> str:
    by = None if by == EARLIER else by
    log_heads.add_contradiction(work.db, reason, ours, other, by, work.now)
    work.event(None, "log-contradicted", reason=reason, by=by or None)
    return reason
