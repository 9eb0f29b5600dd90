"""Which language is chosen, and that click and the errors speak it."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pli_client import i18n
from pli_client.errors import (
    FileUnreadable,
    InvalidInput,
    PliError,
    VaultDamaged,
    WrongPassphrase,
    WrongRelay,
    system_reason,
)


@pytest.fixture(autouse=True)
def language_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "_current", None)


@pytest.mark.parametrize(
    ("option", "env", "expected"),
    [
        (None, {}, "fr"),
        (None, {"LANG": "C"}, "fr"),
        (None, {"LANG": "de_DE.UTF-8"}, "fr"),
        (None, {"LANG": "fr_FR.UTF-8"}, "fr"),
        (None, {"LANG": "en_GB.UTF-8"}, "en"),
        (None, {"LANG": "en"}, "en"),
        (None, {"LC_ALL": "en_US@euro", "LANG": "fr_FR"}, "en"),
        (None, {"LC_ALL": "", "LC_MESSAGES": "en_US", "LANG": "fr_FR"}, "en"),
        (None, {"LC_ALL": "C", "LANG": "en_US"}, "fr"),
        (None, {"PLI_LANG": "en", "LANG": "fr_FR.UTF-8"}, "en"),
        (None, {"PLI_LANG": "FR-fr", "LANG": "en_GB.UTF-8"}, "fr"),
        (None, {"PLI_LANG": "de", "LANG": "en_GB.UTF-8"}, "en"),
        ("fr", {"PLI_LANG": "en", "LANG": "en_GB.UTF-8"}, "fr"),
        ("en", {}, "en"),
    ],
)
def test_option_then_variable_then_locale_then_french(
    option: str | None, env: dict[str, str], expected: str
) -> None:
    assert i18n.language(option, env) == expected


def test_a_text_is_translated_when_it_is_shown() -> None:
    marked = i18n.N_("The disk is full.")
    i18n.use("fr")
    assert i18n._(marked) == "Le disque est plein."
    i18n.use("en")
    assert i18n._(marked) == "The disk is full."
    assert i18n.translate(marked, "fr") == "Le disque est plein."


def test_the_empty_text_is_empty_and_not_the_catalogues_header() -> None:
    assert i18n.translate("", "fr") == ""


def test_an_error_speaks_the_language_in_use_and_any_other() -> None:
    error = WrongRelay(found="a", expected="b")
    i18n.use("fr")
    assert str(error).startswith("Le relais dit s’appeler a")
    assert error.sentence("en").startswith("The relay calls itself a")


def test_a_relay_of_another_name_is_told_with_the_name_to_use() -> None:
    error = WrongRelay(found="localhost", expected="127.0.0.1")
    assert "localhost" in error.text(error.REMEDY, "en")
    assert "127.0.0.1" in error.text(error.REMEDY, "fr")
    assert error.exit_code == 1  # 4 is for what comes right by waiting


@pytest.mark.parametrize(
    "number", [errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.ENOSPC, errno.EROFS]
)
def test_the_usual_reasons_of_the_system_have_words_of_their_own(number: int) -> None:
    error = FileUnreadable(name="x", reason=system_reason(OSError(number, os.strerror(number))))
    assert os.strerror(number) not in error.sentence("fr")
    assert error.sentence("fr") != error.sentence("en")
    assert error.text("%(reason)s", "fr") != error.text("%(reason)s", "en")


@pytest.mark.parametrize(
    ("wish", "unknown"),
    [("de", "de"), ("", None), (" ", None), ("fr_FR.UTF-8", None), ("EN", None)],
)
def test_a_wish_for_another_language_is_noticed(wish: str, unknown: str | None) -> None:
    assert i18n.unknown_wish({"PLI_LANG": wish}) == unknown
    assert i18n.unknown_wish({}) is None


def test_no_text_of_a_stranger_in_an_error_can_drive_the_terminal() -> None:
    i18n.use("en")
    shown = str(WrongRelay(found="\x1b[2J\u202e\u009b31m\nx", expected="b"))
    assert not any(c in shown for c in "\x1b\u202e\u009b\n")
    assert "%" in str(InvalidInput("100 % of %(what)s"))


def every_error(base: type[PliError] = PliError) -> Iterator[type[PliError]]:
    for error in base.__subclasses__():
        if error.__module__.startswith("pli_client.errors"):
            yield error
            yield from every_error(error)


def test_error_codes_are_unique() -> None:
    codes = [error.code for error in every_error()]
    assert sorted(set(codes)) == sorted(codes)


def test_an_error_raised_again_is_the_same_but_for_its_traceback() -> None:
    with pytest.raises(VaultDamaged) as raised:
        raise VaultDamaged("x")
    again = raised.value.again()
    assert again.__traceback__ is None
    assert (type(again), str(again)) == (VaultDamaged, str(raised.value))


def test_a_wrong_passphrase_has_an_exit_code_of_its_own() -> None:
    assert (WrongPassphrase().exit_code, PliError.exit_code) == (3, 1)


CLICK = """
import click
from pli_client import i18n
i18n.install_click({language!r})
@click.group()
def main(): pass
main()
"""


@pytest.mark.parametrize(
    ("language", "expected"), [("fr", "n’existe pas"), ("en", "No such command")]
)
def test_click_speaks_the_language_whatever_the_locale_says(language: str, expected: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CLICK.format(language=language), "nonsense"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"LC_ALL": "C", "LANGUAGE": "de", "PYTHONIOENCODING": "utf-8"},
    )
    assert expected in run.stderr


def test_i18n_costs_no_heavy_import() -> None:
    code = "import sys, pli_client.i18n; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"babel", "click", "websockets", "nacl"} & set(run.stdout.split())
