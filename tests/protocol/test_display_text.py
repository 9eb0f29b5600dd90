"""The sanitiser: nothing comes out that a terminal obeys, that hides, or that forges a line."""

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pli_protocol.display_text import LINE_LIMIT, TEXT_LIMIT, displayable

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=200)
HOSTILE = st.text(
    st.sampled_from(
        "ab \n\r\t\x00\x07\x08\x1b\x7f\x80\x85\x9b\x9d\xad\u0301\u034f\u061c\u115f\u180e\u200b\u200d"
        "\u200e\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069\u3164\ufe0f\ufeff\ufff9\ufffe"
        "\ud800\udfff\ue000\U000e0001\U000e0041\U000e0100\U0010ffff"
    ),
    max_size=60,
)


def is_safe(text: str, *, one_line: bool) -> bool:
    return all(
        character == "\n"
        and not one_line
        or (
            unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
            and unicodedata.bidirectional(character)
            not in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN")
            and not 0xE0000 <= ord(character) <= 0xE0FFF
            and ord(character) not in (0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x061C, 0xFEFF)
        )
        for character in text
    )


@pytest.mark.parametrize("one_line", [True, False])
def test_every_code_point_alone_comes_out_safe_and_stays_as_it_is(one_line: bool) -> None:
    for point in range(sys.maxunicode + 1):
        shown = displayable(chr(point), one_line=one_line)
        assert is_safe(shown, one_line=one_line), hex(point)
        assert displayable(shown, one_line=one_line) == shown, hex(point)


@pytest.mark.parametrize("one_line", [True, False])
@settings(max_examples=500)
@given(text=st.one_of(ANY_TEXT, HOSTILE))
def test_any_text_comes_out_safe_once_and_for_all(text: str, one_line: bool) -> None:
    shown = displayable(text, one_line=one_line)
    assert is_safe(shown, one_line=one_line)
    assert displayable(shown, one_line=one_line) == shown
    shown.encode()  # no lone surrogate is left


@settings(max_examples=300)
@given(text=HOSTILE, limit=st.integers(1, 40), one_line=st.booleans())
def test_text_is_never_longer_than_its_limit(text: str, limit: int, one_line: bool) -> None:
    shown = displayable(text, one_line=one_line, limit=limit)
    assert len(shown) <= limit
    assert displayable(shown, one_line=one_line, limit=limit) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Mme Lefèvre a bien dormi ; pansement refait à 7 h 30.",
        "« Œdème » — 37,8 °C, 12 %\u00a0; 3\u202f000 ml",
        "Straße, Ångström, naïve, Đặng Thị Ngân, Łukasz",
        "Ελληνικά Русский עברית العربية 中文 日本語 한국어 ไทย हिन्दी",
        "❤\ufe0f 👍🏽 🇫🇷",
        "une ligne\nune autre\n\nla dernière",
    ],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert displayable(text) == text


@pytest.mark.parametrize("point", [*range(0x20), 0x7F, *range(0x80, 0xA0)])
def test_every_control_becomes_something_visible_or_a_line_end(point: int) -> None:
    shown = displayable(f"a{chr(point)}b")
    if point in (0x0A, 0x0B, 0x0C, 0x0D, 0x85):
        assert shown == "a\nb"
    elif point == 0x09:
        assert shown == "a    b"
    elif point < 0x80:
        picture = shown[1]
        assert len(shown) == 3
        assert "\u2400" <= picture <= "\u2421"
    else:
        assert shown == "a\ufffdb"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J\x1b[H", "␛[2J␛[H"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x1b]8;;https://example.org\x1b\\link", "␛]8;;https://example.org␛\\link"),
        ("\x9b31mred", "\ufffd31mred"),
        ("\x9d0;title\x9c", "\ufffd0;title\ufffd"),
        ("\x1bP+q\x1b\\", "␛P+q␛\\"),
        ("[/", "[/"),
        ("[bold red]x[/]", "[bold red]x[/]"),
        ("photo\u202egpj.exe", "photo\ufffdgpj.exe"),
        ("a\u2066b\u2069c\u200fd", "abcd"),
        ("pay\u200bpal\u2060\ufeff", "paypal"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f3f4"),
        ("\ud83d\ude00", "\ufffd\ufffd"),
        ("\ue000\U0010fffd\ufdd0\U0001fffe", "\ufffd" * 4),
        ("a\u2028b\u2029c\x85d", "a\nb\nc\nd"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("abc\x08\x08\x08xyz", "abc␈␈␈xyz"),
        ("e" + "\u0301" * 100, "e" + "\u0301" * 8),
    ],
)
def test_hostile_text_is_disarmed(hostile: str, shown: str) -> None:
    assert displayable(hostile) == shown


def test_one_line_is_one_line() -> None:
    for end in ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"):
        assert displayable(f"facture{end}payée", one_line=True) == "facture payée"
    assert displayable("  nom \t", one_line=True) == "nom"


def test_name_of_invisible_characters_is_not_empty() -> None:
    assert displayable("\u200b\u3164\u2060", one_line=True) == "\ufffd"
    assert displayable("", one_line=True) == ""


def test_long_text_is_cut_and_says_so() -> None:
    assert displayable("x" * 300, one_line=True) == "x" * (LINE_LIMIT - 1) + "…"
    assert len(displayable("é" * (TEXT_LIMIT + 1))) == TEXT_LIMIT
    assert displayable("x" * LINE_LIMIT, one_line=True) == "x" * LINE_LIMIT


def test_long_invisible_text_does_not_pass_for_a_whole_one() -> None:
    assert displayable("a" + "\u200b" * 100_000 + "b", limit=10) == "a…"
