"""Two nodes, each a process, on one PostgreSQL: whatever they do at once, it is as if one had done it."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from websockets.exceptions import ConnectionClosed

from pli_protocol.relay import frames as f
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash
from pli_protocol.transparency import SignedHead, verify_consistency, verify_head
from pli_server import folder as folders
from pli_server.audit.verifying import verify
from pli_server.relay import now_ms
from pli_server.settings import load
from pli_server.storage import tables as t
from pli_server.storage.database import Use, open_database
from pli_server.storage.transaction import KINDS, unpack

from .databases import POSTGRESQL, ask, drop_folder, new_folder
from .people import TestDevice, TestEstablishment, TestPerson, commit, mls
from .processes import ForkedRelay
from .raw_client import RawClient, Refused

pytestmark = pytest.mark.needs_postgresql


@dataclass
class Nodes:
    """Two relays that share a database, and an establishment on them."""

    folder: Path
    urls: tuple[str, str]
    home: TestEstablishment
    clients: list[RawClient]

    async def signed(self, node: int, device: TestDevice) -> RawClient:
        client = await RawClient.signed(self.urls[node], device)
        self.clients.append(client)
        return client

    async def open(self, node: int) -> RawClient:
        client = await RawClient.open(self.urls[node])
        self.clients.append(client)
        return client

    async def people(self, count: int) -> "list[tuple[TestPerson, TestDevice, RawClient]]":
        """People with a device each, by turns on the one and the other node."""
        made = []
        for number in range(count):
            person = self.home.person()
            device = person.device()
            made.append((person, device, await self.signed(number % 2, device)))
        return made

    def rows(self, query: sa.Select[Any]) -> list[Any]:
        store = open_database(self.folder, load(self.folder).database_url)
        return list(ask(store, Use.READING, lambda db: db.execute(query).all()))


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    one, two = tmp_path / "one", tmp_path / "two"
    code = new_folder(one, POSTGRESQL)
    shutil.copytree(one, two)
    first = ForkedRelay(one)
    assert first.url is not None
    home = TestEstablishment()
    client = await RawClient.open(first.url)
    await client.register(home, code)
    await client.close()
    second = ForkedRelay(two)
    assert second.url is not None
    made = Nodes(one, (first.url, second.url), home, [])
    yield made
    for client in made.clients:
        await client.close()
    assert [first.stop(), second.stop()] == [0, 0]
    drop_folder(one)


async def outcomes(requests: Iterable[Awaitable[Any]]) -> list[str]:
    """What became of requests that were made at once: the answer's kind, or the refusal's code."""
    found = await asyncio.gather(*requests, return_exceptions=True)
    return sorted(o.code if isinstance(o, Refused) else type(o).__name__ for o in found)


async def opened(creator: RawClient, *others: TestDevice) -> bytes:
    group = os.urandom(16)
    first = commit(group, 0, tuple(device.id for device in others))
    await creator.ask(f.CreateGroup(creator.rid(), group, os.urandom(16), first, b"welcome"))
    return group


async def test_both_nodes_append_to_one_trace_whose_heads_only_grow(nodes: Nodes) -> None:
    """Red where a node keeps the tree in memory instead of reading it under its lock."""
    people = await nodes.people(6)
    group = await opened(people[0][2], *(device for _, device, _ in people[1:]))

    async def talk(client: RawClient) -> list[SignedHead]:
        heads, previous = [client.signed_in.head], None
        for _ in range(25):
            send_id = os.urandom(16)
            await client.sends(mls(group, 1, body=send_id), previous, send_id=send_id)
            heads.append((await client.ask(f.GetHead(client.rid()))).head)
            previous = send_id
        return heads

    shown = await asyncio.gather(*(talk(client) for _, _, client in people))
    for heads in shown:
        sizes = [signed.head.size for signed in heads]
        assert sizes == sorted(sizes)
    client = people[1][2]
    last = (await client.ask(f.GetHead(client.rid()))).head.head
    for signed in {(h.head.size, h) for heads in shown for h in heads}:
        head = verify_head("relay.test", signed[1], client.signed_in.log_key)
        asked = f.GetConsistency(client.rid(), head.timeline, head.size, last.size)
        path = (await client.ask(asked)).path
        verify_consistency(head.size, head.root, last.size, last.root, path)
    key = client.signed_in.log_key
    store = open_database(nodes.folder, load(nodes.folder).database_url)
    report = ask(store, Use.READING, lambda db: verify(db, "relay.test", key, now_ms()))
    assert (report.faults, report.rows) == ([], 151)
    assert report.entries == last.size


async def test_messages_through_both_nodes_make_one_dense_log_with_one_chain(nodes: Nodes) -> None:
    people = await nodes.people(4)
    group = await opened(people[0][2], *(device for _, device, _ in people[1:]))

    async def talk(device: TestDevice, client: RawClient) -> dict[bytes, f.Accepted]:
        accepted, previous = {}, None
        for _ in range(40):
            send_id = os.urandom(16)
            accepted[send_id] = await client.sends(
                mls(group, 1, body=send_id), previous, send_id=send_id
            )
            previous = send_id
        return accepted

    talks = [talk(device, client) for _, device, client in people]
    answered = {k: v for part in await asyncio.gather(*talks) for k, v in part.items()}
    rows = nodes.rows(
        sa.select(t.rows, t.devices.c.device_id)
        .join(t.devices, t.devices.c.no == t.rows.c.sender_no)
        .order_by(t.rows.c.seq)
    )
    assert [row.seq for row in rows] == list(range(1, 162))
    chain = FIRST_CHAIN
    for row in rows:
        place = f.Position(1, row.seq)
        payload = unpack(row.is_blob, row.payload)
        chain = chain_hash(
            chain, group, place, row.epoch, KINDS[row.kind], row.device_id, row.send_id, payload
        )
        assert row.chain == chain
        if row.seq > 1:
            assert answered[row.send_id].position == place
            assert answered[row.send_id].chain == chain
    (last,) = nodes.rows(sa.select(t.groups.c.last, t.groups.c.chain))
    assert tuple(last) == (161, chain)


async def test_one_commit_wins_each_epoch(nodes: Nodes) -> None:
    people = await nodes.people(4)
    group = await opened(people[0][2], *(device for _, device, _ in people[1:]))
    previous: dict[bytes, bytes] = {}
    for epoch in range(1, 13):
        ids = {device.id: os.urandom(16) for _, device, _ in people}
        found = await asyncio.gather(
            *(
                client.sends(commit(group, epoch), previous.get(device.id), send_id=ids[device.id])
                for _, device, client in people
            ),
            return_exceptions=True,
        )
        winners = [i for i, o in enumerate(found) if isinstance(o, f.Accepted)]
        assert len(winners) == 1, found
        assert all(o.code == "stale-epoch" for o in found if isinstance(o, Refused))
        winner = people[winners[0]][1].id
        previous[winner] = ids[winner]
    kinds = nodes.rows(sa.select(t.rows.c.epoch, t.rows.c.kind).order_by(t.rows.c.seq))
    assert [tuple(row) for row in kinds] == [(epoch, 3) for epoch in range(13)]


async def test_what_the_other_node_did_to_the_roster_is_known_at_once(nodes: Nodes) -> None:
    (_, _, a), (_, bruno, b), (_, chloe, _) = await nodes.people(3)
    group = await opened(a, bruno)
    send_id = os.urandom(16)
    await b.sends(mls(group, 1), send_id=send_id)
    first, second = os.urandom(16), os.urandom(16)
    await a.sends(commit(group, 1, (chloe.id,)), send_id=first, welcome=b"welcome")
    # Node 1 has the group as it was: without the third, at the epoch before.
    with pytest.raises(Refused, match="stale-epoch"):
        await b.sends(mls(group, 1), send_id, send_id=os.urandom(16))
    await b.sends(commit(group, 2, (), (chloe.id,)), send_id, send_id=second)
    with pytest.raises(Refused, match="roster"):
        await a.sends(commit(group, 3, (), (chloe.id,)), first)
    await a.sends(commit(group, 3, (), (bruno.id,)), first)
    with pytest.raises(Refused, match="not-found"):
        await b.sends(mls(group, 4), second)


async def test_the_same_send_through_both_nodes_stands_once(nodes: Nodes) -> None:
    (_, device, a), (_, bruno, _) = await nodes.people(2)
    group = await opened(a, bruno)
    # A connection that was cut: its send may still be under way when it is repeated elsewhere.
    other = await RawClient.open(nodes.urls[1])
    await other.sign_in(device, a.signed_in.token)
    nodes.clients.append(other)
    sent: list[bytes] = []
    for _ in range(20):
        send_id, previous = os.urandom(16), sent[-1] if sent else None
        first, second = await asyncio.gather(
            a.sends(mls(group, 1), previous, send_id=send_id),
            other.sends(mls(group, 1), previous, send_id=send_id),
            return_exceptions=True,
        )
        sent.append(send_id)
        if isinstance(first, ConnectionClosed):
            break  # Its node has heard of the newer connection.
        assert (first.position, first.chain) == (second.position, second.chain)
    assert len(nodes.rows(sa.select(t.rows.c.no))) == 1 + len(sent)


async def test_no_key_package_is_handed_out_twice(nodes: Nodes) -> None:
    (bea, _, b), *claimants = await nodes.people(5)
    packages = tuple(os.urandom(200) for _ in range(60))
    last_resort = os.urandom(200)
    for some in (packages[:30], packages[30:]):
        await b.ask(f.PublishKeyPackages(b.rid(), some, last_resort))

    async def claim(client: RawClient) -> list[bytes]:
        got = []
        for _ in range(20):
            answer = await client.ask(f.ClaimKeyPackages(client.rid(), (bea.account,)))
            got += [package.key_package for package in answer.claimed]
        return got

    got = await asyncio.gather(*(claim(client) for _, _, client in claimants))
    handed = [package for part in got for package in part]
    assert len(handed) == 80, "each claim got one"
    once = [package for package in handed if package != last_resort]
    assert len(once) == len(set(once))
    # One that another node is just handing out is passed over; none stays behind for that.
    assert set(once) <= set(packages)
    left = nodes.rows(sa.select(t.key_packages.c.hash).where(t.key_packages.c.claimed.is_(None)))
    known = {hashlib.sha256(package).digest() for package in (*packages, last_resort)}
    assert {row.hash for row in left} == known - {hashlib.sha256(p).digest() for p in once}


async def test_a_code_of_the_host_opens_one_establishment(nodes: Nodes) -> None:
    code = await asyncio.to_thread(folders.further_code, nodes.folder)
    clients = [await nodes.open(number % 2) for number in range(4)]
    found = await outcomes(client.register(TestEstablishment(), code) for client in clients)
    assert found == ["Done", "used", "used", "used"]


async def test_one_device_is_the_first_of_a_new_account(nodes: Nodes) -> None:
    """The others would need its approval, which nobody gave."""
    person = nodes.home.person()
    clients = [await nodes.open(number % 2) for number in range(8)]
    found = await outcomes(client.sign_in(person.device()) for client in clients)
    assert found == ["SignedIn"] + ["sign-in-failed"] * 7


async def test_a_group_is_opened_once(nodes: Nodes) -> None:
    people = await nodes.people(4)
    group = os.urandom(16)
    found = await outcomes(
        client.ask(f.CreateGroup(client.rid(), group, os.urandom(16), commit(group, 0)))
        for _, _, client in people
    )
    assert found == ["Accepted", "conflict", "conflict", "conflict"]


async def test_a_group_is_founded_anew_once(nodes: Nodes) -> None:
    people = await nodes.people(4)
    old = await opened(people[0][2], *(device for _, device, _ in people[1:]))
    groups = [os.urandom(16) for _ in people]
    found = await outcomes(
        client.ask(
            f.CreateGroup(client.rid(), group, os.urandom(16), commit(group, 0), predecessor=old)
        )
        for group, (_, _, client) in zip(groups, people, strict=True)
    )
    assert found == ["Accepted", "conflict", "conflict", "conflict"]


async def test_a_copied_token_is_found_out_by_whichever_node_sees_it_second(nodes: Nodes) -> None:
    person = nodes.home.person()
    device = person.device()
    client = await nodes.signed(0, device)
    token = client.signed_in.token
    await client.close()
    again = await nodes.open(1)
    await again.sign_in(device, token)
    await again.ask(f.ConfirmToken(again.rid(), again.signed_in.token))
    third = await nodes.open(0)
    with pytest.raises(Refused, match="clone"):
        await third.sign_in(device, token)
