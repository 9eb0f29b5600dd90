"""The log: one line each, ours in words that name nobody, others' by their place only."""

import json
import logging
import os
import sys
from pathlib import Path

import pytest

from pli_protocol.relay import frames as f
from pli_server import log
from pli_server.errors import Refusal
from pli_server.settings import Log

from .conftest import Server, running
from .people import TestEstablishment
from .raw_client import Refused
from .team import joins, team

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


class Lines(logging.Handler):
    """Everything that any logger says, as the relay's log would have it."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.mark.parametrize("formatter", [log.TextLines(), log.JsonLines()], ids=["text", "json"])
async def test_a_day_at_debug_level_names_nobody(
    tmp_path: Path, formatter: logging.Formatter
) -> None:
    """Every logger of the process at its most talkative, libraries too."""
    heard, root = Lines(formatter), logging.getLogger()
    names = ("sqlalchemy.engine", "asyncio", "websockets.server", "pli_server", "pli_protocol")
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(heard)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        # A database looks at its logger when it is opened.
        async with running(tmp_path / "relay") as server:
            said = await _a_day(server)
    finally:
        root.removeHandler(heard)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    text = "\n".join(heard.lines)
    assert len(heard.lines) > 20
    for what in said:
        shown = (what,) if isinstance(what, str) else (what.hex()[:12], repr(what)[2:-1], str(what))
        assert not [part for part in shown if part in text], what


async def _a_day(server: Server) -> list[str | bytes]:
    """What was said, and who and where they were."""
    home = TestEstablishment()
    await server.establish(home, server.code)
    a, b = await joins(server, home, "Zoé Durand"), await joins(server, home, "Ahmed Benali")
    made = await team(a, b)
    await made.says(a, b"Madame Vigne a refus\xc3\xa9 son pansement")
    blob = os.urandom(32)
    await a.client.ask(f.PutBlob(a.client.rid(), blob, 0, 7, b"content"))
    with pytest.raises(Refused):
        await b.client.ask(f.GetBlob(b.client.rid(), os.urandom(32), 0))

    def fails(_: object) -> None:
        raise ValueError("Zoé Durand")

    with pytest.raises(Refusal):
        await server.relay.writer.do("report", fails)
    stranger = await server.open()
    await stranger.ws.send(b"\xc1 Zo\xc3\xa9 Durand")
    await stranger.wait_closed()
    ids = [a.id, b.id, a.device.account, made.group, home.id, blob, a.client.signed_in.token]
    return ["Zoé", "Durand", "Benali", "Vigne", "127.0.0.1", str(server.folder), *ids]
