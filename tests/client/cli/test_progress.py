"""How far a file is: one line for who looks, nothing for who reads with a program."""

import io
import sys

import pytest

from pli_client.cli.options import Settings
from pli_client.cli.output import show_progress
from pli_client.cli.session import Answer


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_it_on_one_line_that_ends_with_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    show_progress("plaie\x1b[31m.jpg", 512, 1024)
    show_progress("plaie.jpg", 1024, 1024)
    first, second = screen.getvalue().split("\r")[1:]
    assert first.rstrip().endswith("50 %")
    assert "\x1b" not in screen.getvalue()
    assert "\n" not in first
    assert second == f"{'plaie.jpg 100 %':<40}\n"


def test_it_is_no_answer_and_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[object] = []
    answer = Answer(Settings(), shown.append)
    answer.take({"kind": "progress", "name": "plaie.jpg", "done": 1, "total": 2})
    assert (answer.given, shown) == (False, [])
    assert capsys.readouterr() == ("", "")
