"""The search of the relay's files can fail: whatever is planted is found, whatever is not is not."""

import base64
import os
from pathlib import Path

import pytest

from pli_client.demo.plaintext import needles, search
from pli_client.demo.scenario import DEFAULT, load

SCENARIO = load()
WANTED = needles(SCENARIO, DEFAULT)
TEXT = SCENARIO.messages[2].text
PHOTO = (DEFAULT.parent / "escarre-talon-gauche.jpg").read_bytes()


def test_random_bytes_and_names_of_professionals_are_no_hit(tmp_path: Path) -> None:
    people = " ".join(f"{p.name} {p.profession}" for p in SCENARIO.people)
    (tmp_path / "relay.db").write_bytes(os.urandom(1 << 20) + people.encode() + bytes(4096))
    (tmp_path / "relay.log").write_text(f"{SCENARIO.establishment} {SCENARIO.bot.name}")
    found = search(tmp_path, WANTED)
    assert found.hits == ()
    assert len(found.files) == 2
    assert found.size > 1 << 20


@pytest.mark.parametrize(
    "secret",
    [
        TEXT.encode(),
        TEXT.encode()[40:90],
        b"IPP-2019-003377",
        "IPP-2019-003377".encode("utf-16-le"),
        base64.b64encode(b"IPP-2019-003377"),
        base64.b64encode(b"{'record': 'IPP-2019-003377'}"),
        base64.b64encode(b"a 'IPP-2019-003377' z"),
        base64.b64encode(b"as'IPP-2019-003377' z"),
        b"escarre-talon-gauche.jpg",
        b"Kerautret",
        "Relève Les Glycines".encode(),
        "Les Glycines, dimanche 22, équipe du matin".encode(),
        PHOTO[3000:3064],
    ],
)
@pytest.mark.parametrize("file", ["relay.db", "relay.db-wal", "blobs/ab/cdef", "relay.log"])
def test_a_planted_secret_is_found(tmp_path: Path, secret: bytes, file: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(5000) + secret + os.urandom(300))
    found = search(tmp_path, WANTED)
    assert found.hits
    assert {hit.file for hit in found.hits} == {file}


def test_a_text_cut_in_two_by_a_page_is_found(tmp_path: Path) -> None:
    data = TEXT.encode()
    for cut in range(8, len(data) - 8, 7):
        (tmp_path / "relay.db").write_bytes(data[:cut] + os.urandom(64) + data[cut:])
        assert search(tmp_path, WANTED).hits


def test_a_secret_in_a_files_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "escarre-talon-gauche.jpg.part").write_bytes(b"")
    assert search(tmp_path, WANTED).hits


def test_every_text_record_name_and_file_of_the_scenario_is_looked_for() -> None:
    sources = {needle.of for needle in WANTED}
    for step in SCENARIO.messages:
        assert step.text[:40] in sources
        assert set(step.files) <= sources
    for usager in SCENARIO.usagers:
        assert {usager.record, usager.name} <= sources
