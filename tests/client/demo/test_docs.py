"""docs/demo.md explains every key, step and count, and nothing that does not exist."""

import re
from pathlib import Path
from typing import get_args

import pli_client
from pli_client.demo import scenario
from pli_client.demo.counts import Counts

TEXT = (Path(pli_client.__file__).parents[2] / "docs" / "demo.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"`([\w-]+)`", TEXT))


def test_every_kind_of_step_and_its_keys_are_explained() -> None:
    for step in get_args(scenario.Step):
        config = step.__struct_config__
        assert config.tag in WORDS
        keys = set(step.__struct_encode_fields__)
        assert keys <= WORDS, config.tag


def test_every_key_of_the_other_tables_is_explained() -> None:
    for table in (scenario.Scenario, scenario.Professional, scenario.Usager, scenario.Bot):
        keys = set(table.__struct_encode_fields__) - {"people", "usagers", "steps", "bot"}
        assert keys <= WORDS
    for table in ("[[people]]", "[[usagers]]", "[[steps]]", "[bot]"):
        assert table in TEXT


def test_every_count_is_explained() -> None:
    assert set(Counts.__dataclass_fields__) <= WORDS
