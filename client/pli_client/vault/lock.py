"""The lock that lets one process at a time use a vault. The system drops it when the process dies."""

import os
import sys
from pathlib import Path
from typing import Self

from ..errors import VaultBusy
from .private_files import open_private

LOCK_FILE = "vault.lock"


class VaultLock:
    """Held from `take` until `release`. The file itself stays and means nothing when nobody holds it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Take the lock at once.

        Raises:
            VaultBusy: another open vault, in this or another process, has it.
            OSError: the file cannot be made.
        """
        descriptor = open_private(folder / LOCK_FILE, os.O_RDWR)
        try:
            _lock(descriptor)
        except OSError:
            os.close(descriptor)
            raise VaultBusy() from None
        return cls(descriptor)

    def release(self) -> None:
        """Give it back; a second call does nothing."""
        if self._descriptor is not None:
            _unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
