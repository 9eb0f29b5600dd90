"""Delivery: windows, slow readers, catching up, Welcomes first."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import pytest

from pli_protocol.relay import frames as f
from pli_server.errors import Refusal
from pli_server.storage.committing import Committed, Committer, Cursors
from pli_server.storage.jobs import Job

from .conftest import Server
from .people import TestEstablishment, commit, mls
from .raw_client import RawClient, Refused
from .team import Member, Team, joins, team


async def fill(group: Team, member: Member, count: int) -> None:
    """Many messages, eight in flight."""
    answers = []
    for _ in range(count):
        send_id = os.urandom(16)
        frame = f.Send(
            member.client.rid(),
            send_id,
            group.previous.get(member.id),
            mls(group.group, group.epoch, body=send_id),
        )
        group.previous[member.id] = send_id
        answers.append(await member.client.begin(frame))
        if len(answers) == 8:
            await answers.pop(0)
    for answer in answers:
        await answer


async def drain(client: RawClient, group: bytes, last: int, every: int = 64) -> list[int]:
    """Rows up to `last`, acknowledged from time to time."""
    seqs: list[int] = []
    while not seqs or seqs[-1] < last:
        row = await client.push(f.Row)
        assert row.group == group
        seqs.append(row.position.seq)
        if len(seqs) % every == 0:
            await client.send(f.Acknowledge((f.Acknowledgement(group, row.position.seq),)))
    return seqs


async def test_a_device_that_does_not_acknowledge_is_not_pushed_beyond_the_window(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await a.client.send(f.Acknowledge((f.Acknowledgement(group.group, 1),)))
    for start in range(0, 600, 100):
        await fill(group, a, 100)
        await a.client.send(f.Acknowledge((f.Acknowledgement(group.group, start + 101),)))
    await b.client.settle()
    assert len(b.client.pushes) == f.WINDOW
    assert await drain(b.client, group.group, 601) == list(range(2, 602))
    await b.client.settle()
    assert not b.client.pushes


async def test_a_device_that_was_away_gets_all_in_order_and_new_rows_after_them(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await b.client.close()
    for start in range(0, 500, 100):
        await fill(group, a, 100)
        await a.client.send(f.Acknowledge((f.Acknowledgement(group.group, start + 101),)))
    back = await server.signed(b.device, b.client.signed_in.token)
    first = [await back.push(f.Row) for _ in range(10)]
    await fill(group, a, 50)
    await back.send(f.Acknowledge((f.Acknowledgement(group.group, 11),)))
    rest = await drain(back, group.group, 551)
    assert [row.position.seq for row in first] + rest == list(range(2, 552))


async def test_what_was_not_sent_cannot_be_acknowledged(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await b.client.send(f.Acknowledge((f.Acknowledgement(group.group, 2**40),)))
    await b.client.send(f.Acknowledge((f.Acknowledgement(os.urandom(16), 5),)))
    await b.client.settle()
    await group.says(a)
    assert (await b.client.push(f.Row)).position.seq == 2


async def test_rows_that_were_not_acknowledged_come_again(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await fill(group, a, 5)
    await drain(b.client, group.group, 6, every=100)
    await b.client.send(f.Acknowledge((f.Acknowledgement(group.group, 4),)))
    await b.client.settle()
    await b.client.close()
    back = await server.signed(b.device, b.client.signed_in.token)
    assert await drain(back, group.group, 6) == [5, 6]


async def test_welcomes_come_before_the_rows_of_their_groups_also_when_there_are_many(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    await b.client.close()
    groups = []
    for _ in range(40):
        made = Team(os.urandom(16))
        await a.client.ask(
            f.CreateGroup(
                a.client.rid(),
                made.group,
                os.urandom(16),
                commit(made.group, 0, (b.id,)),
                b"welcome",
            )
        )
        await made.says(a)
        groups.append(made)
    back = await server.signed(b.device, b.client.signed_in.token)
    welcomed: set[bytes] = set()
    rows: list[bytes] = []
    while len(rows) < 40:
        frame = await back.next()
        if isinstance(frame, f.WelcomeWaiting):
            welcomed.add(frame.group)
            await back.send(f.AcknowledgeWelcome(frame.item))
        else:
            assert isinstance(frame, f.Row)
            assert frame.group in welcomed
            rows.append(frame.group)
    assert sorted(rows) == sorted(group.group for group in groups)
    # A message in a group whose Welcome came with many others is pushed like any other.
    for group in groups:
        await back.send(f.Acknowledge((f.Acknowledgement(group.group, 2),)))
    await groups[0].says(a)
    assert (await back.push(f.Row)).position.seq == 3


async def test_a_welcome_is_pushed_until_it_is_acknowledged(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    await team(a, b)
    c = await joins(server, home)
    from .people import commit

    group = os.urandom(16)
    await a.client.ask(
        f.CreateGroup(
            a.client.rid(), group, os.urandom(16), commit(group, 0, (b.id, c.id)), b"both"
        )
    )
    first = await b.client.push(f.WelcomeWaiting)
    await server.restart()
    b2 = await server.signed(b.device, b.client.signed_in.token)
    again = await b2.push(f.WelcomeWaiting)
    assert again == first
    await b2.send(f.AcknowledgeWelcome(again.item))
    await b2.settle()
    await server.restart()
    b3 = await server.signed(b.device, b2.signed_in.token)
    await b3.settle()
    assert not b3.pushes
    # The other device's is still there, and nobody can acknowledge it but that device.
    c2 = await server.signed(c.device, c.client.signed_in.token)
    assert (await c2.push(f.WelcomeWaiting)).welcome == b"both"


async def test_fetch_answers_a_frame_full_of_the_devices_own_time(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a)
    for _ in range(4):
        await group.says(a, bytes(20_000))
    await group.changes(a, added=(b,))
    await group.says(a)
    rows = await a.client.ask(f.Fetch(a.client.rid(), group.group, 1))
    assert [row.position.seq for row in rows.rows] == [2, 3, 4]
    assert rows.last == 7
    later = await b.client.ask(f.Fetch(b.client.rid(), group.group, 0))
    assert [row.position.seq for row in later.rows] == [7]


async def test_a_connection_with_nothing_open_holds_no_stream(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await group.says(a)
    for member, seqs in ((a, [2]), (b, [2])):
        for seq in seqs:
            assert (await member.client.push(f.Row)).position.seq == seq
        await member.client.send(f.Acknowledge((f.Acknowledgement(group.group, 2),)))
        await member.client.settle()
    for session in server.relay.sessions.values():
        assert session.delivery is not None
        assert session.delivery.open_streams == 0


async def test_a_row_that_comes_while_waiting_welcomes_are_read_is_pushed_behind_them(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    await b.client.close()
    made = Team(os.urandom(16))
    first = commit(made.group, 0, (b.id,))
    await a.client.ask(f.CreateGroup(a.client.rid(), made.group, os.urandom(16), first, b"welcome"))
    reading, go_on = asyncio.Event(), asyncio.Event()
    readers = server.relay.readers
    run = readers.run

    async def slowly(*read: Any) -> Any:
        found = await run(*read)
        if isinstance(found, list) and any(isinstance(w, f.WelcomeWaiting) for w in found):
            reading.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(readers, "run", slowly)
    back = await server.signed(b.device, b.client.signed_in.token)
    await reading.wait()
    await made.says(a)
    go_on.set()
    assert (await back.push(f.WelcomeWaiting)).group == made.group
    assert (await back.push(f.Row)).position.seq == 2


async def test_what_a_device_has_acknowledged_outlives_a_transaction_that_was_given_up(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[Cursors] = []
    commit = Committer.commit

    def fail_once(self: Committer, batch: Sequence[Job], cursors: Cursors) -> Committed:
        if cursors and not given_up:
            given_up.append(cursors)
            return Committed([Refusal("try-later")] * len(batch))
        return commit(self, batch, cursors)

    one, other = await joins(server, home), await joins(server, home)
    group = await team(one, other)
    await group.says(one)
    row = await other.client.push(f.Row)
    monkeypatch.setattr(Committer, "commit", fail_once)
    await other.client.send(f.Acknowledge((f.Acknowledgement(group.group, row.position.seq),)))
    await other.client.settle()
    with pytest.raises(Refused):
        await group.says(one)
    assert given_up
    await other.client.close()
    again = await server.signed(other.device, other.client.signed_in.token)
    await again.settle()
    assert row.position.seq not in [frame.position.seq for frame in again.pushes]
