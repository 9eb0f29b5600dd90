"""Looking for a scenario's plaintext in the relay's files, whatever file and page it might be in.

What nobody but the members may read: texts, titles, usagers' names, record ids, file names, what the
files hold. Names, professions and the establishment are in certificates, which the relay must have
(docs/threat-model.md): where a text repeats them, that alone is no hit.

A page of a database may cut a text anywhere, so texts and files are looked for in pieces of 16 bytes;
what is short is looked for whole, in UTF-8, in UTF-16 and in each of the three alignments of base64.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .scenario import SHORTEST_NEEDLE, Rename, Scenario, Start, file_of

PIECE: Final = 16
"""Bytes of a piece: long enough not to stand anywhere by chance (a file of 1 GB: 1 in 10^29)."""


@dataclass(frozen=True, slots=True)
class Needle:
    """Bytes to look for. `of` names the secret it was cut from."""

    data: bytes
    of: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A needle that was found. `offset` is in bytes."""

    file: str
    offset: int
    of: str


@dataclass(frozen=True, slots=True)
class Search:
    """What was searched, for what, and what was found."""

    files: tuple[tuple[str, int], ...]
    """Name in the relay's folder and size in bytes."""
    needles: int
    hits: tuple[Hit, ...]

    @property
    def size(self) -> int:
        """Bytes searched."""
        return sum(size for _, size in self.files)


def needles(scenario: Scenario, scenario_path: Path) -> tuple[Needle, ...]:
    """Everything that must not stand in the relay's files."""
    public = [scenario.establishment, scenario.bot.name]
    public += [word for person in scenario.people for word in (person.name, person.profession)]
    found = [*_short_needles(_labels(scenario), public)]
    for label in _labels(scenario):
        found += _pieces(label.encode(), label, public)
    for step in scenario.messages:
        found += _pieces(step.text.encode(), step.text[:40], public)
        for name in step.files:
            found += _pieces(file_of(name, scenario_path).read_bytes(), name, public)
    return tuple(dict.fromkeys(found))


def search(folder: Path, wanted: Sequence[Needle]) -> Search:
    """Look through every file of a folder and of those below it."""
    files: list[tuple[str, int]] = []
    hits: list[Hit] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # the running relay put it away in between
        name = path.relative_to(folder).as_posix()
        files.append((name, len(data)))
        hits += _found(name, data, wanted)
        hits += [Hit(name, -1, needle.of) for needle in wanted if needle.data in name.encode()]
    return Search(tuple(files), len(wanted), tuple(hits))


def _found(name: str, data: bytes, wanted: Iterable[Needle]) -> Iterator[Hit]:
    for needle in wanted:
        offset = data.find(needle.data)
        if offset >= 0:
            yield Hit(name, offset, needle.of)


def _labels(scenario: Scenario) -> list[str]:
    """The short secrets: record ids, usagers' names, titles, file names, reasons."""
    labels = [scenario.record_system]
    for usager in scenario.usagers:
        labels += [usager.record, usager.name, *usager.name.split()]
    for step in scenario.steps:
        if isinstance(step, Start | Rename):
            labels.append(step.title)
        labels += getattr(step, "files", ())
        labels.append(getattr(step, "reason", ""))
    return [label for label in labels if len(label) >= SHORTEST_NEEDLE]


def _short_needles(labels: list[str], public: list[str]) -> Iterator[Needle]:
    for label in labels:
        if any(label in word for word in public):
            continue
        data = label.encode()
        yield Needle(data, label)
        yield Needle(label.encode("utf-16-le"), label)
        if len(data) >= 9:
            for lead in range(3):
                # Whole groups of three bytes only: their letters do not depend on the neighbours.
                whole = data[lead : lead + (len(data) - lead) // 3 * 3]
                yield Needle(base64.b64encode(whole), label)


def _pieces(data: bytes, of: str, public: list[str]) -> Iterator[Needle]:
    known = [word.encode() for word in public]
    last = max(len(data) - PIECE, 0)
    for start in {*range(0, last, PIECE), last}:
        piece = data[start : start + PIECE]
        # A run of one byte (padding in a picture) tells nothing, and stands in every database.
        dull = len(set(piece)) < 4 or len(piece) < SHORTEST_NEEDLE
        if not dull and not any(piece in word for word in known):
            yield Needle(piece, of)
