"""The demonstration's last page: what the relay's files hold, beside what the DUI received."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from pli_protocol.display_text import displayable

from ..i18n import _
from .counts import Counts
from .plaintext import Search

_GUTTER: Final = " │ "
_SAMPLE_ROWS: Final = 16
_LONGEST_NAME: Final = 28
_SAMPLE_BYTES: Final = 12


def side_by_side(left: Sequence[str], right: Sequence[str], width: int) -> Iterator[str]:
    """Two columns of text, each row cut or filled to half of the width."""
    half = (width - len(_GUTTER)) // 2
    for one, other in zip_longest(_wrapped(left, half), _wrapped(right, half), fillvalue=""):
        yield f"{one:<{half}}{_GUTTER}{other}".rstrip()


def relay_side(folder: Path, found: Search) -> list[str]:
    """What the relay has: its files, some of their bytes, the result of the search."""
    rows = [_("WHAT THE RELAY HOLDS"), ""]
    for name, size in found.files:
        shown = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        rows.append(_("%(name)s: %(size)s bytes") % {"name": shown, "size": size})
    rows += ["", _("A message, as it lies there:"), *_sample(folder, found), ""]
    rows.append(
        _("Looked for: %(needles)s pieces of texts, names, records and files.")
        % {"needles": found.needles}
    )
    rows.append(_("Found: %(hits)s.") % {"hits": len(found.hits) or _("nothing")})
    for hit in found.hits[:20]:
        rows.append(
            _("  in %(file)s at byte %(offset)s: %(of)s")
            % {"file": hit.file, "offset": hit.offset, "of": hit.of}
        )
    return rows


def dui_side(created: Sequence[dict[str, Any]], withdrawn: Sequence[dict[str, Any]]) -> list[str]:
    """What the DUI has: its notes, record by record, in plain text."""
    rows = [_("WHAT THE DUI RECEIVED"), ""]
    gone = {_key(document) for document in withdrawn}
    by_record: dict[str, list[dict[str, Any]]] = {}
    for document in created:
        by_record.setdefault(document["subject"]["identifier"]["value"], []).append(document)
    for record, documents in sorted(by_record.items()):
        rows.append(_("Record %(record)s") % {"record": record})
        for document in sorted(documents, key=lambda d: str(d["date"])):
            rows += _note(document, _key(document) in gone)
        rows.append("")
    return rows


def summary(counts: Counts, seconds: float) -> list[str]:
    """The result in a few sentences."""
    verdict = (
        _("Nothing lost, nothing doubled, nothing readable at the relay.")
        if counts.good
        else _("THE DEMONSTRATION FAILED.")
    )
    return [
        _("Messages: %(messages)s; lost: %(lost)s; doubled: %(doubled)s.")
        % {"messages": counts.messages, "lost": counts.lost, "doubled": counts.doubled},
        _("Read by somebody who was not, or no longer, a member: %(overread)s.")
        % {"overread": counts.overread},
        _("Pieces of plain text in the relay's files: %(hits)s.") % {"hits": counts.plaintext_hits},
        _(
            "Notes filed in the DUI: %(filed)s; withdrawn: %(withdrawn)s; receipts shown: %(receipts)s."
        )
        % {
            "filed": counts.notes_filed,
            "withdrawn": counts.notes_withdrawn,
            "receipts": counts.receipts,
        },
        verdict + " " + _("(%(seconds)s s)") % {"seconds": round(seconds, 1)},
    ]


def _sample(folder: Path, found: Search) -> Iterator[str]:
    """Bytes from the middle of the largest file, as a hexadecimal dump shows them."""
    if not found.files:
        return
    name, size = max(found.files, key=lambda file: file[1])
    data = (folder / name).read_bytes()
    start = _dense(data)
    for row in range(start, min(start + _SAMPLE_ROWS * _SAMPLE_BYTES, size), _SAMPLE_BYTES):
        piece = data[row : row + _SAMPLE_BYTES]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "·" for byte in piece)
        yield f"{piece.hex(' '):<{3 * _SAMPLE_BYTES}}{text}"


def _dense(data: bytes) -> int:
    """Where a stretch begins that looks like ciphertext: many different bytes."""
    window = 256
    starts = range(0, max(len(data) - window, 1), window)
    return max(starts, key=lambda start: len(set(data[start : start + window])))


def _note(document: dict[str, Any], gone: bool) -> Iterator[str]:
    coding = document["type"]["coding"][0]
    urgent = " " + _("URGENT") if document.get("extension") else ""
    state = " " + _("(withdrawn)") if gone else ""
    author = document["author"][0].get("display", "")
    yield f"· {coding['display']}{urgent}{state}, {author}"
    yield f"  {document.get('description', '')}"
    for content in document["content"]:
        attachment = content["attachment"]
        if attachment.get("title"):
            yield "  " + _("with %(name)s (%(size)s bytes)") % {
                "name": attachment["title"],
                "size": attachment.get("size", 0),
            }


def _key(document: dict[str, Any]) -> tuple[str, str]:
    return (
        document["masterIdentifier"]["value"],
        document["subject"]["identifier"]["value"],
    )


def _wrapped(rows: Sequence[str], width: int) -> Iterator[str]:
    for row in rows:
        text = displayable(row, one_line=False)
        indent = " " * (len(text) - len(text.lstrip()) + (2 if text.startswith("· ") else 0))
        yield from textwrap.wrap(text, width, subsequent_indent=indent) or [""]
