"""The cahier de liaison Bundles: every constraint of the profile, and FHIR R4 itself as the witness."""

import base64
import hashlib
import re
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_client.bots.bundle import (
    NOTE_TYPE_NAMES,
    NOTE_TYPE_SYSTEM,
    Attachment,
    Note,
    creation_bundle,
    document_reference,
    note_id,
    update_bundle,
)
from pli_protocol.content import NOTE_TYPES, RecordRef
from pli_protocol.identity import Person

CONVERSATION = bytes(range(16))
MESSAGE = hashlib.sha256(b"a message").digest()
MOTHER = hashlib.sha256(b"the message that it answers").digest()


def person(**changes: Any) -> Person:
    values: dict[str, Any] = {
        "person_id": b"p" * 16,
        "account": b"a" * 16,
        "name": "Claire Le Goff",
        "profession": "infirmière",
        "rpps": "10100000017",
        "kind": "person",
        "establishment": b"e" * 16,
        "establishment_name": "EHPAD Les Tilleuls",
        "identity_key": b"k" * 32,
        "issuer_id": b"i" * 16,
        "not_after": None,
        "not_before": 0,
        "certificate": b"",
    }
    return Person(**(values | changes))


def note(**changes: Any) -> Note:
    values: dict[str, Any] = {
        "id": note_id(CONVERSATION, MESSAGE),
        "record": RecordRef("urn:oid:1.2.3.4", "IPP-004821"),
        "note_type": "OBS",
        "sent_at": 1_795_332_600_123,
        "author": person(),
        "parts": (Attachment("text/plain", "Pansement refait à 9 h.".encode()),),
    }
    return Note(**(values | changes))


PHOTO = Attachment("image/jpeg", b"\xff\xd8\xff\xe0 picture \xff\xd9", "plaie-talon.jpg")


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = [entry["resource"] for entry in bundle["entry"]]
    return [resource for resource in found if resource["resourceType"] == kind]


def document(changed: Note | None = None) -> dict[str, Any]:
    (found,) = resources(creation_bundle(changed or note()), "DocumentReference")
    return found


# --- FHIR R4 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"urgent": True, "appends": note_id(CONVERSATION, MOTHER)},
        {"replaces": note_id(CONVERSATION, MOTHER)},
        {"parts": (PHOTO,)},
        {"author": person(rpps=None, profession="")},
        {"author": person(kind="bot", rpps=None, name="Capteur de chute")},
        {"record": RecordRef("https://dui.example/dossiers", "a|b, c$d\\é&x=y")},
    ],
)
@pytest.mark.parametrize("status", ["current", "entered-in-error"])
def test_a_fhir_library_accepts_the_bundle(changes: dict[str, Any], status: str) -> None:
    from fhir.resources.R4B.bundle import Bundle

    made = note(**changes)
    bundle = creation_bundle(made) if status == "current" else update_bundle(made, status)  # type: ignore[arg-type]
    parsed = Bundle.model_validate(bundle)
    assert parsed.get_resource_type() == "Bundle"
    assert len(parsed.entry) == len(bundle["entry"])


@given(
    text=st.text(min_size=1),
    record=st.text(min_size=1, max_size=40).filter(str.strip),
    sent_at=st.integers(0, 4_102_444_800_000),
)
def test_any_text_record_and_date_make_a_valid_document(
    text: str, record: str, sent_at: int
) -> None:
    from fhir.resources.R4B.documentreference import DocumentReference

    text = text.encode("utf-8", "replace").decode()
    made = note(
        parts=(Attachment("text/plain", text.encode()),),
        record=RecordRef("urn:x:y", record.encode("utf-8", "replace").decode()),
        sent_at=sent_at,
    )
    found = document_reference(made)
    DocumentReference.model_validate(found)
    assert base64.b64decode(found["content"][0]["attachment"]["data"]).decode() == text


# --- the bundle's profile ----------------------------------------------------------------------


