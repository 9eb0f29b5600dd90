"""Brings the French catalogues up to date: `python -m tests.client.i18n.catalogue`.

Adds the msgids that the code uses and the catalogue lacks (with an empty text, to be filled in by
hand), drops those of ours that nothing uses, and compiles both catalogues. Says what is still to translate.
"""

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
from babel.messages import catalog as babel_catalog
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

import pli_client
from pli_client.i18n import FOLDER

babel_catalog.VERSION = "2"  # type: ignore[attr-defined]
"""What the files say wrote them: the same whichever version of Babel it was."""

PLURAL_FORMS = "nplurals=2; plural=(n > 1);"
"""As the texts are written; Babel's own for French depends on its version (since 2.19: three)."""

FRENCH = FOLDER / "fr" / "LC_MESSAGES"
SOURCES = {
    "pli": Path(pli_client.__file__).parent,
    "messages": Path(click.__file__).parent,
}
"""Catalogue to the package whose texts it holds; click's own are in gettext's default domain."""

_KEYWORDS = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}
_LONG_AGO = datetime(2026, 11, 22, tzinfo=UTC)


def used(domain: str) -> dict[str | tuple[str, ...], set[str]]:
    """The msgids that the code uses (a pair for a plural), with the files that use them."""
    found: dict[str | tuple[str, ...], set[str]] = {}
    for file, _line, msgid, _comments, _context in extract_from_dir(
        SOURCES[domain], [("**.py", "python")], keywords=_KEYWORDS
    ):
        if msgid:
            found.setdefault(msgid, set()).add(file)
    return found


def read(domain: str) -> Catalog:
    with (FRENCH / f"{domain}.po").open("rb") as file:
        return read_po(file, locale="fr", domain=domain, abort_invalid=True)


def written(catalogue: Catalog) -> bytes:
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=100, sort_output=True, no_location=True)
    return buffer.getvalue()


def compiled(catalogue: Catalog) -> bytes:
    buffer = io.BytesIO()
    write_mo(buffer, catalogue)
    return buffer.getvalue()


def entries(catalogue: Catalog) -> Iterator[Message]:
    """Its messages but for the header."""
    return (message for message in catalogue if message.id)


def texts(message: Message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string or ())


def untranslated(catalogue: Catalog) -> list[str]:
    return [str(m.id) for m in entries(catalogue) if m.fuzzy or not all(texts(m)) or not texts(m)]


def update(domain: str) -> Catalog:
    """The catalogue with the msgids in use, written and compiled."""
    fresh = Catalog(
        locale="fr",
        domain=domain,
        project="Pli",
        version="1",
        copyright_holder="The Pli developers",
        msgid_bugs_address="see CONTRIBUTING.md",
        last_translator="The Pli developers",
        language_team="fr",
        creation_date=_LONG_AGO,
        revision_date=_LONG_AGO,
        fuzzy=False,
        header_comment="# French texts of Pli; see pli_client/i18n.py.",
    )
    fresh.mime_headers = [("Plural-Forms", PLURAL_FORMS)]
    old = read(domain) if (FRENCH / f"{domain}.po").exists() else Catalog(locale="fr")
    # Another version of click than the one at hand has texts of its own: they stay.
    others = [m.id for m in entries(old) if m.id] if domain == "messages" else []
    for msgid in [*used(domain), *(m if isinstance(m, str) else tuple(m) for m in others)]:
        known = old.get(msgid if isinstance(msgid, str) else msgid[0])
        fresh.add(msgid, known.string if known is not None and known.id == msgid else None)
    (FRENCH / f"{domain}.po").write_bytes(written(fresh))
    result = read(domain)
    (FRENCH / f"{domain}.mo").write_bytes(compiled(result))
    return result


def main() -> int:
    missing = [f"{domain}: {msgid}" for domain in SOURCES for msgid in untranslated(update(domain))]
    print("\n".join(missing) or "all translated")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
