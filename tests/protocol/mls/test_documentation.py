"""The library's page: its examples run, its numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pli_protocol.mls import PAST_EPOCHS, SUITES, Group
from pli_protocol.mls.epoch import PAST_SECONDS
from pli_protocol.mls.leaf_check import MAX_LIFETIME
from pli_protocol.mls.secret_tree import MAX_FORWARD, MAX_SKIPPED

PAGE = (Path(__file__).parents[3] / "docs/protocol/mls.md").read_text(encoding="utf-8")


def test_the_examples_run() -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(examples) == 2
    found: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, "docs/protocol/mls.md", "exec"), found)
    assert found["data"] == b"text"
    assert found["merged"].group.epoch == 4
    assert found["carols"].epoch == 4


def test_the_stores_of_the_examples_hold_the_groups() -> None:
    found: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(example, "docs/protocol/mls.md", "exec"), found)
    assert found["at_alice"] == found["merged"].group.entries()
    assert found["at_carol"] == found["carols"].entries()
    Group.from_entries(found["at_alice"], found["alice"])
    Group.from_entries(found["at_carol"], found["carol"])
    assert not found["at_bob"]


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"{MAX_SKIPPED} keys kept" in PAGE
    assert f"at most {MAX_FORWARD} ahead" in PAGE
    assert f"the last {PAST_EPOCHS} epochs" in PAGE
    assert PAST_SECONDS == 86_400
    assert "for a day after each ended" in PAGE
    assert f"({MAX_LIFETIME // 86_400} days)" in PAGE
    for number in SUITES:
        assert f"| 0x{number:04X} |" in PAGE
