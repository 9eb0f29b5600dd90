"""GREASE (RFC 9420 §13.5): values that mean nothing, sent so that nobody chokes on new ones.

Receivers give them no special treatment: they are unknown values like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from .ciphersuite import Random
from .errors import UsageError
from .extension import Extension
from .leaf_node import LeafContent

GREASE: Final = tuple(range(0x0A0A, 0xEAEA + 1, 0x1010))
"""0x0A0A, 0x1A1A, …, 0xEAEA: reserved in each registry."""

_LONGEST: Final = 16


def grease_value(random: Random) -> int:
    """One of the reserved numbers."""
    return GREASE[random(1)[0] % len(GREASE)]


def grease_extension(random: Random, extension_type: int | None = None) -> Extension:
    """An extension that means nothing: up to 16 random bytes."""
    size = random(1)[0] % (_LONGEST + 1)
    kind = grease_value(random) if extension_type is None else extension_type
    return Extension(kind, random(size))


def greased(content: LeafContent, random: Random) -> LeafContent:
    """The content of a leaf of ours with fresh GREASE in capabilities and extensions.

    What it had of it before is taken out, so that one list never grows. The extension's type is
    listed in the capabilities, as that of every extension of a leaf must be (§7.3).
    """
    own, kind = ungreased(content), grease_value(random)
    listed = own.capabilities
    return replace(
        own,
        capabilities=replace(
            listed,
            cipher_suites=(*listed.cipher_suites, grease_value(random)),
            extensions=(*listed.extensions, kind),
            proposals=(*listed.proposals, grease_value(random)),
            credentials=(*listed.credentials, grease_value(random)),
        ),
        extensions=(*own.extensions, grease_extension(random, kind)),
    )


def ungreased(content: LeafContent) -> LeafContent:
    """The content of a leaf of ours without GREASE: what its client really has."""
    listed = content.capabilities
    return replace(
        content,
        capabilities=replace(
            listed,
            cipher_suites=_without(listed.cipher_suites),
            extensions=_without(listed.extensions),
            proposals=_without(listed.proposals),
            credentials=_without(listed.credentials),
        ),
        extensions=tuple(e for e in content.extensions if e.extension_type not in GREASE),
    )


def _without(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(number for number in numbers if number not in GREASE)


def check_no_grease(numbers: Iterable[int]) -> None:
    """For what we send where an unknown value is refused: GroupContext, proposals, credentials.

    Raises:
        UsageError: "sender-grease".
    """
    if not set(GREASE).isdisjoint(numbers):
        raise UsageError("a GREASE value in a field that has none", "sender-grease", "§13.5")
