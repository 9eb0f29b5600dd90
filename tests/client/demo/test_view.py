"""The last page: two columns that keep to the width, whatever the texts."""

import os
from pathlib import Path

import pytest

from pli_client import i18n
from pli_client.bots.bundle import document_reference
from pli_client.demo.counts import Counts
from pli_client.demo.plaintext import Hit, Search, search
from pli_client.demo.view import dui_side, relay_side, side_by_side, summary
from tests.client.bots.test_bundle import PHOTO, note


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "_current", "en")


def test_both_columns_keep_to_the_width() -> None:
    rows = list(side_by_side(["word " * 60, "x" * 300], ["other " * 80], 100))
    assert max(map(len, rows)) <= 100
    assert all("│" in row for row in rows[:3])


def test_the_relays_side_lists_files_and_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "relay.db").write_bytes(bytes(5000) + os.urandom(4096))
    rows = relay_side(tmp_path, search(tmp_path, ()))
    assert any("relay.db: 9096 bytes" in row for row in rows)
    assert any("nothing" in row for row in rows)
    bad = Search((("relay.db", 9096),), 5, (Hit("relay.db", 12, "IPP-1"),))
    assert any("IPP-1" in row and "12" in row for row in relay_side(tmp_path, bad))


def test_the_duis_side_shows_notes_by_record_and_marks_the_withdrawn() -> None:
    first, second = note(), note(id=note(parts=(PHOTO,)).id, parts=(*note().parts, PHOTO))
    created = [document_reference(first), document_reference(second)]
    rows = dui_side(created, [document_reference(first, "entered-in-error")])
    text = "\n".join(rows)
    assert "IPP-004821" in text
    assert "Claire Le Goff (infirmière)" in text
    assert "plaie-talon.jpg" in text
    assert "(withdrawn)" in text


def test_an_escape_sequence_in_a_note_does_not_reach_the_terminal() -> None:
    document = document_reference(note())
    document["description"] = "\x1b[2J\u202egnp.exe"
    text = "\n".join(side_by_side([], dui_side([document], []), 100))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_summary_says_when_it_failed() -> None:
    values = dict.fromkeys(Counts.__dataclass_fields__, 0)
    assert "FAILED" not in " ".join(summary(Counts(**values), 1.0))
    assert "FAILED" in " ".join(summary(Counts(**(values | {"lost": 1})), 1.0))
