"""Comparing names as people type them: case and accents do not count."""

import unicodedata


def plain(text: str) -> str:
    """Lower case, without accents, single spaces."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(bare.split())


def same_name(name: str, *others: str) -> bool:
    """Whether `name` is one of the others."""
    return plain(name) in {plain(other) for other in others}
