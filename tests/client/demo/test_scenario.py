"""The scenario as it ships holds what the demonstration promises; a wrong one is refused clearly."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pli_client.demo.scenario import (
    DATA,
    DEFAULT,
    Add,
    Attach,
    Detach,
    KillRelay,
    Remove,
    RestartRelay,
    Scenario,
    ScenarioError,
    load,
)

SCENARIO = load()


def kinds(scenario: Scenario) -> list[str]:
    return [type(step).__name__ for step in scenario.steps]


def test_four_professionals_speak_of_three_usagers_in_at_least_thirty_messages() -> None:
    assert len(SCENARIO.people) == 4
    assert len(SCENARIO.usagers) == 3
    assert len(SCENARIO.messages) >= 30
    assert {step.who for step in SCENARIO.messages} == {person.key for person in SCENARIO.people}
    spoken_of = {step.record for step in SCENARIO.messages if step.record}
    assert spoken_of == {usager.key for usager in SCENARIO.usagers}


def test_every_gesture_of_the_demonstration_is_in_it() -> None:
    assert any(step.reply_to for step in SCENARIO.messages)
    assert any(step.urgent for step in SCENARIO.messages)
    for kind in (Attach, Detach, Add, Remove, KillRelay, RestartRelay):
        assert kind.__name__ in kinds(SCENARIO)
    notes = [s for s in SCENARIO.messages if s.record] + [
        s for s in SCENARIO.steps if isinstance(s, Attach)
    ]
    assert len(notes) - kinds(SCENARIO).count("Detach") >= 5


def test_somebody_writes_after_the_removal_and_while_the_relay_is_down() -> None:
    order = kinds(SCENARIO)
    assert "Send" in order[order.index("Remove") :]
    assert "Send" in order[order.index("KillRelay") : order.index("RestartRelay")]


def test_the_picture_and_the_document_are_what_they_say() -> None:
    names = {name for step in SCENARIO.messages for name in step.files}
    starts = {".jpg": (b"\xff\xd8\xff", b"\xff\xd9"), ".pdf": (b"%PDF-1.", b"%%EOF\n")}
    assert {Path(name).suffix for name in names} == set(starts)
    for name in names:
        first, last = starts[Path(name).suffix]
        data = (DATA / name).read_bytes()
        assert data.startswith(first)
        assert data.endswith(last)


def changed(tmp_path: Path, change: Any) -> Path:
    data = tomllib.loads(DEFAULT.read_text(encoding="utf-8"))
    change(data)
    path = tmp_path / "scenario.toml"
    path.write_text(_toml(data), encoding="utf-8")
    return path


def _toml(data: dict[str, Any]) -> str:
    """TOML of the scenario's shape: tables of JSON-like values."""
    lines = [f"{key} = {_value(value)}" for key, value in data.items() if not _table(value)]
    for key, value in data.items():
        tables = value if isinstance(value, list) else [value]
        for table in tables if _table(value) else []:
            lines.append(f"[[{key}]]" if isinstance(value, list) else f"[{key}]")
            lines += [f"{name} = {_value(item)}" for name, item in table.items()]
    return "\n".join(lines)


def _table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _value(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def test_an_unchanged_copy_is_the_same_scenario(tmp_path: Path) -> None:
    assert load(changed(tmp_path, lambda data: None)) == SCENARIO


def step(data: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(s for s in data["steps"] if s["do"] == kind)
    return found


def after(data: dict[str, Any], kind: str) -> dict[str, Any]:
    """The second step after one: by another person than the one before it."""
    found: dict[str, Any] = data["steps"][data["steps"].index(step(data, kind)) + 2]
    return found


def _drop(data: dict[str, Any], kind: str) -> None:
    data["steps"].remove(step(data, kind))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format=2),
        lambda d: d.update(colour="blue"),
        lambda d: d.pop("establishment"),
        lambda d: d["people"].pop(),
        lambda d: d["people"].append(d["people"][0]),
        lambda d: d["people"][0].update(rpps="12"),
        lambda d: d["usagers"].append(d["usagers"][0]),
        lambda d: d["usagers"][0].update(record="12"),
        lambda d: step(d, "send").update(who="nobody"),
        lambda d: step(d, "send").update(who="vasseur"),
        lambda d: step(d, "send").update(text=d["steps"][2]["text"]),
        lambda d: step(d, "send").update(reply_to="later"),
        lambda d: step(d, "send").update(files=["no-such-file.jpg"]),
        lambda d: step(d, "send").update(record="nobody"),
        lambda d: step(d, "send").update(note_type="OBS"),
        lambda d: step(d, "send").update({"in": "elsewhere"}),
        lambda d: step(d, "send").update(note_type="XXX", record="fournier"),
        lambda d: step(d, "attach").update(message="nothing"),
        lambda d: step(d, "detach").update(record="kerautret"),
        lambda d: step(d, "add").update(person="karim"),
        lambda d: step(d, "remove").update(conversation="plaies"),
        lambda d: after(d, "kill-relay").update(reply_to="urgence"),
        lambda d: _drop(d, "start"),
        lambda d: _drop(d, "kill-relay"),
        lambda d: _drop(d, "restart-relay"),
        lambda d: d["steps"].append({"do": "dance", "who": "claire"}),
    ],
)
def test_a_scenario_that_does_not_fit_together_is_refused(tmp_path: Path, change: Any) -> None:
    with pytest.raises(ScenarioError) as refused:
        load(changed(tmp_path, change))
    assert "scenario.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_toml_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[[[")
    (tmp_path / "latin.toml").write_bytes(b"title = '\xe9'")
    for name in ("broken.toml", "latin.toml", "missing.toml"):
        with pytest.raises(ScenarioError):
            load(tmp_path / name)
