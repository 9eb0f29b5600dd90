"""Real nodes, PostgreSQL and NATS: one killed, one stopped and woken, the bus gone. I1 to I5 hold."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pli_client.connection import route
from tests.system.actor import Actor, reconnect_quickly
from tests.system.checker import check
from tests.system.world import PATIENCE

from .cluster import Cluster, settled

pytestmark = [pytest.mark.processes, pytest.mark.needs_postgresql, pytest.mark.needs_nats]

MESSAGES = 40


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    reconnect_quickly()
    async with Cluster(tmp_path / "world") as made:
        monkeypatch.setattr(route, "resolve", made.resolve)
        await made.start()
        yield made


async def talk(people: dict[str, Actor], conversation: bytes, label: str) -> list[bytes]:
    """Everybody writes at once; the messages' ids."""
    return [
        await actor.send(conversation, f"{label} {who} {number}")
        for number in range(MESSAGES)
        for who, actor in people.items()
    ]


async def finish(cluster: Cluster, people: dict[str, Actor], sent: list[bytes]) -> None:
    """Everything arrives; nothing is lost, twice, or in another order."""
    async with asyncio.timeout(PATIENCE):
        authors = list(people.values()) * len(sent)
        for message_id, author in zip(sent, authors, strict=False):
            await author.stored(message_id)
    await settled(people)
    for actor in people.values():
        await actor.close()
    await check(cluster, sent)


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_doubled_when_a_node_is_killed_among_the_sends(
    cluster: Cluster,
) -> None:
    people = await cluster.people(amelie=cluster.relay, bruno=cluster.second, chloe=cluster.second)
    conversation = await cluster.team(people)
    sent = await talk(people, conversation, "before")
    await people["amelie"].received(f"before bruno {MESSAGES // 4}")
    await cluster.second.kill()
    sent += await talk(people, conversation, "after")
    await finish(cluster, people, sent)


@pytest.mark.timeout(240)
async def test_who_was_at_a_stopped_node_is_served_elsewhere_and_it_wakes_up_to_nobody(
    cluster: Cluster,
) -> None:
    people = await cluster.people(amelie=cluster.relay, bruno=cluster.second)
    conversation = await cluster.team(people)
    sent = await talk(people, conversation, "before")
    cluster.second.stop_still()
    sent += await talk(people, conversation, "while")
    async with asyncio.timeout(PATIENCE):
        await people["amelie"].received(f"while bruno {MESSAGES - 1}")
        await people["bruno"].received(f"while amelie {MESSAGES - 1}")
    cluster.second.go_on()
    sent += await talk(people, conversation, "again")
    await finish(cluster, people, sent)
    assert await cluster.second.stop() == 0


@pytest.mark.timeout(240)
async def test_messages_cross_while_the_bus_is_down_and_when_it_is_back_empty(
    cluster: Cluster,
) -> None:
    people = await cluster.people(amelie=cluster.relay, bruno=cluster.second)
    conversation = await cluster.team(people)
    cluster.nats.kill()
    sent = await talk(people, conversation, "without")
    async with asyncio.timeout(PATIENCE):
        await people["bruno"].received(f"without amelie {MESSAGES - 1}")
    cluster.nats.start()
    sent += await talk(people, conversation, "with")
    await finish(cluster, people, sent)
