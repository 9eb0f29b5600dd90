"""The pages name every frame, code and limit, and the defaults that the code has."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from pli_protocol.relay import frames as f
from pli_protocol.relay.errors import CODES
from pli_server.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
RELAY = (DOCS / "protocol/relay.md").read_text(encoding="utf-8")
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", get_args(f.ClientFrame), ids=lambda kind: kind.__name__)
def test_every_client_frame_is_described(kind: type) -> None:
    assert kind.__name__ in RELAY


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_in_the_table_of_refusals(code: str) -> None:
    assert f"`{code}`" in RELAY.split("## Refusals")[1]


SECTIONS = [
    type(field.default)
    for field in msgspec.structs.fields(Settings)
    if isinstance(field.default, msgspec.Struct)
]


def shown(text: str) -> object:
    if not text[0].isdigit() or "." in text:
        return {"true": True, "false": False}.get(text, text)
    number, _, unit = text.partition(" ")
    return int(number.replace(",", "")) * {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit]


@pytest.mark.parametrize(
    "name",
    [
        field.name
        for field in msgspec.structs.fields(Settings)
        if not isinstance(field.default, msgspec.Struct)
    ],
)
def test_every_setting_of_the_whole_relay_is_told(name: str) -> None:
    assert re.search(rf"`{name}`|`{name} = |`--{name}`|^{name} = ", OPERATIONS, re.MULTILINE)


@pytest.mark.parametrize(
    "field", [field for section in SECTIONS for field in msgspec.structs.fields(section)]
)
def test_every_setting_stands_with_its_default(field: msgspec.structs.FieldInfo) -> None:
    if field.default is None:
        assert re.search(rf"`{field.name}( = [^`]*)?`", OPERATIONS), field.name
        return
    rows = re.findall(rf"^\| `{field.name}`[^|]*\| ([^|]+) \|", OPERATIONS, re.MULTILINE)
    assert field.default in [shown(row) for row in rows], field.name
