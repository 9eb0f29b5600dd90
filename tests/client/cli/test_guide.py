"""Every command that the user's guide shows can be typed as it stands there."""

import copy
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import pli_client
from pli_client.cli.main import cli

DOCS = Path(pli_client.__file__).parents[2] / "docs"
PAGES = ("guide-utilisateur.md", "demo.md", "sdk.md", "threat-model.md", "operations.md")


def commands(page: str) -> Iterator[list[str]]:
    text = (DOCS / page).read_text(encoding="utf-8")
    for line in re.findall(r"^(?:    |\$ )?(?:echo .*\| )?pli (.+)$", text, re.M):
        yield shlex.split(line, comments=True)


@pytest.mark.parametrize("page", [page for page in PAGES if (DOCS / page).exists()])
def test_the_commands_of_a_page_exist_with_their_options(page: str) -> None:
    for words in commands(page):
        parse(copy.deepcopy(cli), words)


def test_the_guide_shows_most_commands() -> None:
    shown = {words[0] for words in commands("guide-utilisateur.md")}
    assert {"join", "new", "send", "read", "inbox", "search", "attach", "record"} <= shown


def parse(command: click.Command, words: list[str], name: str = "pli") -> None:
    context = click.Context(command, info_name=name, resilient_parsing=False)
    if isinstance(command, click.Group):
        if words and not words[0].startswith("-"):
            parse(command.commands[words[0]], words[1:], words[0])
        return
    files = {"path", "file", "directory"}
    for parameter in command.params:
        if parameter.type.name in files:
            parameter.type = click.STRING  # the page's files are not here
    command.parse_args(context, words)
