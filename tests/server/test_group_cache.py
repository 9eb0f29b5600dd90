"""The writer's copy of a group beside the locked row: brought up to date, or forgotten, never believed."""

import dataclasses

import pytest

from pli_server.storage.database import LockedGroup
from pli_server.storage.groups import GroupCache, GroupState, Member, MemberState

NOW = LockedGroup(7, b"group", 3, 9, b"chain 9", None, 2)


def copy() -> tuple[GroupCache, GroupState]:
    cache, group = GroupCache(), GroupState(7, b"group", b"home", 3, 9, b"chain 9", None, 2)
    group.members[5] = Member(5, b"device", 1, MemberState.ACTIVE, 0, last_send=b"before")
    cache.put(group)
    return cache, group


def known(cache: GroupCache) -> bool:
    return b"group" in cache._groups


def test_the_same_is_kept() -> None:
    cache, group = copy()
    assert cache.compare([NOW]) == []
    assert known(cache)
    assert group.members[5].last_send == b"before"


def test_rows_of_another_node_are_taken_over_with_who_sent_them() -> None:
    cache, group = copy()
    later = NOW._replace(epoch=4, last=12, chain=b"chain 12", successor=b"next")
    assert cache.compare([later]) == [(7, 9)]
    cache.sent(7, 5, b"after")
    cache.sent(7, 6, b"of nobody on the roster")
    assert (group.epoch, group.last, group.chain, group.successor) == (4, 12, b"chain 12", b"next")
    assert group.members[5].last_send == b"after"


def test_being_founded_anew_elsewhere_is_seen_without_a_row() -> None:
    cache, group = copy()
    assert cache.compare([NOW._replace(successor=b"next")]) == []
    assert group.successor == b"next"


@pytest.mark.parametrize(
    "other",
    [
        NOW._replace(roster=3),
        NOW._replace(no=8),
        NOW._replace(last=8),
        NOW._replace(chain=b"another"),
    ],
    ids=["roster", "number", "shorter", "forked"],
)
def test_what_is_not_a_continuation_is_read_again(other: LockedGroup) -> None:
    cache, _ = copy()
    assert cache.compare([other]) == []
    assert not known(cache)


def test_a_group_that_is_not_known_costs_nothing() -> None:
    cache, _ = copy()
    assert cache.compare([NOW._replace(group_id=b"unknown", last=100)]) == []
    assert dataclasses.asdict(cache._groups[b"group"])["last"] == 9
