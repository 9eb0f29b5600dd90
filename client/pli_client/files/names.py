"""A stranger's file name made harmless on every system we run on."""

import re
import unicodedata
from typing import Final

from pli_protocol.display_text import displayable

from ..i18n import _

LONGEST: Final = 180
"""Bytes of UTF-8; file systems take 255, and a number may be added."""

_SCANNED: Final = 1024
"""Characters of a name that are looked at, the extension among them."""

_FORBIDDEN: Final = re.compile('[<>:"/\\\\|?*\x00-\x1f\x7f\ufffd\u2400-\u2426]')
_RESERVED: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE
)


def safe_name(name: str) -> str:
    """A name without folders, controls, direction marks, or what Windows keeps for itself.

    Never empty, never hidden, never an option (`-x`), at most LONGEST bytes; the extension stays.
    Applying it again changes nothing.
    """
    last = re.split(r"[/\\]", name)[-1]
    plain = unicodedata.normalize("NFC", displayable(last, one_line=True, limit=_SCANNED))
    # Spaces of other scripts would stand in a folder unseen, or as something that is no space.
    clean = _FORBIDDEN.sub("_", re.sub(r"\s", " ", plain)).strip().lstrip(".").rstrip(". ")
    clean = _shortened(clean).strip().lstrip(".").rstrip(". ")
    if not clean:
        return _("file")
    if _RESERVED.fullmatch(clean) or clean.startswith(("-", "~")):
        return "_" + clean
    return clean


def numbered(name: str, number: int) -> str:
    """`plan.pdf`, then `plan (2).pdf`."""
    if number == 1:
        return name
    stem, dot, extension = name.rpartition(".")
    return f"{stem} ({number}){dot}{extension}" if stem else f"{name} ({number})"


def _shortened(name: str) -> str:
    if len(name.encode()) <= LONGEST:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = dot + extension if stem and len(extension.encode()) <= 16 else ""
    head = name.removesuffix(tail) if tail else name
    room = LONGEST - len(tail.encode())
    return head.encode()[:room].decode(errors="ignore").rstrip(". ") + tail
