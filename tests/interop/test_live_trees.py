"""Trees that random scenarios seldom make, beside mls-rs: a blank root, holes, and many added at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .process import DriverProcess, two_drivers
from .scenario import Scenario

pytestmark = [pytest.mark.processes, pytest.mark.needs_mls_rs]


@pytest.fixture(scope="module")
def drivers() -> Iterator[list[DriverProcess]]:
    with two_drivers(live=True) as processes:
        yield processes


def full_group(drivers: list[DriverProcess], seed: int) -> Scenario:
    """Six members at the leaves 0 to 5, of the two sides in turns."""
    scenario = Scenario(drivers, 1, seed)
    founder = scenario.members[0]
    scenario.add_all(founder, scenario.outside[:5])
    leaves = {one["identity"]: one["leaf"] for one in founder.do("members")["members"]}
    scenario.members.sort(key=lambda member: leaves[member.identity])
    assert len({member.side for member in scenario.members[4:]}) == 2
    return scenario


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("remover", [4, 5])
def test_one_half_of_the_tree_is_empty(
    drivers: list[DriverProcess], seed: int, remover: int
) -> None:
    """The root is blank and in nobody's filtered path: the commit secret comes one step earlier."""
    scenario = full_group(drivers, 2000 + 10 * seed + remover)
    everybody = list(scenario.members)
    scenario.remove_all(everybody[remover], everybody[:4])
    assert [one["leaf"] for one in everybody[4].do("members")["members"]] == [4, 5]
    for committer in everybody[4:]:
        scenario.update_by(committer)
    scenario.add_all(everybody[5], everybody[:1])
    for committer in scenario.members:
        scenario.update_by(committer)


@pytest.mark.parametrize("seed", range(2))
def test_leaves_that_were_added_are_unmerged_above_holes(
    drivers: list[DriverProcess], seed: int
) -> None:
    scenario = full_group(drivers, 3000 + seed)
    everybody = list(scenario.members)
    for committer in everybody:
        scenario.update_by(committer)
    scenario.remove_all(everybody[0], [everybody[1], everybody[4]])
    scenario.add_all(everybody[5], [everybody[1]])
    scenario.add_all(everybody[2], [everybody[4]])
    for committer in [everybody[3], *everybody]:
        scenario.update_by(committer)


@pytest.mark.parametrize("seed", range(2))
def test_the_last_two_shrink_and_grow_the_tree(drivers: list[DriverProcess], seed: int) -> None:
    scenario = full_group(drivers, 4000 + seed)
    first, second, *others = list(scenario.members)
    for _ in range(2):
        scenario.remove_all(first, others)
        scenario.update_by(second)
        scenario.add_all(second, others)
        scenario.update_by(others[-1])
    scenario.remove_all(second, [first, *others])
    scenario.update_by(second)
    scenario.add_all(second, [first])
