"""Every entry of every vector file in the folder verifies."""

import json
import subprocess
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pli_protocol.mls.ciphersuite import SUITES

from .kinds import KINDS, kind_of, verify

DEFAULT_FOLDER = Path(__file__).parents[4].parent / "shared/mls-vectors"
SOURCE = "https://github.com/mlswg/mls-implementations (test-vectors)"
ABSENT = (
    "the official MLS test vectors: there is no folder ../shared/mls-vectors; "
    f"get them from {SOURCE} and run with --mls-vectors=DIR"
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vector_file" not in metafunc.fixturenames:
        return
    given: Path | None = metafunc.config.getoption("mls_vectors")
    files = sorted((given or DEFAULT_FOLDER).glob("*.json"))
    if given is None and not DEFAULT_FOLDER.is_dir():
        absent = pytest.param(None, id="absent", marks=pytest.mark.skip(reason=ABSENT))
        metafunc.parametrize("vector_file", [absent])
    elif not files:
        metafunc.parametrize("vector_file", [None], ids=["empty"])
    else:
        metafunc.parametrize("vector_file", files, ids=[file.stem for file in files])


@pytest.mark.vectors
def test_all_entries_of_a_vector_file_verify(
    vector_file: Path | None,
    vector_counts: dict[str, Counter[str]],
    pytestconfig: pytest.Config,
) -> None:
    if vector_file is None:
        folder = pytestconfig.getoption("mls_vectors") or DEFAULT_FOLDER.name
        pytest.fail(f"no vectors in {folder}; they come from {SOURCE}", pytrace=False)
    counts = vector_counts.setdefault(vector_file.name, Counter())
    failures = run(vector_file.read_bytes(), counts)
    assert not failures, "\n\n".join(failures)
    assert counts.total(), "the file has no entries"


def test_a_folder_without_vectors_is_named(tmp_path: Path) -> None:
    asked = ["-q", "-m", "vectors", f"--mls-vectors={tmp_path}", "--no-header", __file__]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *asked, "-p", "no:cacheprovider"],
        capture_output=True,
        encoding="utf-8",
        cwd=Path(__file__).parents[4],
        timeout=60,
    )
    assert done.returncode == 1
    assert f"no vectors in {tmp_path}" in done.stdout
    assert "assert" not in done.stdout


def run(content: bytes, counts: Counter[str]) -> list[str]:
    """Verify the entries of a file and count them; returns what failed and why."""
    try:
        entries = json.loads(content)
    except ValueError as error:
        entries = error
    if not isinstance(entries, list):
        counts["failed"] += 1
        return [f"the file is not a JSON array of vectors: {entries!r:.100}"]
    failures = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and kind_of(entry) and is_unsupported(entry):
            counts["unsupported"] += 1
            continue
        try:
            verify(entry)
        except Exception:
            counts["failed"] += 1
            failures.append(f"entry {index}: {traceback.format_exc(limit=-4)}")
        else:
            counts["passed"] += 1
    return failures


def is_unsupported(entry: dict[str, Any]) -> bool:
    """Whether an entry is of a cipher suite that this library does not have."""
    return "cipher_suite" in entry and entry["cipher_suite"] not in SUITES


# --- the runner itself -----------------------------------------------------------------------------


def test_an_entry_of_an_unknown_kind_fails() -> None:
    counts: Counter[str] = Counter()
    (failure,) = run(b'[{"cipher_suite": 1, "strange": 2}]', counts)
    assert "unknown kind" in failure
    assert counts == {"failed": 1}


def test_a_wrong_entry_is_counted_as_failed_and_does_not_hide_the_others() -> None:
    counts: Counter[str] = Counter()
    failures = run(
        b'[{"vlbytes_header": "01", "length": 2}, {"vlbytes_header": "01", "length": 1}]', counts
    )
    assert len(failures) == 1
    assert counts == {"failed": 1, "passed": 1}


def test_an_entry_of_a_suite_that_we_lack_is_counted_as_such() -> None:
    counts: Counter[str] = Counter()
    assert run(b'[{"cipher_suite": 2570, "psks": [], "psk_secret": ""}]', counts) == []
    assert counts == {"unsupported": 1}


@pytest.mark.parametrize("content", [b"{}", b"7", b"null", b"", b"[", b"\xff"])
def test_a_file_that_is_no_array_fails(content: bytes) -> None:
    assert run(content, Counter()) != []


def test_every_kind_has_a_verifier() -> None:
    assert [name for name, kind in KINDS.items() if kind.verify is None] == []
