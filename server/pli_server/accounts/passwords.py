"""Account passwords: Argon2id once more at the relay, a few at a time, beside the loop.

What arrives was derived by the device with Argon2id already (pli_protocol.identity.password). Whoever
steals the database must compute both for each guess.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ..errors import Refusal
from ..settings import Accounts

T = TypeVar("T")

RETRY_MS = 2_000


class Passwords:
    """Hashes and checks derived passwords, bounded in memory and in how many wait."""

    def __init__(self, settings: Accounts) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.password_passes,
            memory_cost=settings.password_memory_kib,
            parallelism=1,
        )
        self._pool = ThreadPoolExecutor(settings.password_checks, "pli password")
        self._most = settings.password_checks_waiting
        self._waiting = 0
        # Checked in the place of a hash that is not there, so that nobody sees by the time taken.
        self._nobody: str | None = None
        self.computed = 0
        """How often Argon2 has run."""

    def close(self) -> None:
        """Wait for what runs."""
        self._pool.shutdown()

    def places(self, stranger: bool) -> int:
        """How many there are."""
        return self._most - (self._most // 8 if stranger else 0)

    @contextmanager
    def place(self, *, stranger: bool = False) -> Iterator[None]:
        """Room for one `hash` or `check`: taken first, so that who finds none was not counted.

        Args:
            stranger: Who has not signed in; an eighth of the places is kept from them.

        Raises:
            Refusal: try-later, too many wait.
        """
        if self._waiting >= self.places(stranger):
            raise Refusal("try-later", "too many passwords are checked", retry_after=RETRY_MS)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def hash(self, derived: bytes) -> str:
        """The hash to store; its parameters stand in it. In a `place`."""
        return await self._run(lambda: self._hash(derived))

    async def check(self, stored: str | None, derived: bytes) -> str | None:
        """The hash to keep from now on if the password is right, else None. In a `place`.

        Args:
            stored: None takes as long, and is never right.
        """
        return await self._run(lambda: self._check(stored, derived))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _hash(self, derived: bytes) -> str:
        self.computed += 1
        return self._hasher.hash(derived)

    def _check(self, stored: str | None, derived: bytes) -> str | None:
        if self._nobody is None:
            self._nobody = self._hasher.hash(os.urandom(32))
        self.computed += 1
        try:
            self._hasher.verify(stored or self._nobody, derived)
        except (VerificationError, InvalidHashError):
            return None
        if stored is None:
            return None
        # Right, and the host has raised the cost since: the stronger hash replaces it.
        return self._hash(derived) if self._hasher.check_needs_rehash(stored) else stored
