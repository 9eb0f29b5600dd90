"""Rooms when rows are heard of late, twice, in any order: each session gets them in order, without a gap."""

import asyncio
import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import decode_relay_frame
from pli_server.delivery import Delivery
from pli_server.rooms import READ_ROWS, Room, Rooms
from pli_server.storage import reading
from pli_server.storage.transaction import APPLICATION, Appended

GROUP = b"g" * 16


def appended(seq: int) -> Appended:
    position = f.Position(1, seq)
    return Appended(7, GROUP, position, 1, APPLICATION, bytes(16), bytes(16), 0, b"m", bytes(32))


class Log:
    """What another node and this one have committed; reads take as long as the test wants."""

    def __init__(self) -> None:
        self.last = self.roster = 0
        self.gone: set[int] = set()
        self.since: dict[int, int] = {}
        self.until: dict[int, int] = {}
        self.welcomes: dict[int, list[f.WelcomeWaiting]] = {}
        self.acknowledged: dict[int, int] = {}


class Writer:
    def __init__(self, log: Log) -> None:
        self._log = log

    def acknowledge(self, _group: int, device_no: int, seq: int) -> None:
        self._log.acknowledged[device_no] = seq


class Readers:
    """Answers from the log as it is when the read begins, a few turns of the loop later."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.turns = 1

    async def run(self, function: Any) -> Any:
        found = function(self._log)
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return found


class Line:
    """A signed-in session, as delivery sees it."""

    def __init__(self, relay: Any, device_no: int) -> None:
        self.device_no = device_no
        self.open, self.congested = True, False
        self.got: list[Any] = []
        self.delivery = Delivery(relay, self, device_no)  # type: ignore[arg-type]

    def push(self, data: bytes) -> None:
        self.got.append(decode_relay_frame(data))

    def answer(self, frame: Any) -> None:
        self.got.append(frame)

    def fault(self, error: BaseException) -> None:
        raise error

    async def drained(self) -> None:
        """Nothing waits."""

    @property
    def seqs(self) -> list[int]:
        return [frame.position.seq for frame in self.got if isinstance(frame, f.Row)]

    def acknowledges(self) -> None:
        if self.seqs:
            self.delivery.acknowledge(GROUP, self.seqs[-1])


class World:
    """One node's rooms beside a log that others write too."""

    def __init__(self, monkeypatch: Any) -> None:
        self.log = Log()
        self.readers, self.writer = Readers(self.log), Writer(self.log)
        self.rooms = Rooms(self)  # type: ignore[arg-type]
        monkeypatch.setattr(reading, "rows", _rows)
        monkeypatch.setattr(reading, "room", _room)
        monkeypatch.setattr(reading, "welcomes", _welcomes)

    def line(self, device_no: int, acked: int | None = None) -> Line:
        """Signs in, having acknowledged up to a row."""
        made = Line(self, device_no)
        self.log.since.setdefault(device_no, 0)
        acked = self.log.last if acked is None else acked
        made.delivery.begin([self.membership(device_no, acked)], False)
        return made

    def membership(self, device_no: int, acked: int) -> reading.Membership:
        until = self.log.until.get(device_no)
        since = self.log.since[device_no]
        return reading.Membership(7, GROUP, acked, self.log.last, until, None, since)

    @property
    def room(self) -> Room:
        room = self.rooms.get(GROUP)
        assert room is not None
        return room

    async def quiet(self) -> None:
        """Until nothing is read any more."""
        for _ in range(2000):
            await asyncio.sleep(0)
            tasks = [t for t in asyncio.all_tasks() if (t.get_name() or "").startswith("pli ")]
            if not tasks:
                return
        raise AssertionError("the rooms read for ever")


def _rows(log: Log, _no: int, group: bytes, after: int, until: int, limit: int) -> list[f.Row]:
    from pli_server.rooms import as_row

    there = [seq for seq in range(after + 1, min(until, log.last) + 1) if seq not in log.gone]
    return [as_row(appended(seq)) for seq in there[:limit]]


def _room(
    log: Log, no: int, group: bytes, after: int, limit: int, devices: list[int]
) -> reading.RoomNow:
    found = _rows(log, no, group, after, min(log.last, after + limit), limit)
    places = {d: reading.Place(log.since[d], log.until.get(d)) for d in devices if d in log.since}
    return reading.RoomNow(log.last, log.roster, found, places)


def _welcomes(log: Log, device_no: int, limit: int) -> list[f.WelcomeWaiting]:
    return log.welcomes.get(device_no, [])[:limit]


def welcome(seq: int) -> f.WelcomeWaiting:
    return f.WelcomeWaiting(
        os.urandom(16), GROUP, b"w", f.Position(1, seq), bytes(32), bytes(16), 0, None
    )


async def test_a_row_of_this_node_waits_for_an_earlier_one_of_another_node(
    monkeypatch: Any,
) -> None:
    world = World(monkeypatch)
    line = world.line(1)
    world.log.last = 3  # 1 and 2 are another node's
    world.rooms.publish(appended(3))
    assert line.seqs == []
    await world.quiet()
    assert line.seqs == [1, 2, 3]
    world.rooms.publish(appended(2))
    world.log.last = 4
    world.rooms.publish(appended(4))
    assert line.seqs == [1, 2, 3, 4]


