"""A stranger's file name: harmless on every system."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pli_client.files import safe_name
from pli_client.files.names import LONGEST, numbered


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("plaie.jpg", "plaie.jpg"),
        ("Plan de soins – été.pdf", "Plan de soins – été.pdf"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\Windows\\win.ini", "win.ini"),
        ("/etc/passwd", "passwd"),
        ("C:\\autoexec.bat", "autoexec.bat"),
        ("C:autoexec.bat", "C_autoexec.bat"),
        (".bashrc", "bashrc"),
        ("-rf", "_-rf"),
        ("~root", "_~root"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("LPT\u00b9.pdf", "_LPT\u00b9.pdf"),
        ("console.log", "console.log"),
        ("a. . .", "a"),
        ("a:stream", "a_stream"),
        ("what?*.pdf", "what__.pdf"),
        ("e\u0301.txt", "\u00e9.txt"),
    ],
)
def test_names_by_example(given_name: str, expected: str) -> None:
    assert safe_name(given_name) == expected


@pytest.mark.parametrize("empty", ["", ".", "..", "/", "a/", "\u200b", " ", "...", "\x00"])
def test_no_name_becomes_some_name(empty: str) -> None:
    assert safe_name(empty)


HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from('/\\.:\x00\u202e\u2066\u200b\u2028\x1b\x9b *?"<>|~-\ufeff\U000e0041'),
    ),
    max_size=300,
)


@given(HOSTILE)
@example("facture\u202efdp.exe")
@example("con .txt")
@example("\ud800.pdf")
@example("a" * 400 + ".pdf")
@example("é" * 200)
@example("a." + "b" * 300)
@example("0\u16800")
def test_whatever_comes_the_name_is_safe(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= LONGEST + 1
    assert not set(safe) & set('/\\<>:"|?*')
    assert safe.isprintable()
    assert not any(ord(c) in range(0x202A, 0x202F) or ord(c) in range(0x2066, 0x206A) for c in safe)
    assert not safe.startswith((".", "-", "~", " "))
    assert not safe.endswith((".", " "))
    assert safe.split(".")[0].rstrip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
    assert safe_name(safe) == safe


def test_a_long_name_keeps_its_extension() -> None:
    safe = safe_name("é" * 300 + ".pdf")
    assert safe.endswith("é.pdf")
    assert len(safe.encode()) <= LONGEST


def test_a_taken_name_gets_a_number_before_its_extension() -> None:
    assert numbered("plan.pdf", 1) == "plan.pdf"
    assert numbered("plan.pdf", 2) == "plan (2).pdf"
    assert numbered("plan", 3) == "plan (3)"
