"""The driver as a process: its replies, and random scenarios against itself."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pli_protocol.mls import SUITES

from .driver import FEATURES, Driver
from .process import DriverProcess, Failed
from .scenario import Scenario


@pytest.fixture(scope="module")
def two() -> Iterator[list[DriverProcess]]:
    with DriverProcess() as one, DriverProcess() as other:
        yield [one, other]


@pytest.mark.processes
@pytest.mark.parametrize("number", sorted(SUITES))
@pytest.mark.parametrize("seed", range(3))
def test_random_scenarios_between_two_processes(
    two: list[DriverProcess], number: int, seed: int
) -> None:
    scenario = Scenario(two, number, seed)
    scenario.run(30)
    assert scenario.epochs > 5


@pytest.mark.processes
def test_info_says_what_the_driver_can(two: list[DriverProcess]) -> None:
    info = two[0].call("info")
    assert info["name"] == "pli"
    assert info["suites"] == sorted(SUITES)
    assert info["features"] == FEATURES
    assert FEATURES["past_epochs"] == 5


@pytest.mark.processes
def test_faulty_requests_get_a_reply_and_the_driver_goes_on(two: list[DriverProcess]) -> None:
    driver = two[0]
    for line in ("no json", "[]", "7", "{}"):
        assert driver.line(line)["ok"] is False
    with pytest.raises(Failed) as failed:
        driver.call("make_coffee")
    assert failed.value.reply["unsupported"] is True
    with pytest.raises(Failed) as failed:
        driver.call("new_client", client="x", identity="00", suite=0x0002)
    assert failed.value.reply["unsupported"] is True
    for request in (
        {"op": "send", "client": "nobody", "group": "00", "plaintext": "00"},
        {"op": "new_client", "client": "x"},
        {"op": "new_client", "client": "x", "identity": "zz", "suite": 1},
        {"op": "key_package"},
    ):
        assert driver.line(json.dumps(request))["ok"] is False
    assert driver.call("info")["name"] == "pli"


@pytest.mark.processes
def test_quit_and_the_end_of_input_end_the_process() -> None:
    with DriverProcess() as driver:
        assert driver.call("quit")["ok"] is True
    with DriverProcess() as driver:
        driver.call("info")


def new_pair(driver: Driver) -> None:
    """a and b in the group `aa`."""
    for name in "ab":
        ok(driver, "new_client", client=name, identity=name.encode().hex(), suite=1)
    ok(driver, "create_group", client="a", group="aa")
    package = ok(driver, "key_package", client="b")["key_package"]
    made = ok(driver, "add", client="a", group="aa", key_packages=[package])
    ok(driver, "merge", client="a", group="aa")
    ok(driver, "join", client="b", welcome=made["welcome"])


def ok(driver: Driver, op: str, **fields: object) -> dict[str, object]:
    reply = driver.handle({"op": op, **fields})
    assert reply["ok"], reply
    return reply


def test_an_older_message_is_opened_after_sixty_four_later_ones() -> None:
    driver = Driver()
    new_pair(driver)
    messages = [
        ok(driver, "send", client="a", group="aa", plaintext=f"{n:02x}")["message"]
        for n in range(65)
    ]
    for message in (*messages[1:], messages[0]):
        ok(driver, "process", client="b", group="aa", message=message)


def test_a_merge_without_a_commit_is_an_error() -> None:
    driver = Driver()
    new_pair(driver)
    assert driver.handle({"op": "merge", "client": "a", "group": "aa"})["ok"] is False
    assert driver.handle({"op": "discard", "client": "a", "group": "aa"})["ok"] is False


def test_a_removed_client_can_join_the_same_group_again() -> None:
    driver = Driver()
    new_pair(driver)
    made = ok(driver, "remove", client="a", group="aa", identities=[b"b".hex()])
    ok(driver, "merge", client="a", group="aa")
    gone = ok(driver, "process", client="b", group="aa", message=made["commit"])
    assert gone["kind"] == "removed"
    assert driver.handle({"op": "epoch", "client": "b", "group": "aa"})["ok"] is False
    info = ok(driver, "group_info", client="a", group="aa")["group_info"]
    joined = ok(driver, "external_join", client="b", group_info=info)
    heard = ok(driver, "process", client="a", group="aa", message=joined["commit"])
    assert heard["kind"] == "commit"


def test_a_group_may_require_capabilities() -> None:
    driver = Driver()
    for name, types in (("a", [0xF123]), ("b", [0xF123]), ("c", [])):
        ok(
            driver,
            "new_client",
            client=name,
            identity=name.encode().hex(),
            suite=3,
            extension_types=types,
        )
    ok(
        driver,
        "create_group",
        client="a",
        group="aa",
        extensions=[[0xF123, "0102"]],
        required_capabilities={"extensions": [0xF123], "proposals": []},
    )
    package = ok(driver, "key_package", client="c")["key_package"]
    refused = driver.handle({"op": "add", "client": "a", "group": "aa", "key_packages": [package]})
    assert refused["ok"] is False
    package = ok(driver, "key_package", client="b")["key_package"]
    made = ok(driver, "add", client="a", group="aa", key_packages=[package])
    ok(driver, "merge", client="a", group="aa")
    ok(driver, "join", client="b", welcome=made["welcome"])
