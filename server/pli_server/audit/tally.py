"""What anybody could repeat without end does not grow the log without end: above a number it is counted.

Of each act in `COUNTED`, `ENTRIES` by the same establishment, account and device (of failed sign-ins, by the
same account) become entries within `INTERVAL_MS`; those above become one entry with their number, written
once the interval is over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from .acts import Act, Entry

INTERVAL_MS: Final = 600_000
ENTRIES: Final = 60

COUNTED: Final = frozenset(
    {
        Act.SIGN_IN,
        Act.SIGN_IN_FAILED,
        Act.ENROLMENT_ASKED,
        Act.KEY_PACKAGES_CLAIMED,
        Act.BLOB_STORED,
        Act.BLOB_FETCHED,
    }
)

Key = tuple[Act, bytes | None, bytes | None, bytes | None]
Noted = tuple[Act, Entry]


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each act was seen in the interval that began at `began`. A value."""

    began: int = 0
    seen: Mapping[Key, int] = field(default_factory=dict)

    def sift(
        self, noted: Sequence[Noted], now: int, *, closing: bool = False
    ) -> tuple[list[Noted], "Counts"]:
        """What becomes an entry: of an interval that is over (or the relay stops) the numbers, then
        these acts but for those that are only counted. With the counts after it."""
        written: list[Noted] = []
        counts = self
        if closing or not 0 <= now - self.began < INTERVAL_MS:
            written, counts = list(self._numbers(now)), Counts(now)
        if not any(act in COUNTED for act, _ in noted):
            return [*written, *noted], counts
        seen = dict(counts.seen)
        for act, entry in noted:
            # Who has an identity key can make devices without end, none of which is let in.
            device = None if act is Act.SIGN_IN_FAILED else entry.device
            key = (act, entry.establishment, entry.account, device)
            if act in COUNTED:
                seen[key] = seen.get(key, 0) + 1
            if seen.get(key, 0) <= ENTRIES:
                written.append((act, entry))
        return written, Counts(counts.began, seen)

    def _numbers(self, now: int) -> list[Noted]:
        return [
            (act, Entry(now, establishment, account, device, {"count": seen - ENTRIES}))
            for (act, establishment, account, device), seen in self.seen.items()
            if seen > ENTRIES
        ]


class Tally:
    """The counts of one relay process, as committed. What they hold is lost when it is killed."""

    def __init__(self) -> None:
        self.counts = Counts()