def test_the_bundle_is_a_transaction_with_exactly_one_document_that_is_posted() -> None:
    bundle = creation_bundle(note())
    assert bundle["type"] == "transaction"
    (entry,) = [e for e in bundle["entry"] if e["resource"]["resourceType"] == "DocumentReference"]
    assert (entry["request"]["method"], entry["request"]["url"]) == ("POST", "DocumentReference")


def test_the_bundle_has_no_more_actors_than_the_profile_allows() -> None:
    for author in (person(), person(rpps=None), person(kind="bot")):
        bundle = creation_bundle(note(author=author))
        for kind in ("Patient", "Practitioner", "Organization", "RelatedPerson", "Device"):
            assert len(resources(bundle, kind)) <= 1
        allowed = {"DocumentReference", "Practitioner", "PractitionerRole", "Device"}
        assert {entry["resource"]["resourceType"] for entry in bundle["entry"]} <= allowed


def test_every_reference_by_uuid_leads_to_an_entry_of_the_bundle() -> None:
    for made in (note(), note(author=person(kind="bot"))):
        bundle = creation_bundle(made)
        urls = [entry["fullUrl"] for entry in bundle["entry"]]
        references = set(re.findall(r"'reference': '(urn:uuid:[^']+)'", str(bundle)))
        assert references
        assert references <= set(urls)
        assert len(urls) == len(set(urls))


def test_sending_a_bundle_twice_creates_nothing_twice() -> None:
    for entry in creation_bundle(note())["entry"]:
        assert entry["request"]["ifNoneExist"].startswith("identifier=")
    assert creation_bundle(note()) == creation_bundle(note())


# --- the document's profile, element by element ------------------------------------------------


