"""A node killed in the middle of 1,000 sends: what was answered is there, what was not is there once."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from pli_protocol.relay import frames as f
from tests.server.people import TestDevice, TestEstablishment, commit, mls
from tests.server.raw_client import RawClient

from .cluster import Cluster

pytestmark = [pytest.mark.processes, pytest.mark.needs_postgresql, pytest.mark.needs_nats]

COUNT, IN_FLIGHT, KILLED_AFTER = 1000, 8, 300


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path / "world") as made:
        await made.start()
        yield made


class Sender:
    """Sends in order, eight in flight; after a cut the same frames again, elsewhere."""

    def __init__(self, device: TestDevice, client: RawClient, group: bytes) -> None:
        self.device, self.client, self.group = device, client, group
        ids = [os.urandom(16) for _ in range(COUNT)]
        self.sends = list(zip(ids, [None, *ids[:-1]], strict=True))
        self.accepted: dict[bytes, f.Accepted] = {}

    async def run(self, until: int) -> None:
        """Until so many were answered, or the connection ends."""
        flying: list[tuple[bytes, asyncio.Future[f.Accepted]]] = []
        for send_id, previous in self.sends[len(self.accepted) : until]:
            message = mls(self.group, 1, body=send_id)
            frame = f.Send(self.client.rid(), send_id, previous, message)
            flying.append((send_id, await self.client.begin(frame)))
            if len(flying) == IN_FLIGHT:
                await self._land(flying)
        while flying:
            await self._land(flying)

    async def _land(self, flying: "list[tuple[bytes, asyncio.Future[f.Accepted]]]") -> None:
        send_id, answer = flying.pop(0)
        self.accepted[send_id] = await answer


async def rows(client: RawClient, group: bytes, last: int) -> list[f.Row]:
    """All rows up to one, acknowledged as they come."""
    found: list[f.Row] = []
    while not found or found[-1].position.seq < last:
        frame = await client.next()
        if isinstance(frame, f.Row):
            found.append(frame)
            if len(found) % 64 == 0:
                await client.send(f.Acknowledge((f.Acknowledgement(group, frame.position.seq),)))
        elif isinstance(frame, f.WelcomeWaiting):
            await client.send(f.AcknowledgeWelcome(frame.item))
    return found


@pytest.mark.timeout(240)
async def test_a_thousand_sends_through_a_node_that_is_killed_stand_once_each_in_order(
    cluster: Cluster,
) -> None:
    home = TestEstablishment()
    code = (cluster.folder / "code").read_text()
    async with await RawClient.open(cluster.relay.url) as registering:
        await registering.register(home, code)
    writer, reader = home.person("Anne Durand").device(), home.person("Bruno Petit").device()
    group = os.urandom(16)
    sending = await RawClient.signed(cluster.second.url, writer)
    receiving = await RawClient.signed(cluster.relay.url, reader)
    opening = commit(group, 0, (reader.id,))
    await sending.ask(f.CreateGroup(sending.rid(), group, os.urandom(16), opening, b"welcome"))
    sender = Sender(writer, sending, group)
    getting = asyncio.create_task(rows(receiving, group, COUNT + 1))
    await sender.run(KILLED_AFTER)
    more = asyncio.create_task(sender.run(COUNT))
    await cluster.second.kill()
    with pytest.raises(ConnectionClosed):
        await more
    assert len(sender.accepted) < COUNT
    sender.client = await RawClient.signed(cluster.relay.url, writer, sending.signed_in.token)
    await sender.run(COUNT)
    found = await getting
    assert [row.position.seq for row in found] == list(range(2, COUNT + 2))
    assert [row.send_id for row in found] == [send_id for send_id, _ in sender.sends]
    for row in found:
        accepted = sender.accepted[row.send_id]
        assert (row.position, row.chain) == (accepted.position, accepted.chain)
    for client in (sending, receiving, sender.client):
        await client.close()