async def test_a_device_that_acknowledged_at_another_node_gets_only_what_is_new(
    monkeypatch: Any,
) -> None:
    world = World(monkeypatch)
    old = world.line(1)
    world.log.last = 5
    new = world.line(2)  # it has acknowledged all five
    await world.quiet()
    assert (old.seqs, new.seqs) == ([1, 2, 3, 4, 5], [])
    world.log.last = 6
    world.rooms.publish(appended(6))
    assert new.seqs == [6]


async def test_who_signs_in_while_the_room_is_ahead_of_what_it_read_misses_nothing(
    monkeypatch: Any,
) -> None:
    world = World(monkeypatch)
    world.line(1)
    late = Line(world, 2)
    world.log.since[2] = 0
    membership = world.membership(2, 0)
    world.log.last = 2
    world.rooms.publish(appended(1))
    world.rooms.publish(appended(2))
    late.delivery.begin([membership], False)  # as of before the two rows
    await world.quiet()
    assert late.seqs == [1, 2]


async def test_a_long_gap_and_a_gap_of_retention_are_read_by_each_connection(
    monkeypatch: Any,
) -> None:
    world = World(monkeypatch)
    line = world.line(1)
    world.log.last = 2 * READ_ROWS + 10
    world.log.gone = {5, 6, READ_ROWS + 3}
    world.rooms.hear(world.room, world.log.last)
    await world.quiet()
    assert line.seqs == [n for n in range(1, world.log.last + 1) if n not in world.log.gone]


async def test_a_device_that_another_node_added_again_gets_its_welcome_before_the_rows_after_it(
    monkeypatch: Any,
) -> None:
    world = World(monkeypatch)
    line = world.line(1)
    world.log.last, world.log.since[1] = 4, 2  # the commit at 2 removes it and adds it
    world.log.welcomes[1] = [welcome(2)]
    world.rooms.publish(appended(4))
    await world.quiet()
    assert isinstance(line.got[0], f.WelcomeWaiting)
    assert line.seqs == [3, 4]


async def test_a_device_whose_membership_another_node_ended_gets_what_is_up_to_there(
    monkeypatch: Any,
) -> None:
    world = World(monkeypatch)
    line, stays = world.line(1), world.line(2)
    world.log.last, world.log.until[1] = 4, 3
    world.rooms.hear(world.room, 4)
    await world.quiet()
    assert (line.seqs, stays.seqs) == ([1, 2, 3], [1, 2, 3, 4])
    assert GROUP not in line.delivery.groups


async def test_what_was_only_claimed_to_be_in_the_log_changes_nothing(monkeypatch: Any) -> None:
    world = World(monkeypatch)
    line = world.line(1)
    world.rooms.look(world.room, 2**50, 7)  # as a forged hint would say
    await world.quiet()
    assert world.room.last == 0
    world.log.last = 2
    world.rooms.publish(appended(1))
    world.rooms.publish(appended(2))
    assert line.seqs == [1, 2]


async def test_a_membership_that_ended_without_a_row_is_found_by_the_groups_counter(
    monkeypatch: Any,
) -> None:
    world = World(monkeypatch)
    line, stays = world.line(1), world.line(2)
    world.rooms.look(world.room, 0, 0)
    await world.quiet()
    world.log.until[1], world.log.roster = 0, 1
    world.rooms.look(world.room, 0, 1)
    await world.quiet()
    world.log.last = 1
    world.rooms.publish(appended(1))
    assert (line.seqs, stays.seqs) == ([], [1])


async def test_a_look_finds_what_another_node_did_and_may_be_repeated(monkeypatch: Any) -> None:
    world = World(monkeypatch)
    line = Line(world, 1)
    line.delivery.begin([], False)
    world.log.last, world.log.since[1] = 6, 4
    world.log.welcomes[1] = [welcome(4)]
    for _ in range(3):
        line.delivery.refresh([world.membership(1, 4)], True)
        await world.quiet()
    assert [type(frame) for frame in line.got] == [f.WelcomeWaiting, f.Row, f.Row]
    line.delivery.refresh([], False)
    assert not line.delivery.groups
    assert world.rooms.get(GROUP) is None


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["own", "other", "hear", "again", "ack", "turn"]), st.integers(1, 5)
        ),
        max_size=60,
    ),
    turns=st.integers(0, 3),
)
def test_whatever_is_heard_and_when_every_row_comes_once_in_order(
    steps: list[tuple[str, int]], turns: int
) -> None:
    import pytest

    async def run(monkeypatch: Any) -> None:
        world = World(monkeypatch)
        world.readers.turns = turns
        lines = [world.line(1), world.line(2)]
        for step, count in steps:
            if step == "other":
                world.log.last += count
            elif step == "own":
                for _ in range(count):
                    world.log.last += 1
                    world.rooms.publish(appended(world.log.last))
            elif step == "hear":
                world.rooms.hear(world.room, max(0, world.log.last - count + 1))
            elif step == "again" and world.log.last:
                world.rooms.publish(appended(max(1, world.log.last - count)))
            elif step == "ack":
                lines[count % 2].acknowledges()
            else:
                for _ in range(count):
                    await asyncio.sleep(0)
            for line in lines:
                assert line.seqs == list(range(1, len(line.seqs) + 1))
        world.rooms.hear(world.room, world.log.last)
        await world.quiet()
        for line in lines:
            assert line.seqs == list(range(1, world.log.last + 1))

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(run(patch))
