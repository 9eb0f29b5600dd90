"""A message attached to a record, as a note of the *cahier de liaison* (FHIR R4, ANS guide cdl 3.0.0).

`Note` is what the interface needs of a verified message; `creation_bundle` is flow 1c, the
transaction that creates the note and its author; `update_bundle` is flow 2b, a note whose status
changed (a detach). The usager is never created: a record's number that the DUI does not know must
fail there, not make a new Patient.
"""

import base64
import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self
from urllib.parse import quote

from pli_protocol.content import FilePart, NoteType, Post, RecordRef, TextPart
from pli_protocol.content.proof import VerifiedForward
from pli_protocol.identity import Person

Resource = dict[str, Any]
Status = Literal["current", "entered-in-error"]

CDL: Final = "https://interop.esante.gouv.fr/ig/fhir/cdl/StructureDefinition/"
DOCUMENT_PROFILE: Final = CDL + "cdl-document-reference"
BUNDLE_PROFILE: Final = CDL + "cdl-bundle-creation-note"
EMERGENCY: Final = CDL + "cdl-ext-is-emergency"
NOTE_TYPE_SYSTEM: Final = "https://mos.esante.gouv.fr/NOS/TRE_R234-TypeNote/FHIR/TRE-R234-TypeNote"
NOTE_TYPE_NAMES: Final[Mapping[NoteType, str]] = {
    "GEN": "Note générale",
    "OBS": "Note d'observation",
    "INTERV": "Note d'intervention",
    "INST": "Instruction",
    "DEM-AVIS": "Demande d'avis",
}
RPPS: Final = "https://rpps.esante.gouv.fr"
URI: Final = "urn:ietf:rfc:3986"
"""The system of identifiers that are URIs themselves."""

LANGUAGE: Final = "fr"
_DESCRIPTION = 80

_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_MIME = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")


class NoteError(Exception):
    """A message that cannot be a note. `code` is for programs; it stands in the bot's receipt."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Attachment:
    """One part of a note. `created` is in milliseconds since 1970."""

    mime: str
    data: bytes = field(repr=False)
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A note about one person cared for. Ids are UUIDs made from message ids (`note_id`)."""

    id: uuid.UUID
    record: RecordRef
    note_type: NoteType
    sent_at: int
    author: Person
    parts: tuple[Attachment, ...]
    urgent: bool = False
    appends: uuid.UUID | None = None
    """The note that this one answers."""
    replaces: uuid.UUID | None = None

    @classmethod
    def of(cls, forward: VerifiedForward, files: Mapping[bytes, bytes], system: str) -> Self:
        """The note that a verified message makes.

        Args:
            files: The plaintext of each of the message's files, by its blob id.
            system: The URI of the record's system, which FHIR asks for.

        Raises:
            NoteError: "not-a-note" (nothing a person wrote), "file-missing" (not of a note that is
                taken back: its files may be gone by then).
        """
        verified = forward.message
        message = verified.message
        if not isinstance(message.body, Post):
            raise NoteError("not-a-note")

        def related(message_id: bytes | None) -> uuid.UUID | None:
            return message_id and note_id(verified.conversation_id, message_id) or None

        return cls(
            note_id(verified.conversation_id, verified.message_id),
            RecordRef(system, forward.record.id),
            forward.note_type or message.note_type or "GEN",
            message.sent_at,
            verified.author.person,
            tuple(_attachment(part, files, forward.detached) for part in message.body.parts),
            message.urgent,
            related(message.in_reply_to),
            related(message.replaces),
        )


def note_id(conversation_id: bytes, message_id: bytes) -> uuid.UUID:
    """The UUIDv5 (RFC 9562 §5.5) of a message id's 32 bytes; the conversation's id is the namespace."""
    digest = hashlib.sha1(conversation_id + message_id, usedforsecurity=False).digest()
    return uuid.UUID(bytes=digest[:16], version=5)


