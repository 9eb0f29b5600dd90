"""Words that are typed or shown in the reader's language, whatever was signed."""

import click
import pytest

from pli_client import i18n
from pli_client.cli.professions import profession_shown
from pli_client.cli.reasons import Reason, reason_told, reason_typed


@pytest.fixture(params=["fr", "en"], autouse=True)
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(i18n, "_current", request.param)
    return str(request.param)


WORDS = [("left", "parti"), ("lost", "perdu"), ("stolen", "volé"), ("retired", "retiré")]


@pytest.mark.parametrize(("english", "french"), WORDS)
def test_reasons_are_taken_in_both_languages_and_shown_in_one(
    english: str, french: str, language: str
) -> None:
    reason = Reason()
    assert reason.convert(english, None, None) == english
    assert reason.convert(french, None, None) == english
    assert reason.convert(french.upper().replace("É", "E\u0301"), None, None) == english
    assert reason_typed(english) == (french if language == "fr" else english)
    assert reason_typed(english) in reason.choices
    assert reason_told(english) != english


def test_another_reason_is_refused_with_the_words_there_are() -> None:
    with pytest.raises(click.BadParameter) as refused:
        Reason().convert("ennui", None, None)
    assert reason_typed("left") in refused.value.format_message()


@pytest.mark.parametrize(
    ("signed", "french", "english"),
    [
        ("software", "logiciel", "software"),
        ("logiciel", "logiciel", "software"),
        ("professional", "professionnel", "professional"),
        ("infirmière", "infirmière", "infirmière"),
        (None, "", ""),
    ],
)
def test_the_professions_that_pli_gives_are_shown_in_the_reader_s_language(
    signed: str | None, french: str, english: str, language: str
) -> None:
    assert profession_shown(signed) == (french if language == "fr" else english)