def test_the_master_identifier_is_the_uuidv5_of_the_message_id_in_the_conversation() -> None:
    identifier = document()["masterIdentifier"]
    assert identifier["system"] == "urn:ietf:rfc:3986"
    made = uuid.UUID(identifier["value"])
    digest = bytearray(hashlib.sha1(CONVERSATION + MESSAGE).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    assert (made.bytes, made.version) == (bytes(digest), 5)


def test_another_conversation_gives_another_master_identifier() -> None:
    assert note_id(b"x" * 16, MESSAGE) != note_id(CONVERSATION, MESSAGE)


def test_the_status_is_current_then_entered_in_error_after_a_detach() -> None:
    assert document()["status"] == "current"
    bundle = update_bundle(note(), "entered-in-error")
    (found,) = resources(bundle, "DocumentReference")
    assert found["status"] == "entered-in-error"
    assert found["masterIdentifier"] == document()["masterIdentifier"]
    request = bundle["entry"][0]["request"]
    assert request["method"] == "PUT"
    assert request["url"].startswith("DocumentReference?identifier=urn:ietf:rfc:3986|urn:uuid:")
    assert "ifNoneExist" not in request


@pytest.mark.parametrize("element", ["docStatus", "authenticator", "custodian"])
def test_forbidden_elements_are_absent(element: str) -> None:
    assert element not in document()


@pytest.mark.parametrize("note_type", NOTE_TYPES)
def test_the_type_is_a_note_type_of_the_required_set(note_type: Any) -> None:
    (coding,) = document(note(note_type=note_type))["type"]["coding"]
    assert coding["system"] == NOTE_TYPE_SYSTEM
    assert coding["code"] == note_type
    assert coding["display"] == NOTE_TYPE_NAMES[note_type]


def test_the_subject_is_the_patient_with_the_duis_own_number() -> None:
    subject = document()["subject"]
    assert subject["type"] == "Patient"
    assert subject["identifier"] == {"system": "urn:oid:1.2.3.4", "value": "IPP-004821"}
    assert subject["reference"] == "Patient?identifier=urn:oid:1.2.3.4|IPP-004821"


def test_a_records_number_cannot_change_the_search() -> None:
    subject = document(note(record=RecordRef("urn:x", "1|2&_id=3,4")))["subject"]
    assert subject["reference"] == "Patient?identifier=urn:x|1%5C%7C2%26_id%3D3%5C%2C4"


def test_the_date_is_the_instant_of_sending() -> None:
    assert document()["date"] == "2026-11-22T07:30:00.123Z"


def test_the_author_is_the_role_and_the_practitioner_with_the_rpps_number() -> None:
    bundle = creation_bundle(note())
    (practitioner,) = resources(bundle, "Practitioner")
    assert practitioner["identifier"] == [
        {"system": "https://rpps.esante.gouv.fr", "value": "10100000017"}
    ]
    assert practitioner["name"] == [{"text": "Claire Le Goff"}]
    (role,) = resources(bundle, "PractitionerRole")
    assert role["code"] == [{"text": "infirmière"}]
    authors = document()["author"]
    assert [author["type"] for author in authors] == ["PractitionerRole", "Practitioner"]


def test_a_professional_without_rpps_is_known_by_the_establishments_account() -> None:
    (practitioner,) = resources(creation_bundle(note(author=person(rpps=None))), "Practitioner")
    account = uuid.UUID(bytes=b"a" * 16)
    assert practitioner["identifier"] == [
        {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{account}"}
    ]


def test_what_a_bot_wrote_has_a_device_for_author() -> None:
    bundle = creation_bundle(note(author=person(kind="bot", name="Capteur", rpps=None)))
    (device,) = resources(bundle, "Device")
    assert device["deviceName"][0]["name"] == "Capteur"
    assert resources(bundle, "Practitioner") == []


def test_a_reply_appends_to_the_note_it_answers_and_an_edit_replaces() -> None:
    assert "relatesTo" not in document()
    mother = note_id(CONVERSATION, MOTHER)
    (relation,) = document(note(appends=mother))["relatesTo"]
    assert relation["code"] == "appends"
    assert relation["target"]["identifier"]["value"] == f"urn:uuid:{mother}"
    (relation,) = document(note(replaces=mother))["relatesTo"]
    assert relation["code"] == "replaces"


def test_only_an_urgent_message_has_the_emergency_extension() -> None:
    assert "extension" not in document()
    assert document(note(urgent=True))["extension"] == [
        {
            "url": "https://interop.esante.gouv.fr/ig/fhir/cdl/StructureDefinition/cdl-ext-is-emergency",
            "valueBoolean": True,
        }
    ]


def test_a_text_and_a_photo_are_two_contents() -> None:
    text, photo = [
        content["attachment"] for content in document(note(parts=(*note().parts, PHOTO)))["content"]
    ]
    assert (text["contentType"], text["language"]) == ("text/plain", "fr")
    assert base64.b64decode(text["data"]).decode() == "Pansement refait à 9 h."
    assert (photo["contentType"], photo["title"]) == ("image/jpeg", "plaie-talon.jpg")
    assert base64.b64decode(photo["data"]) == PHOTO.data
    assert photo["size"] == len(PHOTO.data)
    assert photo["creation"] == text["creation"] == document()["date"]


def test_the_description_is_one_short_line() -> None:
    long = Attachment("text/plain", ("Très longue\nobservation " * 20).encode())
    line = document(note(parts=(long,)))["description"]
    assert len(line) <= 80
    assert "\n" not in line
    assert document(note(parts=(PHOTO,)))["description"] == "plaie-talon.jpg"
    assert document(note(parts=(Attachment("text/plain", b" "),)))["description"]


def test_a_note_keeps_its_parts_out_of_its_repr() -> None:
    assert "Pansement" not in repr(note())


def test_one_message_in_two_records_is_told_apart() -> None:
    other = replace(note(), record=RecordRef("urn:oid:1.2.3.4", "IPP-003377"))
    first, second = (creation_bundle(n)["entry"][0] for n in (note(), other))
    assert first["request"]["ifNoneExist"] != second["request"]["ifNoneExist"]
