"""What accounts have had stored, day by day, and the bounds on it: messages, their bytes, files.

It is counted with each request and written at the end of its transaction. What was read of the table is
believed for a while, so several nodes together may go over a bound by what they take in that time.
"""

from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from ..errors import Refusal
from ..settings import Limits
from . import tables as t
from .database import Statements

DAY_MS: Final = 86_400_000
BELIEVED_MS: Final = 120_000
KNOWN: Final = 50_000
"""Accounts that are remembered."""


@dataclass(slots=True)
class Amount:
    """Rows of logs, their bytes with Welcomes, bytes of files."""

    messages: int = 0
    size: int = 0
    files: int = 0

    def add(self, other: "Amount") -> None:
        self.messages += other.messages
        self.size += other.size
        self.files += other.files


@dataclass(slots=True)
class _Account:
    establishment: bytes
    today: Amount
    read: int


@dataclass(slots=True)
class _Establishment:
    size: int
    read: int


class Usage:
    """The counts of one writer; it belongs to its thread."""

    def __init__(self, limits: Limits, days: int) -> None:
        """`days`: for how long an establishment's bytes are added up, which is how long they are kept."""
        self._limits = limits
        self._days = days
        self._now = 0
        self._accounts: dict[int, _Account] = {}
        self._establishments: dict[bytes, _Establishment] = {}
        self._gathered: dict[tuple[int, bytes], Amount] = {}
        """By account and establishment: what this transaction adds."""
        self._kept: dict[tuple[int, bytes], Amount] | None = None
        """The same without the request that runs."""

    def begin(self, now: int) -> None:
        """A transaction begins, whatever became of the one before."""
        if now // DAY_MS != self._now // DAY_MS:
            self._accounts.clear()
        self._now = now
        self._gathered, self._kept = {}, None

    def begin_request(self) -> None:
        """A request begins that may be undone alone."""
        self._kept = {key: replace(amount) for key, amount in self._gathered.items()}

    def undo_request(self) -> None:
        """It was undone."""
        if self._kept is not None and self._kept != self._gathered:
            self._gathered = self._kept
            self.forget()

    def forget(self) -> None:
        """Whatever was counted is read again: a transaction was undone."""
        self._accounts.clear()
        self._establishments.clear()

    def charge(
        self, db: sa.Connection, account_no: int, amount: Amount, *, spare: bool = False
    ) -> None:
        """Count what an account adds.

        Args:
            spare: What changes a group goes a tenth above the bounds: who has reached them can still
                remove a device.

        Raises:
            Refusal: limit, it or its establishment would have more than it may.
        """
        account, limits = self._account(db, account_no), self._limits
        share = 1.1 if spare else 1.0
        if account.today.messages + amount.messages > share * limits.messages_per_day:
            raise self._tomorrow("this account has sent too many messages today")
        if account.today.size + amount.size > share * limits.message_bytes_per_day:
            raise self._tomorrow("this account has sent too many bytes today")
        size = amount.size + amount.files
        self._room(db, account.establishment, size, share).size += size
        account.today.add(amount)
        self._gathered.setdefault((account_no, account.establishment), Amount()).add(amount)

    def room(self, db: sa.Connection, establishment: bytes, size: int) -> None:
        """Raises Refusal "limit" where an establishment may not store so many bytes more."""
        self._room(db, establishment, size, 1.0)

    def write(self, statements: Statements) -> None:
        """At the end of the transaction."""
        if self._gathered:
            day = self._now // DAY_MS
            statements.add_usage(
                [
                    (account_no, day, establishment, amount.messages, amount.size, amount.files)
                    # One order for all nodes, so that they do not wait for each other.
                    for (account_no, establishment), amount in sorted(self._gathered.items())
                ]
            )

    def _account(self, db: sa.Connection, account_no: int) -> _Account:
        known = self._accounts.get(account_no)
        if known is not None and self._believed(known.read):
            return known
        if len(self._accounts) >= KNOWN:
            self._accounts.clear()
        keys = {"account": account_no, "day": self._now // DAY_MS}
        establishment, messages, size, files = db.execute(_TODAY, keys).one()
        today = Amount(messages or 0, size or 0, files or 0)
        today.add(self._gathered.get((account_no, establishment), Amount()))
        known = self._accounts[account_no] = _Account(establishment, today, self._now)
        return known

    def _room(
        self, db: sa.Connection, establishment: bytes, size: int, share: float
    ) -> _Establishment:
        known = self._establishments.get(establishment)
        if known is None or not self._believed(known.read):
            keys = {"establishment": establishment, "day": self._now // DAY_MS - self._days}
            stored = int(db.scalar(_STORED, keys) or 0) + sum(
                amount.size + amount.files
                for (_, owner), amount in self._gathered.items()
                if owner == establishment
            )
            known = self._establishments[establishment] = _Establishment(stored, self._now)
        if known.size + size > share * self._limits.bytes_per_establishment:
            raise Refusal("limit", "this establishment has stored as much as it may")
        return known

    def _believed(self, read: int) -> bool:
        return 0 <= self._now - read < BELIEVED_MS

    def _tomorrow(self, detail: str) -> Refusal:
        return Refusal("limit", detail, retry_after=DAY_MS - self._now % DAY_MS)


_TODAY = (
    sa.select(t.accounts.c.establishment, t.usage.c.messages, t.usage.c.bytes, t.usage.c.files)
    .outerjoin(
        t.usage,
        sa.and_(t.usage.c.account_no == t.accounts.c.no, t.usage.c.day == sa.bindparam("day")),
    )
    .where(t.accounts.c.no == sa.bindparam("account"))
)

_STORED = sa.select(sa.func.sum(t.usage.c.bytes + t.usage.c.files)).where(
    t.usage.c.establishment == sa.bindparam("establishment"),
    t.usage.c.day > sa.bindparam("day"),
)
