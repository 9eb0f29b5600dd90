"""Hints that are lost, repeated, reordered, forged: they cost time, never a message."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from pli_protocol.relay import frames as f
from tests.server.people import TestEstablishment
from tests.server.team import Member, joins, team

from .conftest import Nodes
from .wires import Disorder, Wire

pytestmark = pytest.mark.needs_postgresql

Make = Callable[[Callable[[Wire], None]], Awaitable[Nodes]]


async def opened(nodes: Nodes) -> tuple[Member, Member, Member]:
    """Two people at the first node, one at the second."""
    home = TestEstablishment()
    await nodes.a.establish(home, nodes.a.code)
    return await joins(nodes.a, home), await joins(nodes.b, home), await joins(nodes.a, home)


async def reads(member: Member, group: bytes, last: int) -> list[int]:
    """Rows of a group up to one, acknowledged as they come."""
    found: list[int] = []
    while not found or found[-1] < last:
        frame = await member.client.next()
        if isinstance(frame, f.WelcomeWaiting):
            await member.client.send(f.AcknowledgeWelcome(frame.item))
        elif isinstance(frame, f.Row) and frame.group == group:
            found.append(frame.position.seq)
            await member.client.send(f.Acknowledge((f.Acknowledgement(group, found[-1]),)))
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_rows_come_once_in_order_whatever_becomes_of_the_hints(
    wired: Make, seed: int
) -> None:
    chance = random.Random(seed)
    nodes = await wired(Disorder(chance))
    anne, bruno, carla = await opened(nodes)
    group = await team(anne, bruno, carla)
    for _ in range(30):
        await asyncio.gather(
            *(group.says(who) for who in (anne, bruno, carla) if chance.random() < 0.7)
        )
    last = (await group.says(anne)).position.seq
    everybody = await asyncio.gather(
        *(reads(who, group.group, last) for who in (anne, bruno, carla))
    )
    assert everybody == [list(range(2, last + 1))] * 3


@pytest.mark.parametrize("seed", range(3))
async def test_a_welcome_comes_before_its_rows_whatever_becomes_of_the_hints(
    wired: Make, seed: int
) -> None:
    chance = random.Random(seed)
    nodes = await wired(Disorder(chance))
    anne, bruno, _ = await opened(nodes)
    group = await team(anne)
    inside = False
    for _ in range(12):
        if inside and chance.random() < 0.5:
            await group.changes(anne, added=(bruno,), removed=(bruno,))
        elif not inside:
            await group.changes(anne, added=(bruno,))
        else:
            await group.says(anne)
            continue
        inside = True
    last = (await group.says(anne)).position.seq
    await _checked(bruno, last)


async def _checked(member: Member, last: int) -> None:
    """Each row follows the newest Welcome that came before it, without a gap."""
    place = None
    while place != last:
        frame = await member.client.next()
        if isinstance(frame, f.WelcomeWaiting):
            assert place is None or frame.position.seq > place
            place = frame.position.seq
            await member.client.send(f.AcknowledgeWelcome(frame.item))
        elif isinstance(frame, f.Row):
            assert place is not None
            assert frame.position.seq == place + 1
            place += 1


async def test_forged_hints_and_noise_change_nothing(wired: Make) -> None:
    def carry(wire: Wire) -> None:
        _, sender, groups, devices, _, _ = msgspec.msgpack.decode(wire.data)
        wire.hear(b"noise")
        wire.hear(wire.data + b"more")
        wire.hear(msgspec.msgpack.encode([2, sender]))
        forged = [[group, 2**53 - 1] for group, _ in groups] + [[os.urandom(16), 7]]
        devices = [*devices, 1, 2, 3, 2**53 - 1]
        lies = [1, os.urandom(16), forged, devices, [os.urandom(32)], [os.urandom(16)]]
        wire.hear(msgspec.msgpack.encode(lies))
        wire.hear(wire.data)

    nodes = await wired(carry)
    anne, bruno, carla = await opened(nodes)
    group = await team(anne, bruno, carla)
    for _ in range(10):
        await asyncio.gather(*(group.says(who) for who in (anne, bruno, carla)))
    assert await reads(bruno, group.group, 31) == list(range(2, 32))
    assert await reads(anne, group.group, 31) == list(range(2, 32))
    follower = nodes.b.relay.follower
    assert follower is not None
    assert follower.dropped > 0
    assert follower.heard > 0


async def test_a_flood_of_forged_hints_is_one_look_at_everything(
    wired: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pli_server.nodes.follower.MOST_WANTED", 50)
    nodes = await wired(lambda wire: None)
    anne, bruno, _ = await opened(nodes)
    group = await team(anne, bruno)
    follower, hear = nodes.b.relay.follower, nodes.b.bus.heard
    assert follower is not None
    await group.says(anne)
    for _ in range(100):
        hear(msgspec.msgpack.encode([1, os.urandom(16), [], [], [os.urandom(32)] * 9, []]))
        assert len(follower._wanted) <= 50
    assert await reads(bruno, group.group, 2) == [2]
