"""A bounded run of the fuzzer over every target; what it found before; and that it finds anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from . import planted
from .__main__ import main
from .campaign import Outcome, campaign, fuzz
from .finding import forget_mended, smaller
from .mls_targets import decoders
from .regressions import REGRESSIONS
from .targets import TARGETS

SECONDS = int(os.environ.get("PLI_FUZZ_SECONDS", "3"))
SEED = 1 if os.environ.get("CI") else 0


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Every target fuzzed for a moment, two at once."""
    return {done.target: done for done in campaign(TARGETS, SECONDS, at_once=2, seed=SEED)}


@pytest.mark.needs_atheris
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TARGETS)
def test_bad_input_raises_the_library_s_own_errors_only(
    name: str, outcomes: dict[str, Outcome]
) -> None:
    outcome = outcomes[name]
    assert not outcome.findings, str(outcome)
    assert outcome.inputs > 0


@pytest.mark.needs_atheris
def test_the_fuzzer_finds_a_fault_and_tells_its_input(tmp_path: Path) -> None:
    outcome = fuzz(planted.NAME, 20, tmp_path, SEED)
    (finding,) = outcome.findings
    assert finding.kind == "crash"
    with pytest.raises(ZeroDivisionError):
        planted.run(finding.data)
    assert "ZeroDivisionError" in finding.told
    assert finding.data.hex() in str(finding)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_a_target_are_taken(name: str) -> None:
    """The search begins at inputs that decode, else it would not get far in a moment."""
    target = TARGETS[name]()
    assert target.name == name
    assert target.seeds
    for seed in target.seeds:
        assert len(seed) <= target.longest
        target.run(seed)


@pytest.mark.parametrize("name", REGRESSIONS)
def test_what_was_found_once_stays_mended(name: str) -> None:
    target, data = REGRESSIONS[name]
    target, _, struct = target.partition("/")
    if struct:
        data = bytes([list(decoders()).index(struct)]) + data
    TARGETS[target]().run(data)


def test_what_was_mended_is_not_told_again(tmp_path: Path) -> None:
    mended, still = tmp_path / "crash-1", tmp_path / "crash-2"
    mended.write_bytes(b"\x00\x01\x06")
    still.write_bytes(b"\x00\x01\x07")
    forget_mended(planted.NAME, tmp_path)
    assert not mended.exists()
    assert still.exists()


def test_an_input_is_made_as_small_as_it_stays_wrong() -> None:
    def has(wanted: bytes) -> Callable[[bytes], bool]:
        return lambda data: wanted in data

    assert smaller(bytes(range(256)), has(b"\x10\x11")) == b"\x10\x11"
    assert smaller(b"abcdef" * 100, lambda data: len(data) > 3 and data[0] == 97) == b"a\0\0\0"


def test_an_input_to_repeat_that_is_no_hexadecimal_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["fuzz", "--repeat", "zz"])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    assert "hexadecimal" in capsys.readouterr().err.splitlines()[-1]
