"""What the DUI's bot decides about a forwarded message: file it, take it back, or refuse; no network.

The bot stands outside conversations. It sees one message with its proof, and the act that attached or
detached it; it knows what it filed before (`Known`), and nothing else.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec

from pli_protocol.content import Receipt, RecordRef
from pli_protocol.content.proof import VerifiedForward

from ..errors import InvalidInput
from ..i18n import N_, _
from ..vault.private_files import make_private_folder, replace_durably
from .bundle import Note, NoteError, creation_bundle, is_uri, update_bundle

LARGEST_FILES: Final = 20 * 1024 * 1024
"""Bytes of all files of one message together; FHIR carries them as base64 inside the note."""

REASONS: Final[Mapping[str, str]] = {
    "proof": N_("The proof that came with the message does not check."),
    "revoked": N_("The device or the person was revoked."),
    "unknown-system": N_("This DUI does not keep that record."),
    "not-a-note": N_("This is not a message that a person wrote."),
    "not-seen": N_("The DUI was no member yet when this message was written."),
    "not-filed": N_("This message was not filed in that record."),
    "not-entitled": N_("Only the message's author and who attached it may take it off."),
    "file-missing": N_("A file of the message could not be fetched."),
    "too-large": N_("The message's files are too large for a note."),
}
"""Why a filing is refused, by the receipt's code."""

WITHDRAWN: Final = "withdrawn"
"""The code of the receipt that answers a detach."""


DEFAULT_SYSTEM: Final = "dui"
"""The system of a record that people wrote as a number alone."""


@dataclass(frozen=True, slots=True)
class Systems:
    """The record systems of a DUI: FHIR wants a URI where people write a short name, or nothing."""

    establishment: bytes
    uris: Mapping[str, str]
    """By the name that stands in messages; empty: any system is accepted."""

    @classmethod
    def parse(cls, options: Collection[str], establishment: bytes) -> Self:
        """Read `URI` (also the system of numbers alone) and `NAME=URI`.

        Raises:
            InvalidInput: not a URI.
        """
        uris: dict[str, str] = {}
        for option in options:
            name, equals, uri = option.partition("=")
            if not equals or is_uri(name):
                name, uri = option, option
                uris.setdefault(DEFAULT_SYSTEM, uri)
            if not is_uri(uri):
                raise InvalidInput(_("a record system is a URI, such as urn:oid:1.2.3"))
            uris[name] = uri
        return cls(establishment, uris)

    def accepts(self, system: str) -> bool:
        return not self.uris or system in self.uris

    def uri(self, system: str) -> str:
        """The URI of a record's system; one of the establishment's own for a bare name."""
        if system in self.uris or is_uri(system):
            return self.uris.get(system, system)
        return f"urn:uuid:{uuid.uuid5(uuid.UUID(bytes=self.establishment), system)}"


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What the bot remembers of one message in one record; kept in its vault."""

    version: int
    attachers: tuple[bytes, ...]
    """Person ids of those whose attach stands; nobody: the note was taken back."""
    acts: tuple[bytes, ...]
    """Message ids of the attaches and detaches that were dealt with."""

    @property
    def standing(self) -> bool:
        return bool(self.attachers)


@dataclass(frozen=True, slots=True)
class Filing:
    """What was done about a forwarded message: for the receipt, and for who watches the bot."""

    message_id: bytes
    record: RecordRef
    filed: bool
    withdrawn: bool = False
    number: str = ""
    document: str = ""
    """Name of the file in the outbox; empty where nothing new was written."""
    code: str = ""

    @property
    def receipt(self) -> Receipt:
        code = WITHDRAWN if self.withdrawn else self.code
        text = "" if self.filed else _(REASONS.get(self.code, REASONS["proof"]))
        return Receipt(self.message_id, self.record, self.filed, self.number, code, text)


class Outbox:
    """The folder that the DUI reads. A file appears in it whole, under its last name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_private_folder(folder)

    def put(self, name: str, bundle: Mapping[str, object]) -> None:
        """Write a Bundle; the same name again replaces it by the same content."""
        data = json.dumps(bundle, ensure_ascii=False, indent=1).encode()
        replace_durably(self.folder / name, data)


def refusal_before_files(forward: VerifiedForward, systems: Systems) -> str | None:
    """Why not, as far as it can be told without the message's files."""
    act = forward.act
    # Who takes a note back must count; whether its author still does is of no matter then.
    author = None if forward.detached else forward.message.refusal
    if author is not None or (act is not None and act.refusal is not None):
        return "revoked"
    if not systems.accepts(forward.record.system):
        return "unknown-system"
    if sum(part.size for part in forward.message.message.files) > LARGEST_FILES:
        return "too-large"
    return None


def file(
    forward: VerifiedForward,
    known: Known | None,
    files: Mapping[bytes, bytes],
    outbox: Outbox,
    systems: Systems,
) -> tuple[Filing, Known | None]:
    """Deal with a forwarded message whose proofs were verified; writes to the outbox.

    Returns:
        What was done, and what to remember from now on. The same forward again is answered the same
        and writes nothing.
    """
    message_id, record = forward.message.message_id, forward.record
    act_id = forward.act.message_id if forward.act is not None else message_id
    try:
        note = Note.of(forward, files, systems.uri(record.system))
    except NoteError as error:
        return Filing(message_id, record, False, code=error.code), known
    number = str(note.id)
    if known is not None and act_id in known.acts:
        return Filing(message_id, record, True, forward.detached, number), known
    if forward.detached:
        refused = _may_not_detach(forward, known)
        if refused is not None or known is None:
            return Filing(message_id, record, False, code=refused or "not-filed"), known
        left = _left_standing(forward, known)
        name = _name(note, act_id) if known.standing and not left else ""
        if name:
            outbox.put(name, update_bundle(note, "entered-in-error"))
        after = Known(1, left, (*known.acts, act_id))
        return Filing(message_id, record, True, not left, number, name), after
    person = forward.by.person.person_id
    if known is None:
        name = _name(note)
        outbox.put(name, creation_bundle(note))
        return Filing(message_id, record, True, False, number, name), Known(1, (person,), (act_id,))
    name = ""
    if not known.standing:
        name = _name(note, act_id)
        outbox.put(name, update_bundle(note, "current"))
    attachers = dict.fromkeys((*known.attachers, person))
    after = Known(1, tuple(attachers), (*known.acts, act_id))
    return Filing(message_id, record, True, False, number, name), after


def _may_not_detach(forward: VerifiedForward, known: Known | None) -> str | None:
    if known is None:
        return "not-filed"
    person = forward.by.person.person_id
    author = forward.message.author.person.person_id
    if known.standing and person != author and person not in known.attachers:
        return "not-entitled"
    return None


def _left_standing(forward: VerifiedForward, known: Known) -> tuple[bytes, ...]:
    """Whose attaches stand after a detach: the author takes off all, others their own."""
    person = forward.by.person.person_id
    if person == forward.message.author.person.person_id:
        return ()
    return tuple(attacher for attacher in known.attachers if attacher != person)


def _name(note: Note, act: bytes | None = None) -> str:
    """`<note>-<record>.json` at first; later states of the note add the act that brought them."""
    record = hashlib.sha256(str(note.record).encode()).hexdigest()[:8]
    later = f"-{act.hex()[:8]}" if act is not None else ""
    return f"{note.id}-{record}{later}.json"
