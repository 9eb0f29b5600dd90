"""Counting what a demonstration really did: from the vaults' histories and the outbox folder.

The scenario says who should have received what; how many times it is there is read from the vaults.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pli_protocol.content import ContentError, decode
from pli_protocol.secret import Secret

from ..store import conversations, messages
from ..vault import Database, Vault
from .scenario import Add, Remove, Scenario, Send, Start

_ALL: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as one vault has it."""

    message_id: bytes
    sender: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The demonstration's result; anything but zero in the middle four is a failure."""

    messages: int
    """Different messages in all vaults together."""
    lost: int
    """Copies that a member at the time should have and has not."""
    doubled: int
    """Copies too many in one history."""
    overread: int
    """Copies with somebody who was no member when they were written."""
    plaintext_hits: int
    """Secrets found in the relay's files."""
    notes_filed: int
    """Notes that the DUI received."""
    notes_withdrawn: int
    """Notes that it was told to take back."""
    receipts: int
    """Attachments that the attacher's conversation shows as filed, with the DUI's signed receipt."""

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.overread or self.plaintext_hits)


@dataclass(frozen=True, slots=True)
class Copies:
    messages: int
    lost: int
    doubled: int
    overread: int


async def history(folder: Path, passphrase: Secret) -> list[Entry]:
    """Everything that people wrote, as the vault in a folder has it. Nobody else may have it open."""
    async with await Vault.open(folder, passphrase) as vault:
        return await vault.read(_entries)


def count_copies(
    scenario: Scenario, histories: Mapping[str, Iterable[Entry]], persons: Mapping[str, bytes]
) -> Copies:
    """Compare histories with who was a member when.

    Args:
        histories: by the person's key in the scenario.
        persons: person ids, by the same key.
    """
    kept = {who: list(entries) for who, entries in histories.items()}
    found = {
        who: Counter((entry.sender, entry.text) for entry in entries)
        for who, entries in kept.items()
    }
    lost = doubled = overread = 0
    for step, readers in _expected(scenario):
        written = (persons[step.who], step.text)
        for who, texts in found.items():
            copies = texts[written]
            if who in readers:
                lost += copies == 0
                doubled += max(copies - 1, 0)
            else:
                overread += copies
    ids = {entry.message_id for entries in kept.values() for entry in entries}
    return Copies(len(ids), lost, doubled, overread)


def notes(outbox: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The documents that the DUI received: (created, withdrawn), oldest first."""
    created: list[dict[str, Any]] = []
    withdrawn: list[dict[str, Any]] = []
    for path in sorted(outbox.glob("*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name)):
        bundle = json.loads(path.read_bytes())
        for entry in bundle["entry"]:
            document = entry["resource"]
            if document["resourceType"] == "DocumentReference":
                gone = document["status"] != "current"
                (withdrawn if gone else created).append(document)
    return created, withdrawn


def _entries(db: Database) -> list[Entry]:
    found = []
    for conversation in conversations.list_all(db, services=True):
        for row in messages.page(db, conversation.id, None, _ALL, ("post",)):
            try:
                text = decode(row.content).text
            except ContentError:
                continue
            found.append(Entry(row.message_id, row.sender, text))
    return found


def _expected(scenario: Scenario) -> Iterable[tuple[Send, frozenset[str]]]:
    """Each message with those who were members when it was written."""
    members: dict[str, set[str]] = {}
    for step in scenario.steps:
        match step:
            case Start():
                members[step.conversation] = {step.who, *step.members}
            case Add():
                members[step.conversation].add(step.person)
            case Remove():
                members[step.conversation].discard(step.person)
            case Send():
                yield step, frozenset(members[step.conversation])
