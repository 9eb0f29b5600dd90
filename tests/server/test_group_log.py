"""A group's log: compare-and-set on epochs, sends once and in order, rosters, leaving, coming back."""

import os

import pytest

from pli_protocol.identity import LeaveStatement, ReturnRequest, sign
from pli_protocol.relay import frames as f

from .conftest import Server
from .people import COMMIT, NOW, PROPOSAL, TestEstablishment, commit, mls
from .raw_client import Refused
from .team import Member, Team, joins, team


async def refused(awaitable: object) -> f.Refused:
    """The refusal of a request."""
    with pytest.raises(Refused) as caught:
        await awaitable  # type: ignore[misc]
    return caught.value.frame


async def test_the_first_of_two_commits_wins_its_epoch(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    won = await a.client.sends(commit(group.group, 1, body=b"first"))
    lost = await refused(b.client.sends(commit(group.group, 1, body=b"second")))
    assert (won.position.seq, lost.code, lost.epoch) == (2, "stale-epoch", 2)


@pytest.mark.parametrize("epoch", [0, 2, 2**63])
@pytest.mark.parametrize("kind", [1, PROPOSAL])
async def test_a_row_of_another_epoch_is_refused_with_the_current_one(
    server: Server, home: TestEstablishment, epoch: int, kind: int
) -> None:
    a = await joins(server, home)
    group = await team(a)
    refusal = await refused(a.client.sends(mls(group.group, epoch, kind)))
    assert (refusal.code, refusal.epoch) == ("stale-epoch", 1)


async def test_the_welcome_of_a_lost_commit_is_never_delivered(
    server: Server, home: TestEstablishment
) -> None:
    a, b, c = [await joins(server, home) for _ in range(3)]
    group = await team(a, b)
    await a.client.sends(commit(group.group, 1))
    lost = await refused(
        b.client.sends(commit(group.group, 1, (c.id,)), welcome=b"of the lost commit")
    )
    assert lost.code == "stale-epoch"
    await c.client.settle()
    assert not c.client.pushes
    await server.restart()
    again = await server.signed(c.device, c.client.signed_in.token)
    await again.settle()
    assert not again.pushes


async def test_a_send_repeated_gets_the_same_answer_also_after_the_epoch_moved_and_a_restart(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    send_id, message = os.urandom(16), mls(group.group, 1)
    first = await a.client.sends(message, send_id=send_id)
    await b.client.sends(commit(group.group, 1))
    second = await a.client.sends(message, send_id=send_id)
    await server.restart()
    again = await server.signed(a.device, a.client.signed_in.token)
    third = await again.sends(message, send_id=send_id)
    assert (first.position, first.chain, first.time) == (second.position, second.chain, second.time)
    assert (first.position, first.chain, first.time) == (third.position, third.chain, third.time)
    rows = await again.ask(f.Fetch(again.rid(), group.group, 0))
    assert [row.position.seq for row in rows.rows] == [1, 2, 3]


async def test_the_same_send_twice_in_one_transaction_is_one_row(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    group = await team(a)
    send_id, message = os.urandom(16), mls(group.group, 1)
    answers = [
        await a.client.begin(f.Send(a.client.rid(), send_id, None, message)) for _ in range(5)
    ]
    positions = {(await answer).position for answer in answers}
    assert positions == {f.Position(1, 2)}


async def test_a_send_id_of_one_group_cannot_be_used_in_another(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    one, two = await team(a), await team(a)
    send_id = os.urandom(16)
    await a.client.sends(mls(one.group, 1), send_id=send_id)
    refusal = await refused(a.client.sends(mls(two.group, 1), send_id=send_id))
    assert refusal.code == "conflict"


async def test_a_send_whose_predecessor_is_not_held_is_refused(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    group = await team(a)
    first, second, third = os.urandom(16), os.urandom(16), os.urandom(16)
    message = mls(group.group, 1)
    assert (await refused(a.client.sends(message, first))).code == "predecessor-missing"
    await a.client.sends(message, send_id=first)
    assert (await refused(a.client.sends(message, second))).code == "predecessor-missing"
    assert (await refused(a.client.sends(message, None))).code == "predecessor-missing"
    await a.client.sends(message, first, send_id=second)
    await a.client.sends(message, second, send_id=third)


async def test_eight_in_flight_keep_their_order_behind_one_that_is_refused(
    server: Server, home: TestEstablishment
) -> None:
    """When the first is stale, none of those behind it may slip in before it is sealed again."""
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await b.client.sends(commit(group.group, 1))
    ids = [os.urandom(16) for _ in range(8)]
    answers = []
    for previous, send_id, epoch in zip([None, *ids], ids, [1, *[2] * 7], strict=False):
        frame = f.Send(a.client.rid(), send_id, previous, mls(group.group, epoch))
        answers.append(await a.client.begin(frame))
    codes = [(await refused(answer)).code for answer in answers]
    assert codes == ["stale-epoch"] + ["predecessor-missing"] * 7


@pytest.mark.parametrize(
    "message",
    [
        b"\0",
        mls(b"g" * 16, 1)[:-1],
        mls(b"g" * 16, 1) + b"\0",
        mls(b"g" * 16, 1, wire_format=1),
        mls(b"g" * 16, 1, wire_format=3),
        mls(b"g" * 16, 1, 4),
        mls(b"g" * 16, 1, 0),
        b"\0\2" + mls(b"g" * 16, 1)[2:],
    ],
)
async def test_only_a_private_message_is_taken(
    server: Server, home: TestEstablishment, message: bytes
) -> None:
    a = await joins(server, home)
    assert (await refused(a.client.sends(message))).code == "invalid"


async def test_a_commits_aad_must_be_a_roster_change_of_known_devices(
    server: Server, home: TestEstablishment
) -> None:
    a, b, c = [await joins(server, home) for _ in range(3)]
    group = await team(a, b)
    stranger = home.person().device().id
    g = group.group
    for message, welcome in (
        (mls(g, 1, COMMIT), None),
        (mls(g, 1, COMMIT, aad=b"\x92\x90\x90\0"), None),
        (mls(g, 1, COMMIT, aad=b"\xdc\0\x02\x90\x90"), None),
        (commit(g, 1, (stranger,)), b"w"),
        (commit(g, 1, (c.id,)), None),
        (commit(g, 1), b"w"),
        (commit(g, 1, (b.id,)), b"w"),
        (commit(g, 1, (), (c.id,)), None),
        (commit(g, 1, (), (a.id,)), None),
        (commit(g, 1, (c.id, c.id)), b"w"),
    ):
        refusal = await refused(a.client.sends(message, welcome=welcome))
        assert refusal.code == "roster"
    await a.client.sends(commit(g, 1, (c.id,)), welcome=b"w")


async def test_a_removed_device_receives_until_another_person_has_applied_the_commit(
    server: Server, home: TestEstablishment
) -> None:
    a, b, c = [await joins(server, home) for _ in range(3)]
    group = await team(a, b, c)
    removal = await group.changes(a, removed=(c,))
    await group.says(a)
    assert [(await c.client.push(f.Row)).position.seq for _ in range(2)] == [2, 3]
    # The committer's own word does not count.
    await a.client.send(f.ReportCommit(group.group, removal.position.seq, True))
    await b.client.send(f.ReportCommit(group.group, removal.position.seq, False, "does not open"))
    await group.says(b)
    assert (await c.client.push(f.Row)).position.seq == 4
    await b.client.send(f.ReportCommit(group.group, removal.position.seq, True))
    await b.client.settle()
    await group.says(b)
    await c.client.settle()
    assert not c.client.pushes
    assert (await refused(c.client.sends(mls(group.group, group.epoch)))).code == "not-found"
    reports = await a.client.ask(f.GetCommitReports(a.client.rid(), group.group, 2))
    assert {r.device: (r.applied, r.reason) for r in reports.reports} == {
        a.id: (True, ""),
        b.id: (True, ""),
    }


async def test_what_a_removed_device_missed_before_its_end_is_delivered_later(
    server: Server, home: TestEstablishment
) -> None:
    a, b, c = [await joins(server, home) for _ in range(3)]
    group = await team(a, b, c)
    await c.client.close()
    await group.says(a)
    await group.changes(a, removed=(c,))
    await b.client.send(f.ReportCommit(group.group, 3, True))
    await b.client.settle()
    await group.says(a)
    back = await server.signed(c.device, c.client.signed_in.token)
    assert [(await back.push(f.Row)).position.seq for _ in range(2)] == [2, 3]
    await back.settle()
    assert not back.pushes
    rows = await back.ask(f.Fetch(back.rid(), group.group, 0))
    assert [row.position.seq for row in rows.rows] == [2, 3]


async def test_a_removed_device_that_has_applied_its_removal_receives_no_more(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await group.changes(a, removed=(b,))
    assert (await b.client.push(f.Row)).position.seq == 2
    await b.client.send(f.ReportCommit(group.group, 2, True))
    await b.client.settle()
    await group.says(a)
    await b.client.settle()
    assert not b.client.pushes


async def test_a_device_added_again_starts_from_its_new_welcome(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await group.says(a)
    await b.client.push(f.Row)
    await group.changes(a, added=(b,), removed=(b,), welcome=b"again")
    welcome = await b.client.push(f.WelcomeWaiting)
    assert (welcome.welcome, welcome.position.seq) == (b"again", 3)
    await group.says(a)
    assert (await b.client.push(f.Row)).position.seq == 4
    await b.client.sends(mls(group.group, group.epoch), None)


async def test_after_leaving_no_device_of_the_person_receives(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    second = await server.further_device(b.person)
    other = Member(b.person, second, await server.signed(second))
    group = await team(a, b, other)
    statement = LeaveStatement(group.group, b.id, NOW)
    signed = sign(statement, b.device.key, b.device.chain)
    await b.client.ask(f.LeaveGroup(b.client.rid(), group.group, signed))
    await group.says(a)
    for client in (b.client, other.client):
        await client.settle()
        assert not client.pushes
    assert (await refused(b.client.sends(mls(group.group, 1)))).code == "not-found"
    # The proposal that removes its leaf is still taken, and the commit that follows it.
    await b.client.sends(mls(group.group, 1, PROPOSAL))
    await group.changes(a, removed=(b, other))
    assert (await b.client.ask(f.GetGroups(b.client.rid()))).groups == ()


async def test_a_statement_of_leaving_must_be_the_devices_own(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    for statement, key, chain in (
        (LeaveStatement(group.group, b.id, NOW), a.device.key, b.device.chain),
        (LeaveStatement(group.group, a.id, NOW), a.device.key, a.device.chain),
        (LeaveStatement(os.urandom(16), b.id, NOW), b.device.key, b.device.chain),
    ):
        signed = sign(statement, key, chain)
        frame = f.LeaveGroup(b.client.rid(), group.group, signed)
        assert (await refused(b.client.ask(frame))).code == "invalid"


async def test_a_device_that_lost_its_state_asks_to_return(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    second = await server.further_device(b.person)
    fresh = await server.signed(second)
    request = ReturnRequest(group.group, second.id, b"key package", "lost", None, NOW)
    signed = sign(request, second.key, second.chain)
    send_id = os.urandom(16)
    first = await fresh.ask(f.AskReturn(fresh.rid(), group.group, send_id, signed))
    again = await fresh.ask(f.AskReturn(fresh.rid(), group.group, send_id, signed))
    assert first.position == again.position
    row = await a.client.push(f.Row)
    assert (row.kind, row.message, row.sender) == ("return", signed, second.id)
    groups = (await fresh.ask(f.GetGroups(fresh.rid()))).groups
    assert groups == (f.GroupState(group.group, 1, 2, False),)


async def test_a_stranger_cannot_ask_to_return(server: Server, home: TestEstablishment) -> None:
    a, c = await joins(server, home), await joins(server, home)
    group = await team(a)
    request = ReturnRequest(group.group, c.id, b"key package", "", None, NOW)
    signed = sign(request, c.device.key, c.device.chain)
    frame = f.AskReturn(c.client.rid(), group.group, os.urandom(16), signed)
    assert (await refused(c.client.ask(frame))).code == "not-found"


async def test_a_group_is_created_once_and_again_by_the_same_send_only(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group, send_id = os.urandom(16), os.urandom(16)
    frames = [
        f.CreateGroup(m.client.rid(), group, i, commit(group, 0))
        for m, i in ((a, send_id), (a, send_id), (a, os.urandom(16)), (b, os.urandom(16)))
    ]
    first, second = await a.client.ask(frames[0]), await a.client.ask(frames[1])
    assert first.chain == second.chain
    assert (await refused(a.client.ask(frames[2]))).code == "conflict"
    assert (await refused(b.client.ask(frames[3]))).code == "conflict"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (commit(b"g" * 16, 1), "invalid"),
        (mls(b"g" * 16, 0), "invalid"),
        (commit(b"h" * 16, 0), "invalid"),
        (commit(b"g" * 16, 0, (), (b"x" * 16,)), "roster"),
        (commit(b"g" * 16, 0, (b"x" * 16,)), "roster"),
    ],
)
async def test_a_groups_first_row_is_its_commit_of_epoch_zero(
    server: Server, home: TestEstablishment, message: bytes, code: str
) -> None:
    a = await joins(server, home)
    frame = f.CreateGroup(a.client.rid(), b"g" * 16, os.urandom(16), message)
    assert (await refused(a.client.ask(frame))).code == code
    # Nothing of the refused attempt is left.
    await a.client.ask(
        f.CreateGroup(a.client.rid(), b"g" * 16, os.urandom(16), commit(b"g" * 16, 0))
    )


async def refound(member: Member, old: Team, *others: Member) -> f.Accepted:
    new = os.urandom(16)
    return await member.client.ask(
        f.CreateGroup(
            member.client.rid(),
            new,
            os.urandom(16),
            commit(new, 0, tuple(other.id for other in others)),
            b"welcome" if others else None,
            old.group,
        )
    )


async def test_a_group_is_refounded_once_by_a_member_with_nobody_added(
    server: Server, home: TestEstablishment
) -> None:
    a, b, c = [await joins(server, home) for _ in range(3)]
    old = await team(a, b)
    assert (await refused(refound(c, old))).code == "not-found"
    assert (await refused(refound(a, old, b, c))).code == "roster"
    await refound(b, old, a)
    assert (await refused(refound(a, old, b))).code == "conflict"
    refounded = await a.client.push(f.GroupRefounded)
    welcome = await a.client.push(f.WelcomeWaiting)
    assert (refounded.group, welcome.predecessor) == (old.group, old.group)
    assert (await refused(a.client.sends(mls(old.group, 1)))).code == "conflict"
    groups = (await a.client.ask(f.GetGroups(a.client.rid()))).groups
    assert {g.group: g.successor for g in groups} == {
        old.group: welcome.group,
        welcome.group: None,
    }


async def test_a_device_that_a_garbage_commit_calls_removed_can_still_refound(
    server: Server, home: TestEstablishment
) -> None:
    a, b, c = [await joins(server, home) for _ in range(3)]
    old = await team(a, b, c)
    await old.changes(c, removed=(a, b))
    for member in (a, b):
        await member.client.send(f.ReportCommit(old.group, 2, False, "does not open"))
    await refound(a, old, b)
    await b.client.push(f.Row)
    assert (await b.client.push(f.GroupRefounded)).group == old.group
    assert (await b.client.push(f.WelcomeWaiting)).predecessor == old.group
