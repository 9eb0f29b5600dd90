"""When a partnership has ended: who goes from a conversation that both establishments were in.

The house of the conversation is the establishment that most of its persons are of (of two, the one with
the lowest leaf). Where it is one's own, the others' devices are removed, as revoked ones are; where it is
not, this person leaves. Every device decides for itself, by what its own authority signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pli_protocol.mls.group import Group

from ..store import groups, outbox
from . import sending
from .work import Work


@dataclass(frozen=True, slots=True)
class Parting:
    """What this device has to do about it now."""

    removed: tuple[int, ...] = ()
    """Leaves to remove."""
    leave: bool = False
    look_again: float | None = None
    """Unix seconds at which a partnership of somebody here ends."""


NOTHING = Parting()


def parting(work: Work, group: Group, members: Sequence[groups.MemberRow]) -> Parting:
    """Who has to go, as far as this device is concerned."""
    trust, own = work.trust, work.trust.own.establishment
    if not trust.partners:
        return NOTHING
    where: dict[int, bytes] = {}
    for row in members:
        member = group.member(row.leaf)
        if member is not None:
            where[row.leaf] = work.device(member).person.establishment
    present = set(where.values())
    ended = {e for e in present if trust.ended(e, work.now_s)}
    ends = [trust.over_at(trust.partners[e]) + 1.0 for e in present - ended - {own}]
    look_again = min(ends, default=None)
    if not ended:
        return Parting(look_again=look_again)
    if _house(members, where) != own:
        return Parting(leave=True)
    return Parting(tuple(leaf for leaf, e in where.items() if e in ended), False, look_again)


def _house(members: Sequence[groups.MemberRow], where: dict[int, bytes]) -> bytes:
    persons: dict[bytes, set[bytes]] = {}
    lowest: dict[bytes, int] = {}
    for row in members:
        establishment = where.get(row.leaf)
        if establishment is not None:
            persons.setdefault(establishment, set()).add(row.person_id)
            lowest[establishment] = min(row.leaf, lowest.get(establishment, row.leaf))
    return max(persons, key=lambda e: (len(persons[e]), -lowest[e]))


def leave(work: Work, conversation_id: bytes) -> None:
    """Leave, unless that is under way."""
    if not outbox.leaves(work.db, conversation_id):
        sending.queue_leave(work, conversation_id)
