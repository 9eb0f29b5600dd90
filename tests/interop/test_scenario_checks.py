"""A scenario finds who does not agree: drivers that lie about one thing each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from . import __main__ as command
from .driver import Driver
from .member import Disagreement
from .process import ROOT, Failed
from .scenario import Scenario

Reply = dict[str, Any]


class Liar:
    """A driver within this process, whose replies to one op are altered."""

    def __init__(self, op: str = "", lie: Callable[[Reply], object] = lambda reply: None) -> None:
        self.driver = Driver()
        self.op = op
        self.lie = lie

    def call(self, op: str, **fields: Any) -> Reply:
        reply = self.driver.handle({"op": op, **fields})
        if not reply["ok"]:
            raise Failed(op, reply)
        if op == self.op:
            self.lie(reply)
        return reply


def change(name: str) -> Callable[[Reply], object]:
    """The last byte of a field in hex becomes another."""

    def lie(reply: Reply) -> None:
        if reply.get(name):
            reply[name] = reply[name][:-2] + f"{int(reply[name][-2:], 16) ^ 1:02x}"

    return lie


def next_epoch(reply: Reply) -> None:
    reply["epoch"] += 1


def no_first_member(reply: Reply) -> None:
    reply["members"] = reply["members"][1:] or reply["members"]


def another_leaf(reply: Reply) -> None:
    reply["members"][-1]["leaf"] += 1


def another_kind(reply: Reply) -> None:
    reply["kind"] = "proposal" if reply["kind"] != "proposal" else "commit"


def test_two_that_do_not_lie_agree() -> None:
    scenario = Scenario([Liar(), Liar()], 1, 1)
    scenario.run(20)
    assert scenario.count["epochs compared", "all"] > 5


@pytest.mark.parametrize(
    ("op", "lie", "found"),
    [
        ("epoch", next_epoch, "no agreement about epoch:"),
        ("epoch", change("group_context"), "no agreement about group_context:"),
        ("epoch", change("authenticator"), "no agreement about authenticator:"),
        ("export_secret", change("secret"), "no agreement about secret:"),
        ("tree", change("tree"), "no agreement about tree:"),
        ("members", no_first_member, "(no agreement about identities|has other members):"),
        ("members", another_leaf, "no agreement about leaves:"),
        ("process", change("plaintext"), "reads"),
        ("process", change("sender"), "as the sender"),
        ("process", another_kind, "takes for"),
        ("join", change("group"), "joined"),
    ],
)
def test_a_lie_is_found(op: str, lie: Callable[[Reply], object], found: str) -> None:
    scenario = Scenario([Liar(), Liar(op, lie)], 1, 1)
    with pytest.raises(Disagreement, match=found) as raised:
        scenario.run()
    note = "\n".join(raised.value.__notes__)
    assert "python -m tests.interop.scenario --seed 1 --suite 1 --ours" in note
    assert "found a group" in note


def test_a_lie_that_both_tell_about_the_members_is_found() -> None:
    scenario = Scenario([Liar("members", no_first_member), Liar("members", no_first_member)], 1, 1)
    with pytest.raises(Disagreement, match="has other members"):
        scenario.run()


def test_a_driver_that_opens_what_it_must_refuse_is_found() -> None:
    class Gullible(Liar):
        def call(self, op: str, **fields: Any) -> Reply:
            try:
                return super().call(op, **fields)
            except Failed:
                return {"kind": "application", "plaintext": "", "sender": ""}

    scenario = Scenario([Liar(), Gullible()], 1, 1)
    with pytest.raises(Disagreement, match="what is refused"):
        scenario.run()


def test_a_seed_decides_who_does_what() -> None:
    stories = []
    for seed in (5, 5, 6):
        scenario = Scenario([Liar(), Liar()], 1, seed)
        scenario.run(25)
        stories.append(scenario.story)
    assert stories[0] == stories[1]
    assert stories[0] != stories[2]


@pytest.mark.processes
def test_many_scenarios_are_played_and_counted_by_one_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.interop", "--seeds", "0", "--large", "0", "--own", "1"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert done.returncode == 0
    assert "ours with ours, suite 0x004e, up to 6 members: 1 of 1" in done.stdout
    assert "epochs compared" in done.stdout
    assert done.stdout.endswith("0 scenarios failed\n")


@pytest.mark.processes
def test_a_scenario_is_replayed_by_one_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.interop.scenario", "--seed", "4", "--suite", "3", "--ours"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert done.returncode == 0
    assert "found a group" in done.stdout


@pytest.mark.processes
def test_a_scenario_that_fails_is_told_and_the_others_are_played(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Scenario):
        def run(self, steps: int = 5) -> None:
            if self.seed == 1:
                raise Disagreement("no agreement about anything")
            super().run(steps)

    monkeypatch.setattr(command, "Scenario", Broken)
    monkeypatch.setattr(command, "SUITES", {3: None})
    monkeypatch.setattr(sys, "argv", ["interop", "--seeds", "0", "--large", "0", "--own", "3"])
    assert command.main() == 1
    told = capsys.readouterr().out
    assert "seed 1: Disagreement: no agreement about anything" in told
    assert "3 of 3" in told
    assert told.endswith("\n1 scenarios failed\n")
