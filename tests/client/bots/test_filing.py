"""What the DUI's bot does with forwarded messages: once each, only by those who may."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pli_client.bots.filing import LARGEST_FILES, Outbox, Systems, file, refusal_before_files
from pli_client.errors import InvalidInput
from pli_protocol.content import (
    Attach,
    Detach,
    FilePart,
    Message,
    Post,
    RecordRef,
    Rename,
    TextPart,
)
from pli_protocol.content.proof import VerifiedForward, VerifiedMessage
from pli_protocol.identity import Device, Person, Refusal, RevocationEntry

from .test_bundle import CONVERSATION, person

ESTABLISHMENT = b"e" * 16
ANY = Systems.parse([], ESTABLISHMENT)
RECORD = RecordRef("urn:oid:1.2.3.4", "IPP-004821")
CLAIRE = person(person_id=b"claire".ljust(16))
KARIM = person(person_id=b"karim".ljust(16), name="Karim Benali", rpps=None)
SOPHIE = person(person_id=b"sophie".ljust(16), name="Sophie Marchetti", rpps=None)


def device(who: Person) -> Device:
    return Device(b"d" * 16, b"k" * 32, who, 2**40, 0, (b"", b"", b""))


def said(who: Person, body: Any, **more: Any) -> VerifiedMessage:
    refusal = more.pop("refusal", None)
    message = Message(b"s" * 16, 1_795_332_600_123, body, **more)
    identifier = hashlib.sha256(repr((who.name, body, more)).encode()).digest()
    return VerifiedMessage(
        message, identifier, b"", device(who), CONVERSATION, b"g" * 16, 3, None, None, refusal
    )


LOST = Refusal(RevocationEntry(kind="device", id=b"d" * 16, reason="lost", time=1))
NOTE = said(KARIM, Post((TextPart("Chute à 5 h 40, bosse frontale."),)))


def attached(
    by: Person, note: VerifiedMessage = NOTE, record: RecordRef = RECORD
) -> VerifiedForward:
    act = said(by, Attach(note.message_id, record, "OBS"))
    return VerifiedForward(note, record, "OBS", device(by), False, act)


def detached(by: Person, note: VerifiedMessage = NOTE) -> VerifiedForward:
    act = said(by, Detach(note.message_id, RECORD, "erreur"))
    return VerifiedForward(note, RECORD, None, device(by), True, act)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


def bundles(outbox: Outbox) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted(outbox.folder.iterdir())]


def statuses(outbox: Outbox) -> list[str]:
    return sorted(bundle["entry"][0]["resource"]["status"] for bundle in bundles(outbox))


def test_an_attach_becomes_one_bundle_and_a_receipt_with_the_notes_number(outbox: Outbox) -> None:
    filing, known = file(attached(CLAIRE), None, {}, outbox, ANY)
    assert (filing.filed, filing.withdrawn, filing.code) == (True, False, "")
    (path,) = outbox.folder.iterdir()
    assert path.name == filing.document
    document = bundles(outbox)[0]["entry"][0]["resource"]
    assert document["masterIdentifier"]["value"] == f"urn:uuid:{filing.number}"
    receipt = filing.receipt
    assert (receipt.message_id, receipt.record, receipt.filed) == (NOTE.message_id, RECORD, True)
    assert receipt.number == filing.number
    assert known is not None
    assert known.standing


def test_the_same_forward_again_gets_the_same_receipt_and_writes_nothing(outbox: Outbox) -> None:
    first, known = file(attached(CLAIRE), None, {}, outbox, ANY)
    (path,) = outbox.folder.iterdir()
    path.unlink()  # the DUI took it
    again, after = file(attached(CLAIRE), known, {}, outbox, ANY)
    assert again.receipt == first.receipt
    assert after == known
    assert list(outbox.folder.iterdir()) == []


def test_a_crash_before_it_was_remembered_leads_to_the_same_file(outbox: Outbox) -> None:
    file(attached(CLAIRE), None, {}, outbox, ANY)
    before = {path.name: path.read_bytes() for path in outbox.folder.iterdir()}
    file(attached(CLAIRE), None, {}, outbox, ANY)
    assert {path.name: path.read_bytes() for path in outbox.folder.iterdir()} == before


def test_a_second_person_who_attaches_the_same_message_makes_no_second_note(outbox: Outbox) -> None:
    _, known = file(attached(CLAIRE), None, {}, outbox, ANY)
    filing, known = file(attached(SOPHIE), known, {}, outbox, ANY)
    assert filing.filed
    assert len(bundles(outbox)) == 1


@pytest.mark.parametrize("who", [CLAIRE, KARIM], ids=["attacher", "author"])
def test_attacher_and_author_may_detach(outbox: Outbox, who: Person) -> None:
    _, known = file(attached(CLAIRE), None, {}, outbox, ANY)
    filing, known = file(detached(who), known, {}, outbox, ANY)
    assert (filing.filed, filing.withdrawn) == (True, True)
    assert filing.receipt.code == "withdrawn"
    assert statuses(outbox) == ["current", "entered-in-error"]
    assert known is not None
    assert not known.standing


def test_nobody_else_may_detach(outbox: Outbox) -> None:
    _, known = file(attached(CLAIRE), None, {}, outbox, ANY)
    filing, after = file(detached(SOPHIE), known, {}, outbox, ANY)
    assert (filing.filed, filing.code) == (False, "not-entitled")
    assert filing.receipt.text
    assert after == known
    assert statuses(outbox) == ["current"]


def test_who_attached_too_takes_back_nothing_of_others(outbox: Outbox) -> None:
    _, known = file(attached(CLAIRE), None, {}, outbox, ANY)
    _, known = file(attached(SOPHIE), known, {}, outbox, ANY)
    filing, known = file(detached(SOPHIE), known, {}, outbox, ANY)
    assert (filing.filed, filing.withdrawn) == (True, False)
    assert statuses(outbox) == ["current"]
    assert known is not None
    assert known.standing
    filing, known = file(detached(CLAIRE), known, {}, outbox, ANY)
    assert filing.withdrawn
    assert statuses(outbox) == ["current", "entered-in-error"]


def test_the_author_takes_back_for_everybody(outbox: Outbox) -> None:
    _, known = file(attached(CLAIRE), None, {}, outbox, ANY)
    _, known = file(attached(SOPHIE), known, {}, outbox, ANY)
    filing, _ = file(detached(KARIM), known, {}, outbox, ANY)
    assert filing.withdrawn
    assert statuses(outbox) == ["current", "entered-in-error"]


def test_a_note_whose_file_is_gone_or_whose_author_left_can_still_be_taken_back(
    outbox: Outbox,
) -> None:
    part = FilePart("plaie.jpg", "image/jpeg", 3, b"h" * 32, b"b" * 32, b"k" * 32, 65536)
    photo = said(KARIM, Post((part,)))
    _, known = file(attached(CLAIRE, photo), None, {b"b" * 32: b"jpg"}, outbox, ANY)
    gone = replace(detached(CLAIRE, photo), message=replace(photo, refusal=LOST))
    assert refusal_before_files(gone, ANY) is None
    filing, _ = file(gone, known, {}, outbox, ANY)
    assert filing.withdrawn
    assert statuses(outbox) == ["current", "entered-in-error"]


def test_what_was_never_filed_cannot_be_taken_back(outbox: Outbox) -> None:
    filing, known = file(detached(KARIM), None, {}, outbox, ANY)
    assert (filing.filed, filing.code, known) == (False, "not-filed", None)
    assert bundles(outbox) == []


def test_attaching_again_after_a_detach_makes_the_note_current_again(outbox: Outbox) -> None:
    _, known = file(attached(CLAIRE), None, {}, outbox, ANY)
    _, known = file(detached(CLAIRE), known, {}, outbox, ANY)
    filing, known = file(attached(SOPHIE), known, {}, outbox, ANY)
    assert filing.filed
    assert statuses(outbox) == ["current", "current", "entered-in-error"]
    last = json.loads((outbox.folder / filing.document).read_bytes())["entry"][0]
    assert last["request"]["method"] == "PUT"
    assert known is not None
    assert known.standing


def test_an_old_attach_that_comes_again_after_a_detach_does_not_revive_the_note(
    outbox: Outbox,
) -> None:
    _, known = file(attached(CLAIRE), None, {}, outbox, ANY)
    _, known = file(detached(CLAIRE), known, {}, outbox, ANY)
    _, after = file(attached(CLAIRE), known, {}, outbox, ANY)
    assert after == known
    assert statuses(outbox) == ["current", "entered-in-error"]


def test_one_message_in_two_records_makes_two_files(outbox: Outbox) -> None:
    other = RecordRef("urn:oid:1.2.3.4", "IPP-003377")
    first, _ = file(attached(CLAIRE), None, {}, outbox, ANY)
    second, _ = file(attached(CLAIRE, record=other), None, {}, outbox, ANY)
    assert first.document != second.document
    assert len(bundles(outbox)) == 2


def test_a_file_that_was_not_fetched_is_refused(outbox: Outbox) -> None:
    part = FilePart("plaie.jpg", "image/jpeg", 3, b"h" * 32, b"b" * 32, b"k" * 32, 65536)
    photo = said(KARIM, Post((TextPart("La photo."), part)))
    refused, known = file(attached(CLAIRE, photo), None, {}, outbox, ANY)
    assert (refused.code, known) == ("file-missing", None)
    filing, _ = file(attached(CLAIRE, photo), None, {b"b" * 32: b"jpg"}, outbox, ANY)
    assert filing.filed
    assert len(bundles(outbox)[0]["entry"][0]["resource"]["content"]) == 2


def test_what_no_person_wrote_is_refused(outbox: Outbox) -> None:
    renamed = said(KARIM, Rename("Relève"))
    filing, _ = file(attached(CLAIRE, renamed), None, {}, outbox, ANY)
    assert (filing.filed, filing.code) == (False, "not-a-note")


def test_refusals_that_need_no_file() -> None:
    good = attached(CLAIRE)
    assert refusal_before_files(good, ANY) is None
    assert refusal_before_files(good, Systems.parse([RECORD.system], ESTABLISHMENT)) is None
    assert (
        refusal_before_files(good, Systems.parse(["urn:x:other"], ESTABLISHMENT))
        == "unknown-system"
    )
    revoked = said(KARIM, NOTE.message.body, refusal=LOST)
    assert refusal_before_files(attached(CLAIRE, revoked), ANY) == "revoked"
    huge = FilePart("f", "a/b", LARGEST_FILES + 1, b"h" * 32, b"b" * 32, b"k" * 32, 65536)
    large = attached(CLAIRE, said(KARIM, Post((huge,))))
    assert refusal_before_files(large, ANY) == "too-large"


def test_a_records_system_becomes_a_uri() -> None:
    assert ANY.uri("urn:oid:1.2.3") == "urn:oid:1.2.3"
    assert ANY.uri("dui").startswith("urn:uuid:")
    assert ANY.uri("dui") != Systems.parse([], b"f" * 16).uri("dui")
    named = Systems.parse(["urn:oid:1.2.3", "old=https://old.example/ipp"], ESTABLISHMENT)
    assert named.uri("dui") == "urn:oid:1.2.3"
    assert named.uri("old") == "https://old.example/ipp"
    assert named.accepts("dui")
    assert not named.accepts("other")
    with pytest.raises(InvalidInput):
        Systems.parse(["nonsense"], ESTABLISHMENT)


def test_a_number_alone_is_filed_under_the_duis_uri(outbox: Outbox) -> None:
    forward = attached(CLAIRE, record=RecordRef("dui", "1234"))
    filing, _ = file(forward, None, {}, outbox, Systems.parse(["urn:oid:1.2.3"], ESTABLISHMENT))
    subject = bundles(outbox)[0]["entry"][0]["resource"]["subject"]
    assert subject["identifier"] == {"system": "urn:oid:1.2.3", "value": "1234"}
    assert filing.receipt.record == RecordRef("dui", "1234")
