"""Wiping a vault: first a note that it is being wiped, then its key, then everything else.

Once the wrapped key is gone nothing in the folder can be opened any more, whatever remains of it. A
crash anywhere is made good by whoever opens the folder next: the note is there until another vault is
made in its place.
"""

from pathlib import Path
from typing import Final

import msgspec

from pli_protocol.failpoint import declare, failpoint

from .header import HEADER_FILE
from .lock import LOCK_FILE
from .private_files import overwrite_and_remove, replace_durably, sync_folder

WIPED_FILE: Final = "wiped.json"

_POINTS: Final = ("vault.wipe.before", "vault.wipe.within", "vault.wipe.after")
declare(*_POINTS)


class _Note(msgspec.Struct, frozen=True):
    reason: str


def wiped(folder: Path) -> str | None:
    """Why the vault here was, or is to be, wiped; None: it was not."""
    try:
        data = (folder / WIPED_FILE).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=_Note).reason
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def destroy_key(folder: Path, reason: str) -> None:
    """The point of no return: after this nobody can open the database, whatever is left of it.

    Raises:
        OSError: of the disk; where the note was written, the next start goes on.
    """
    failpoint("vault.wipe.before")
    replace_durably(folder / WIPED_FILE, msgspec.json.encode(_Note(reason)))
    failpoint("vault.wipe.within")
    for name in (HEADER_FILE, HEADER_FILE + ".new"):
        overwrite_and_remove(folder / name)
    failpoint("vault.wipe.after")


def remove_files(folder: Path) -> None:
    """Everything but the note and the lock. Raises OSError."""
    kept = {WIPED_FILE, LOCK_FILE}
    for path in sorted(folder.rglob("*"), key=lambda path: len(path.parts), reverse=True):
        if path.relative_to(folder).parts[0] in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    sync_folder(folder)


def finish(folder: Path) -> str | None:
    """Go on with a wipe that was begun; its reason. None: there was none. Raises OSError."""
    reason = wiped(folder)
    if reason is not None:
        destroy_key(folder, reason)
        remove_files(folder)
    return reason


def make_room(folder: Path) -> None:
    """Another vault is to be made where one was wiped. Raises OSError."""
    if finish(folder) is not None:
        (folder / WIPED_FILE).unlink()
        sync_folder(folder)
