"""The driver as a process: its line protocol, what it says of itself, and that nothing ends it."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import version

import pytest

from .driver import Driver
from .process import OURS, ROOT, DriverProcess, Failed

pytestmark = pytest.mark.processes


def test_info_answers_exactly_what_the_page_gives(driver: DriverProcess) -> None:
    reply = driver.call("info")
    assert (reply["name"], reply["version"]) == ("pli", version("pli"))
    told = json.dumps({"suites": reply["suites"], "features": reply["features"]})
    assert told == (
        '{"suites": [1, 3, 78], "features": {"wire": ["public", "private"], "exporter": "any", '
        '"group_context": true, "authenticator": true, "tree_ext": [true, false], '
        '"external_commit": true, "group_info": true, "psk": true, "proposals": ["add", "remove"], '
        '"accepts_proposals": true, "sender": true, "update": true, "multi_remove": true, '
        '"discard": true, "past_epochs": 5, "out_of_order": 64, "late_from_removed": true, '
        '"kp_days": 60, "x509_capable": true, "required_capabilities": true, "extensions": true}}'
    )


def test_the_page_lists_every_op_and_no_other() -> None:
    page = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
    table = page.split("| op | asks for")[1].split("\n\n")[0]
    listed = [
        op for row in table.splitlines()[2:] for op in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert sorted(listed) == sorted([*Driver().operations, "quit"])


@pytest.mark.parametrize("name", [1, "seven", None, 1.5, True, ["a"], {"b": 2}])
def test_a_reply_has_the_id_of_its_request(driver: DriverProcess, name: object) -> None:
    assert driver.line(json.dumps({"op": "info", "id": name}).encode())["id"] == name
    assert driver.line(json.dumps({"op": "make_coffee", "id": name}).encode())["id"] == name


def test_a_request_without_an_id_is_answered_with_none(driver: DriverProcess) -> None:
    assert driver.line(b'{"op": "info"}')["id"] is None


def test_replies_tell_the_microseconds_inside_the_op(driver: DriverProcess) -> None:
    driver.call("new_client", client="timed", identity="00", suite=1)
    quick = driver.call("info")["us"]
    made = driver.call("key_package", client="timed")["us"]
    assert isinstance(quick, int)
    assert quick >= 0
    assert made > 0
    assert driver.line(b'{"op": "make_coffee"}')["us"] >= 0


def test_requests_sent_at_once_are_answered_in_order_one_line_each() -> None:
    lines = [json.dumps({"id": n, "op": "info" if n % 2 else "nonsense"}) for n in range(50)]
    done = subprocess.run(
        OURS, input="\n".join(lines).encode(), stdout=subprocess.PIPE, cwd=ROOT, check=True
    )
    replies = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [reply["id"] for reply in replies] == list(range(50))
    assert [reply["ok"] for reply in replies] == [bool(n % 2) for n in range(50)]


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"{",
        b"[]",
        b"7",
        b"null",
        b'"info"',
        b"\xff\xfe\x00",
        b'{"op": "info", "id": NaN}',
        b'{"op": "info", "id": -Infinity}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"op": "info", "id": ' + b"9" * 10_000 + b"}",
        b'{"op": "info"} {"op": "info"}',
    ],
    ids=lambda line: repr(line[:24]),
)
def test_a_line_that_is_no_json_object_is_answered(driver: DriverProcess, line: bytes) -> None:
    reply = driver.line(line)
    assert (reply["id"], reply["ok"]) == (None, False)
    assert reply["error"]
    assert driver.call("info")["name"] == "pli"


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"op": None},
        {"op": ["send"]},
        {"op": {}},
        {"op": "new_client", "client": "x"},
        {"op": "new_client", "client": "x", "identity": "zz", "suite": 1},
        {"op": "new_client", "client": "x", "identity": 5, "suite": 1},
        {"op": "new_client", "client": ["x"], "identity": "00", "suite": 1},
        {"op": "new_client", "client": "x", "identity": "00", "suite": "one"},
        {"op": "new_client", "client": "x", "identity": "00", "suite": 1e999},
        {"op": "new_client", "client": "x", "identity": "00", "suite": 1, "extension_types": 7},
        {"op": "new_client", "client": "x", "identity": "00", "suite": 1, "extension_types": ["x"]},
        {"op": "key_package"},
        {"op": "key_package", "client": "nobody"},
        {"op": "send", "client": "nobody", "group": "00", "plaintext": "00"},
        {"op": "send", "client": "known", "group": "00", "plaintext": "00"},
        {"op": "create_group", "client": "known"},
        {"op": "create_group", "client": "known", "group": "00", "extensions": [[1]]},
        {"op": "create_group", "client": "known", "group": "00", "extensions": [[99999, "00"]]},
        {"op": "create_group", "client": "known", "group": "00", "required_capabilities": 5},
        {"op": "join", "client": "known", "welcome": ""},
        {"op": "join", "client": "known", "welcome": "00010003"},
        {"op": "external_join", "client": "known", "group_info": "0001"},
    ],
    ids=str,
)
def test_a_faulty_request_is_answered(driver: DriverProcess, request_: dict[str, object]) -> None:
    driver.call("new_client", client="known", identity="00", suite=1)
    reply = driver.line(json.dumps(request_).encode())
    assert reply["ok"] is False
    assert reply["error"]
    assert driver.call("info")["name"] == "pli"


def test_what_the_driver_does_not_do_at_all_is_unsupported(driver: DriverProcess) -> None:
    with pytest.raises(Failed) as failed:
        driver.call("make_coffee")
    assert failed.value.reply["unsupported"] is True
    for suite in (0, 2, 7, 0x004F, 70_000):
        with pytest.raises(Failed) as failed:
            driver.call("new_client", client="x", identity="00", suite=suite)
        assert failed.value.reply["unsupported"] is True


def test_an_empty_line_is_passed_over(driver: DriverProcess) -> None:
    assert driver.line(b'\n  \n{"op": "info", "id": 1}')["id"] == 1


def test_quit_is_answered_and_ends_the_process() -> None:
    with DriverProcess() as driver:
        assert driver.call("quit")["ok"] is True
        assert driver.end() == 0


def test_the_end_of_input_ends_the_process() -> None:
    with DriverProcess() as driver:
        driver.call("info")
        assert driver.end() == 0