def is_uri(system: str) -> bool:
    """Whether a record's system can be the system of a FHIR identifier (an absolute URI)."""
    return _ABSOLUTE_URI.fullmatch(system) is not None


def creation_bundle(note: Note) -> Resource:
    """The transaction that creates the note, and its author where the DUI does not hold them yet."""
    document = _entry(note, "note", document_reference(note), _matching_note(note))
    return {
        "resourceType": "Bundle",
        "meta": {"profile": [BUNDLE_PROFILE]},
        "type": "transaction",
        "entry": [document, *_author_entries(note)],
    }


def update_bundle(note: Note, status: Status) -> Resource:
    """The transaction that gives a note another status: `entered-in-error` after a detach."""
    entry = _entry(note, "note", document_reference(note, status), "")
    entry["request"] = {"method": "PUT", "url": "DocumentReference?" + _matching_note(note)}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [entry, *_author_entries(note)],
    }


def document_reference(note: Note, status: Status = "current") -> Resource:
    """The DocumentReference of profile cdl-document-reference."""
    document: Resource = {
        "resourceType": "DocumentReference",
        "meta": {"profile": [DOCUMENT_PROFILE]},
        "language": LANGUAGE,
        "masterIdentifier": _uuid_identifier(note.id),
        "status": status,
        "type": _type(note.note_type),
        "subject": _subject(note.record),
        "date": _instant(note.sent_at),
        "author": _authors(note),
        "description": _description(note),
        "content": [{"attachment": _attached(note, part)} for part in note.parts],
    }
    if note.urgent:
        document["extension"] = [{"url": EMERGENCY, "valueBoolean": True}]
    related = [("appends", note.appends), ("replaces", note.replaces)]
    relations = [_relation(code, target) for code, target in related if target]
    if relations:
        document["relatesTo"] = relations
    return document


# --- the parts of a document -------------------------------------------------------------------


def _attachment(
    part: TextPart | FilePart, files: Mapping[bytes, bytes], taken_back: bool
) -> Attachment:
    if isinstance(part, TextPart):
        return Attachment("text/plain", part.text.encode())
    if part.blob not in files and not taken_back:
        raise NoteError("file-missing")
    mime = part.mime if _MIME.fullmatch(part.mime) else "application/octet-stream"
    return Attachment(mime, files.get(part.blob, b""), part.name)


def _attached(note: Note, part: Attachment) -> Resource:
    attachment: Resource = {
        "contentType": part.mime,
        "language": LANGUAGE,
        "data": base64.b64encode(part.data).decode("ascii"),
        "creation": _instant(note.sent_at),
    }
    if part.title:
        attachment |= {"title": part.title, "size": len(part.data)}
    return attachment


def _type(note_type: NoteType) -> Resource:
    coding = {
        "system": NOTE_TYPE_SYSTEM,
        "code": note_type,
        "display": NOTE_TYPE_NAMES[note_type],
    }
    return {"coding": [coding]}


def _subject(record: RecordRef) -> Resource:
    """The usager, by the DUI's own number.

    A conditional reference (FHIR R4 §3.1.0.11.2) makes the transaction fail where no record, or more
    than one, has this number; the identifier says the same to a DUI that does not know these.
    """
    return {
        "reference": "Patient?identifier=" + _token(record.system, record.id),
        "type": "Patient",
        "identifier": {"system": record.system, "value": record.id},
    }


def _description(note: Note) -> str:
    """One line: the text's beginning, or the names of the files."""
    texts = [part.data.decode() for part in note.parts if part.title is None]
    line = " ".join(" ".join(texts).split())
    if not line:
        line = ", ".join(part.title for part in note.parts if part.title)
    if len(line) > _DESCRIPTION:
        line = line[: _DESCRIPTION - 1].rstrip() + "…"
    return line or NOTE_TYPE_NAMES[note.note_type]


