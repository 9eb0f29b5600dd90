"""The log: one line each, ours in words that name nobody, others' by their place only."""

import json
import logging
import sys

import pytest

from pli_server import log
from pli_server.settings import Log

SECRET = "Zoé Durand 192.0.2.7"


def record(name: str, *, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord(name, logging.ERROR, "place.py", 12, "%s went by", (SECRET,), info)
    made.created, made.msecs = 1_795_000_000.25, 250
    return made


def raised() -> ValueError:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        return error


@pytest.mark.parametrize("formatter", [log.TextLines(), log.JsonLines()], ids=["text", "json"])
def test_of_libraries_and_of_errors_no_text_is_told(formatter: logging.Formatter) -> None:
    foreign = formatter.format(record("asyncio", error=raised()))
    assert SECRET not in foreign
    assert "place:12" in foreign
    assert f"ValueError at {__name__}" in foreign
    assert "\n" not in foreign
    ours = record("pli_server.process", error=raised())
    ours.msg, ours.args = "stopped", ()
    assert SECRET not in formatter.format(ours)


def test_a_json_line_is_one_object() -> None:
    told = json.loads(log.JsonLines().format(record("pli_server.sweep")))
    assert told == {
        "time": "2026-11-18T11:06:40.250Z",
        "level": "error",
        "logger": "pli_server.sweep",
        "message": f"{SECRET} went by",
    }


def test_the_level_is_ours_and_libraries_tell_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, ours = logging.getLogger(), logging.getLogger("pli_server")
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    before = root.level, ours.level
    try:
        log.configure(Log(level="debug", format="json"))
        logging.getLogger("pli_server.sweep").debug("swept")
        logging.getLogger("sqlalchemy").info("no")
        logging.getLogger("sqlalchemy").warning("yes")
    finally:
        root.setLevel(before[0])
        ours.setLevel(before[1])
        logging.getLogger("pli_protocol").setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["logger"] for line in lines] == ["pli_server.sweep", "sqlalchemy"]
