"""Random scenarios: ours with ours in every suite, and ours with mls-rs, by fixed seeds.

Replay one with `python -m tests.interop.scenario --seed N --suite S` (`--ours` without mls-rs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from pli_protocol.mls import SUITES

from .member import Count
from .process import DriverProcess, two_drivers
from .scenario import Scenario

pytestmark = pytest.mark.processes

LIVE_SEEDS = range(12)
OWN_SEEDS = range(6)

# What a run must have seen; a scenario that never removes anybody proves nothing.
BY_ANY = {
    "found a group",
    "add",
    "remove",
    "update",
    "win the race",
    "lose a race",
    "propose to add",
    "propose to remove",
    "propose to leave",
    "commit what was proposed",
    "take over a commit",
    "be removed",
    "join by a Welcome",
    "join by a Welcome, the tree beside",
    "come back",
    "send",
    "send late",
    "send many, reordered",
    "send, and it comes twice",
    "late message opened",
    "message of a past epoch opened",
    "fall asleep",
    "wake",
    "commit as public message",
    "proposal as public message",
}
BY_OURS = {
    *BY_ANY,
    "found a group with required_capabilities",
    "commit as private message",
    "proposal as private message",
    "message of a removed sender opened",
    "mix in a pre-shared key",
    "join by a commit",
    "resync",
}

Play = Callable[[int, int], Count]


def player(drivers: list[DriverProcess]) -> Play:
    """Plays each scenario once, however often it is asked for."""
    played: dict[tuple[int, int], Count] = {}

    def play(suite: int, seed: int) -> Count:
        if (suite, seed) not in played:
            scenario = Scenario(drivers, suite, seed)
            scenario.run()
            played[suite, seed] = scenario.count
        return played[suite, seed]

    return play


@pytest.fixture(scope="module")
def own() -> Iterator[Play]:
    with two_drivers(live=False) as drivers:
        yield player(drivers)


@pytest.fixture(scope="module")
def live() -> Iterator[Play]:
    with two_drivers(live=True) as drivers:
        yield player(drivers)


@pytest.mark.parametrize("seed", OWN_SEEDS)
@pytest.mark.parametrize("suite", sorted(SUITES))
def test_two_of_ours_agree_after_every_epoch(own: Play, suite: int, seed: int) -> None:
    assert own(suite, seed)["epochs compared", "all"] > 10


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_the_scenarios_of_ours_see_everything_happen(own: Play, suite: int) -> None:
    assert missing(own, suite, OWN_SEEDS, "pli", BY_OURS) == set()


@pytest.mark.needs_mls_rs
@pytest.mark.parametrize("seed", LIVE_SEEDS)
def test_ours_and_mls_rs_agree_after_every_epoch(live: Play, seed: int) -> None:
    assert live(1, seed)["epochs compared", "all"] > 10


@pytest.mark.needs_mls_rs
@pytest.mark.parametrize(("side", "kinds"), [("pli", BY_OURS), ("mls-rs", BY_ANY)])
def test_the_live_scenarios_see_everything_happen_on_both_sides(
    live: Play, side: str, kinds: set[str]
) -> None:
    assert missing(live, 1, LIVE_SEEDS, side, kinds) == set()


def missing(play: Play, suite: int, seeds: range, side: str, kinds: set[str]) -> set[str]:
    """What never happened in all these scenarios."""
    count: Count = sum((play(suite, seed) for seed in seeds), Counter())
    return {kind for kind in kinds if not count[kind, side]}
