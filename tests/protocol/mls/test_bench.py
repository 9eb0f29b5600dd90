"""The benchmark of MLS still runs, and its rows have the fields that others read."""

from __future__ import annotations

import json

import pytest

from tests.bench.mls import peer
from tests.bench.mls.__main__ import main
from tests.bench.mls.operations import FRESH_OPS, MESSAGE_OPS, WARM_OPS

SIZES = {"memory", "state"}
"""Memory is measured in large groups only."""


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["--json", "--rounds", "1", "--members", "10", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_operation_has_a_row_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "--suite", "0x0001")
    timed = {row["op"]: row for row in found if "pli_us" in row}
    assert timed.keys() == {*MESSAGE_OPS, *FRESH_OPS, *WARM_OPS} - SIZES
    assert all(row["suite"] == 1 and row["members"] == 10 for row in found)
    assert all(isinstance(row["pli_us"], float) and row["pli_us"] > 0 for row in timed.values())
    assert {op for op, row in timed.items() if "floor_us" in row} == set(MESSAGE_OPS)
    sizes = {row["op"]: row["pli_bytes"] for row in found if row["op"] not in timed}
    assert {"state", "seal_bytes", "welcome_bytes", "update_warm_commit_bytes"} <= sizes.keys()
    assert all(isinstance(size, int) and size > 0 for size in sizes.values())


@pytest.mark.needs_mls_rs
def test_the_peer_takes_part_where_its_bindings_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert peer.available(0x0001)
    timed = {row["op"]: row for row in rows(capsys, "--suite", "0x0001") if "pli_us" in row}
    alone = {op for op, row in timed.items() if "mls_rs_us" not in row}
    # The bindings have no external commit, send handshakes as PublicMessages, and Adds without a path.
    assert alone == {
        "external_commit",
        "external_receive",
        "update_warm_private_commit",
        "add_path_commit",
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--op", "sael"), "update_warm_commit"),
        (("--suite", "0x0002"), "0x0001"),
        (("--op", "join", "--members", "2"), "nothing"),
    ],
)
def test_what_is_not_measured_is_refused_with_what_there_is(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_one_operation_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "--suite", "0x0003", "--op", "seal")
    assert [row["op"] for row in found] == ["seal", "seal_bytes"]
    assert not peer.available(0x0003)
