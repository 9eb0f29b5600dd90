"""What is stored begins with its format's version; what is read back is checked (Pli's own formats).

| version | what it changed |
|---|---|
| 1 | the first; key package secrets bore no version yet |
| 2 | `group` tells the tree's width, `past/E` when the epoch ended; key package secrets their version |

Every entry has its own: a group that an older Pli stored is read as it is, and what changes is
written in the newest version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from ..secret import Secret
from .codec import Reader, Writer
from .errors import CodecError

FORMAT: Final = 2
"""The version that is written, and the newest that is read; all before it are read as well."""

VERSION: Final = bytes((FORMAT,))
"""How an entry begins."""

T = TypeVar("T")


def stored(write: Callable[[Writer], None]) -> Secret:
    """An entry: the version's byte, then what `write` appends."""
    w = Writer()
    w.raw(VERSION)
    write(w)
    return Secret(w.getvalue())


def read_stored(
    data: bytes,
    read: Callable[[Reader], T],
    what: str,
    first: Callable[[Reader], T] | None = None,
) -> T:
    """Read an entry to its end.

    Args:
        read: reads what follows the version.
        what: names the entry in errors.
        first: reads version 1, where that was different.

    Raises:
        CodecError: a newer version, or not what this version writes.

    """
    r = Reader(data)
    version = r.u8()
    if not 1 <= version <= FORMAT:
        raise CodecError(f"{what} is stored in version {version}; this library reads 1 to {FORMAT}")
    value = first(r) if first is not None and version == 1 else read(r)
    r.finish()
    return value


def fixed(data: bytes, size: int) -> Secret:
    """A stored secret of a size that its suite gives. Raises CodecError."""
    if len(data) != size:
        raise CodecError("a stored secret has a wrong length")
    return Secret(data)


def number(text: str) -> int:
    """A number in an entry's name, in its one writing. Raises CodecError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and str(int(text)) == text):
        raise CodecError("the name of a stored entry is none")
    return int(text)
