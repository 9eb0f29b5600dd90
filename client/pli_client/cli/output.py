"""The one gate to the terminal: text passes the sanitiser here, JSON is one object per line.

Whatever the text holds, the only escape sequences that come out are those of `Styled`, and none where
the output is not a terminal.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from pli_protocol.display_text import displayable


class Styled(NamedTuple):
    """A piece of a line with a look of its own."""

    text: str
    fg: str | None = None
    bold: bool = False
    dim: bool = False


def line(*pieces: str | Styled) -> str:
    """Pieces put together, each made safe on its own."""
    return "".join(_piece(piece) for piece in pieces)


def say(*pieces: str | Styled) -> None:
    """A line of the answer, on stdout."""
    _write(line(*pieces), error=False)


def tell(*pieces: str | Styled) -> None:
    """A line beside the answer (progress, notices, errors), on stderr."""
    _write(line(*pieces), error=True)


def show_progress(name: str, done: int, total: int) -> None:
    """How far something is, on one line of stderr that the next takes the place of; for a terminal."""
    if not sys.stderr.isatty():
        return
    text = displayable(f"{name} {100 * done // max(total, 1)} %".strip(), one_line=True)
    end = "\n" if done >= total else ""
    sys.stderr.write(f"\r{text:<40}{end}")
    sys.stderr.flush()


def say_json(value: Mapping[str, Any]) -> None:
    """One object on one line of stdout; its texts are made safe too."""
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    _write(json.dumps(_safe(value), ensure_ascii=ascii_only), error=False)


def paragraph(text: str, indent: str = "    ") -> None:
    """A text of several lines, set in."""
    for row in displayable(text).split("\n"):
        say(indent, row)


def _piece(piece: str | Styled) -> str:
    if isinstance(piece, str):
        return displayable(piece, limit=100_000)
    text = displayable(piece.text, limit=100_000)
    return click.style(text, fg=piece.fg, bold=piece.bold or None, dim=piece.dim or None)


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return displayable(value)
    if isinstance(value, Mapping):
        return {str(key): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(item) for item in value]
    return value


def _write(text: str, *, error: bool) -> None:
    stream = sys.stderr if error else sys.stdout
    # A terminal that cannot show a letter shows its code, rather than ending the command.
    encoding = stream.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=error)
