"""Files and folders that only their owner may read, written so that a power cut leaves old or new."""

import os
import sys
from pathlib import Path

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


def make_private_folder(folder: Path) -> None:
    """Make a folder for the owner alone, and its parents as usual; an existing one is closed to others.

    On Windows Python gives a folder made with mode 0700 an access list of its owner and the
    administrators only; what lies inside inherits it. There an existing folder is left as it is.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=PRIVATE_FOLDER)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        sync_folder(folder.parent)
    if sys.platform != "win32":
        folder.chmod(PRIVATE_FOLDER)


def open_private(path: Path, flags: int) -> int:
    """A file descriptor of a file that, if it is made now, only its owner may read."""
    return os.open(path, flags | _BINARY | os.O_CREAT, PRIVATE_FILE)


def replace_durably(path: Path, data: bytes) -> None:
    """Give a file new content: after a crash it has the old content or the new, on disk.

    The new file is always one of our own making: what a crash, or somebody else in a shared folder,
    left under its name (a link, a file that others may read) is never written to.
    """
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = open_private(temporary, os.O_WRONLY | os.O_EXCL)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def overwrite_and_remove(path: Path) -> None:
    """Write zeros over a file and bring them to disk, then remove it; one that is missing is gone.

    A disk that never writes in place (flash, snapshots) may keep the old content for a time.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | _BINARY | _NO_LINKS)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(bytes(os.fstat(descriptor).st_size))
        file.flush()
        os.fsync(descriptor)
    path.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to disk. Windows does so by itself (NTFS journals them)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    _BINARY = os.O_BINARY
    _NO_LINKS = 0
else:
    _BINARY = 0
    _NO_LINKS = os.O_NOFOLLOW