def _relation(code: str, target: uuid.UUID) -> Resource:
    return {
        "code": code,
        "target": {"type": "DocumentReference", "identifier": _uuid_identifier(target)},
    }


# --- who wrote it ------------------------------------------------------------------------------


def _authors(note: Note) -> list[Resource]:
    display = _with_profession(note.author)
    if note.author.kind == "bot":
        return [{"reference": _url(note, "device"), "type": "Device", "display": display}]
    return [
        {"reference": _url(note, "role"), "type": "PractitionerRole", "display": display},
        {
            "reference": _url(note, "practitioner"),
            "type": "Practitioner",
            "display": note.author.name,
        },
    ]


def _author_entries(note: Note) -> list[Resource]:
    identifier = _author_identifier(note.author)
    matching = "identifier=" + _token(identifier["system"], identifier["value"])
    if note.author.kind == "bot":
        return [_entry(note, "device", _device(note.author), matching)]
    practitioner = {
        "resourceType": "Practitioner",
        "identifier": [identifier],
        "active": True,
        "name": [{"text": note.author.name}],
    }
    role: Resource = {
        "resourceType": "PractitionerRole",
        "identifier": [_role_identifier(note.author)],
        "active": True,
        "practitioner": {
            "reference": _url(note, "practitioner"),
            "display": note.author.name,
        },
        "organization": {"display": note.author.establishment_name},
    }
    if note.author.profession:
        role["code"] = [{"text": note.author.profession}]
    role_identifier = role["identifier"][0]
    return [
        _entry(note, "practitioner", practitioner, matching),
        _entry(
            note,
            "role",
            role,
            "identifier=" + _token(role_identifier["system"], role_identifier["value"]),
        ),
    ]


def _device(author: Person) -> Resource:
    return {
        "resourceType": "Device",
        "identifier": [_author_identifier(author)],
        "status": "active",
        "deviceName": [{"name": author.name, "type": "user-friendly-name"}],
    }


def _author_identifier(author: Person) -> Resource:
    """The RPPS number; for those who have none, the establishment's own account."""
    if author.rpps:
        return {"system": RPPS, "value": author.rpps}
    return _uuid_identifier(uuid.UUID(bytes=author.account))


def _role_identifier(author: Person) -> Resource:
    """One role per establishment, account and profession, so that it is created once."""
    named = author.establishment + author.account + author.profession.encode()
    return _uuid_identifier(uuid.UUID(bytes=hashlib.sha256(named).digest()[:16], version=5))


def _with_profession(author: Person) -> str:
    return f"{author.name} ({author.profession})" if author.profession else author.name


# --- FHIR's small forms ------------------------------------------------------------------------


def _entry(note: Note, name: str, resource: Resource, matching: str) -> Resource:
    request = {"method": "POST", "url": resource["resourceType"]}
    if matching:
        # A bundle that is sent twice creates nothing twice.
        request["ifNoneExist"] = matching
    return {"fullUrl": _url(note, name), "resource": resource, "request": request}


def _url(note: Note, name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(note.id, name)}" if name != "note" else f"urn:uuid:{note.id}"


def _matching_note(note: Note) -> str:
    """The search that finds this note: one message may stand in the records of two usagers."""
    identifier = _uuid_identifier(note.id)
    return (
        f"identifier={_token(identifier['system'], identifier['value'])}"
        f"&patient.identifier={_token(note.record.system, note.record.id)}"
    )


def _uuid_identifier(value: uuid.UUID) -> dict[str, str]:
    return {"system": URI, "value": f"urn:uuid:{value}"}


def _token(system: str, value: str) -> str:
    """A search token; `,`, `|`, `$` and the backslash are escaped (FHIR R4 §3.1.1.4.0)."""

    def escaped(text: str) -> str:
        return quote(re.sub(r"([\\,|$])", r"\\\1", text), safe=":/")

    return f"{escaped(system)}|{escaped(value)}"


def _instant(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
