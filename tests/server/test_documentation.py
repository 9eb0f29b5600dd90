"""The pages name every frame, code and limit, and the defaults that the code has."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from pli_protocol.relay import frames as f
from pli_protocol.relay.errors import CODES
from pli_server.settings import Limits, Retention

DOCS = Path(__file__).parents[2] / "docs"
RELAY = (DOCS / "protocol/relay.md").read_text(encoding="utf-8")
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", get_args(f.ClientFrame), ids=lambda kind: kind.__name__)
def test_every_client_frame_is_described(kind: type) -> None:
    assert kind.__name__ in RELAY


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_in_the_table_of_refusals(code: str) -> None:
    assert f"`{code}`" in RELAY.split("## Refusals")[1]


def shown(text: str) -> int:
    number, _, unit = text.partition(" ")
    return int(number.replace(",", "")) * {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit]


@pytest.mark.parametrize(
    "field", [*msgspec.structs.fields(Limits), *msgspec.structs.fields(Retention)]
)
def test_every_setting_stands_with_its_default(field: msgspec.structs.FieldInfo) -> None:
    row = re.search(rf"^\| `{field.name}`[^|]*\| ([^|]+) \|", OPERATIONS, re.MULTILINE)
    assert row is not None, field.name
    assert shown(row[1]) == field.default
