"""What anybody could repeat without end does not grow the log without end: above a number it is counted.

Of each act in `COUNTED`, `ENTRIES` by the same establishment, account and device become entries within
`INTERVAL_MS`; those above become one entry with their number, written once the interval is over.
"""

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


class Tally:
    """Of one relay process; used by its writer's thread. What it holds is lost when the process is killed."""

    def __init__(self) -> None:
        self._began = 0
        self._seen: dict[Key, int] = {}

    def takes(self, act: Act, entry: Entry) -> bool:
        """Whether the act is only counted: there were enough entries like it in this interval."""
        if act not in COUNTED:
            return False
        key = (act, entry.establishment, entry.account, entry.device)
        self._seen[key] = seen = self._seen.get(key, 0) + 1
        return seen > ENTRIES

    def due(self, now: int, *, closing: bool = False) -> list[tuple[Act, Entry]]:
        """The entries of counted acts, once the interval is over (or the relay stops)."""
        if not closing and 0 <= now - self._began < INTERVAL_MS:
            return []
        ended, self._seen, self._began = self._seen, {}, now
        return [
            (act, Entry(now, establishment, account, device, {"count": seen - ENTRIES}))
            for (act, establishment, account, device), seen in ended.items()
            if seen > ENTRIES
        ]
