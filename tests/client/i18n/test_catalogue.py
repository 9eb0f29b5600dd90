"""The French catalogues are complete, compiled, and say the same as the English msgids."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Message

from . import catalogue

DOMAINS = sorted(catalogue.SOURCES)
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|\{\w*[^}]*\}")


def sides(message: Message) -> tuple[list[set[str]], list[set[str]]]:
    ids = (message.id,) if isinstance(message.id, str) else tuple(message.id)
    return (
        [set(PLACEHOLDER.findall(text)) for text in ids],
        [set(PLACEHOLDER.findall(text)) for text in catalogue.texts(message)],
    )


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_text_of_the_code_is_in_the_catalogue(domain: str) -> None:
    """After adding a text: python -m tests.client.i18n.catalogue, then fill in the French."""
    held = {m.id if isinstance(m.id, str) else tuple(m.id) for m in entries(domain)}
    assert {k: v for k, v in catalogue.used(domain).items() if k not in held} == {}


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_text_has_its_french(domain: str) -> None:
    assert catalogue.untranslated(catalogue.read(domain)) == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_placeholders_agree_in_both_languages(domain: str) -> None:
    wrong = []
    for message in entries(domain):
        english, french = sides(message)
        # In a plural each French form has what one of the English forms has.
        if any(catalogue.texts(message)) and any(found not in english for found in french):
            wrong.append(message.id)
    assert wrong == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_compiled_catalogue_is_that_of_the_text(domain: str) -> None:
    compiled = (catalogue.FRENCH / f"{domain}.mo").read_bytes()
    assert compiled == catalogue.compiled(catalogue.read(domain))


def entries(domain: str) -> list[Message]:
    return list(catalogue.entries(catalogue.read(domain)))


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_catalogue_is_written_as_it_stands_by_any_babel(
    domain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (catalogue.FRENCH / f"{domain}.po").read_bytes()
    (tmp_path / f"{domain}.po").write_bytes(before)
    monkeypatch.setattr(catalogue, "FRENCH", tmp_path)
    catalogue.update(domain)
    assert (tmp_path / f"{domain}.po").read_bytes() == before
