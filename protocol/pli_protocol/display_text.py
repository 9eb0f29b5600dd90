"""The one sanitiser: text from outside becomes text that a terminal only shows, by code point.

Terminals obey escape sequences, C1 controls and bidirectional overrides, and invisible characters make
two different names look alike. Every displayed field passes here at the decode boundary.
"""

import unicodedata

LINE_LIMIT = 256
"""Code points of the longest one-line text (a name, a title, a file name)."""

TEXT_LIMIT = 64 * 1024
"""Code points of the longest text of several lines."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

# No writing system needs more marks on one letter; a tower of marks paints over the lines above it.
_MAX_MARKS = 8

# Embeddings and overrides reorder what follows ("gpj.exe" read as "exe.jpg"): their place stays visible.
_BIDI_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e")

# Format characters that are drawn: number and verse signs that stand before digits.
_DRAWN_FORMAT = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)

# Letters, marks and symbols by category, yet blank or steering: fillers, joiners, variation selectors.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u180b\u180c\u180d\u180f")
_LINE_ENDS = frozenset("\n\x0b\x0c\x85\u2028\u2029")


def displayable(text: str, *, one_line: bool = False, limit: int | None = None) -> str:
    """Text that is safe to print: it cannot move the cursor, reorder, hide or forge a line.

    Controls become their picture or U+FFFD, bidirectional overrides, unassigned and private
    characters and lone surrogates become U+FFFD, zero-width and tag characters go, every kind of
    line end becomes a newline, or a space with `one_line`. Applying it again changes nothing.

    Args:
        text: Anything, lone surrogates included.
        one_line: For names, titles, labels: no newline comes out, and no space at either end.
        limit: Code points at most; a longer text is cut and ends in an ellipsis. Default:
            LINE_LIMIT or TEXT_LIMIT.
    """
    bound = limit if limit is not None else LINE_LIMIT if one_line else TEXT_LIMIT
    out: list[str] = []
    marks = 0
    for character in text[: 4 * bound].replace("\r\n", "\n").replace("\r", "\n"):
        shown = _shown(character, one_line)
        if not shown:
            continue
        marks = marks + 1 if unicodedata.category(shown[0]) in ("Mn", "Me") else 0
        if marks <= _MAX_MARKS:
            out.append(shown)
    result = "".join(out)
    if one_line:
        # A name of nothing but invisible characters must not look like no name at all.
        result = result.strip() or (REPLACEMENT if text.strip(" ") else "")
    return _cut(result, bound, one_line or len(text) <= 4 * bound)


def _cut(text: str, bound: int, whole: bool) -> str:
    if len(text) <= bound and whole:
        return text
    if len(text) <= bound - 1:
        return text + ELLIPSIS
    return text[: max(bound - 1, 0)] + ELLIPSIS


def _shown(character: str, one_line: bool) -> str:
    """What stands for one code point: itself, a picture, the replacement, or nothing."""
    if " " <= character <= "~":
        return character
    if character in _LINE_ENDS:
        return " " if one_line else "\n"
    if character == "\t":
        return " " if one_line else "    "
    point = ord(character)
    if point < 0x20:
        return chr(0x2400 + point)
    if point == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    return _shown_beyond_ascii(character, point)


def _shown_beyond_ascii(character: str, point: int) -> str:
    if character in _BIDI_OVERRIDES:
        return REPLACEMENT
    if character in _BLANK or 0xE0000 <= point <= 0xE0FFF:
        return ""
    category = unicodedata.category(character)
    if category == "Cf":
        return character if character in _DRAWN_FORMAT else ""
    if category in ("Cc", "Cs", "Co", "Cn"):
        return REPLACEMENT
    return character
