"""Who does what, and when: pure functions over what is known and the time."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pli_protocol.relay.frames import CommitReport


def lowest_active(leaves: Iterable[tuple[int, bytes]], inactive: Collection[bytes]) -> int | None:
    """The lowest leaf whose device is not among the inactive ones (revoked, leaving, lost)."""
    active = [leaf for leaf, device in leaves if device not in inactive]
    return min(active, default=None)


def when_to_act(now: float, own_leaf: int, lowest: int | None, delay: float) -> float:
    """At once for the lowest active leaf; the others give it `delay` seconds."""
    return now if lowest is None or own_leaf == lowest else now + delay


def culprit_of(
    reports: Iterable[CommitReport], persons: Mapping[bytes, bytes], suspect: bytes | None
) -> bytes | None:
    """The device to leave out when a conversation is re-founded after a refused commit.

    Args:
        reports: what devices said of the commit.
        persons: device to person, as far as known.
        suspect: the device that sent the commit.

    Returns:
        The suspect, unless a device of another person could apply the commit: then the fault lies
        here, and nobody is left out.
    """
    if suspect is None:
        return None
    owner = persons.get(suspect)
    for report in reports:
        person = persons.get(report.device)
        if report.applied and report.device != suspect and (person is None or person != owner):
            return None
    return suspect


def refound_due(trouble_at: float, after: float, chance: float) -> float:
    """When to re-found; spread, so that one of several members is first."""
    return trouble_at + after * (1 + 0.25 * chance)


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why a commit may be due in a group."""

    wanted: bool
    """The person asked: add, remove."""
    proposals: bool
    """Others proposed something valid (RFC 9420 §12.4: commit it before the next message)."""
    revoked: bool
    """A device in the group counts no more."""
    returns_due: bool
    """Somebody asked to be added again, and it is our turn."""
    renewal: bool
    """Our own leaf is old."""
    message_waits: bool
    """We have something to say."""
    our_turn: bool
    """We are the lowest active leaf, or have waited for it long enough."""


def commit_now(reasons: Reasons) -> bool:
    """Whether to commit now."""
    if reasons.wanted or reasons.returns_due or reasons.renewal:
        return True
    return (reasons.proposals or reasons.revoked) and (reasons.message_waits or reasons.our_turn)


def refound_allowed(known: Collection[bytes], committer: bytes, members: Collection[bytes]) -> bool:
    """Whether a successor may be entered: made by a member person, with nobody added."""
    return committer in known and set(members) <= set(known)
