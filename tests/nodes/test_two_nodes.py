"""What is done at one node is served at the other, by a hint or by looking."""

import asyncio
import os
from pathlib import Path

import pytest

from pli_protocol.identity import LeaveStatement, RevocationEntry, RevocationList, sign
from pli_protocol.relay import frames as f
from pli_server.delivery import Delivery
from pli_server.nodes import lease
from pli_server.relay import Relay, now_ms
from pli_server.session import GREETED
from pli_server.settings import Bus
from tests.server.databases import drop_folder
from tests.server.people import NOW, TestEstablishment, commit, mls
from tests.server.raw_client import RawClient, Refused
from tests.server.team import Member, joins, team

from .conftest import Nodes, two
from .wires import Wires

pytestmark = pytest.mark.needs_postgresql


async def both(nodes: Nodes, home: TestEstablishment) -> tuple[Member, Member]:
    """Anne at the first node, Bruno at the second."""
    return await joins(nodes.a, home), await joins(nodes.b, home, "Bruno Petit")


def revokes(home: TestEstablishment, device: bytes) -> bytes:
    """The establishment's first list, which names one device."""
    entry = RevocationEntry("device", device, "lost", NOW)
    statement = RevocationList(home.id, 1, bytes(32), (entry,), NOW)
    return sign(statement, home.issuer_key, (home.issuer,))


async def seqs(member: Member, last: int) -> list[int]:
    """The rows pushed to it, up to one."""
    found: list[int] = []
    while not found or found[-1] < last:
        found.append((await member.client.push(f.Row)).position.seq)
    return found


async def test_messages_cross_in_one_order_whoever_sends(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne, bruno = await both(nodes, home)
    group = await team(anne, bruno)
    for _ in range(5):
        await asyncio.gather(*(group.says(who) for who in (anne, bruno)))
    assert await seqs(anne, 11) == list(range(2, 12))
    assert await seqs(bruno, 11) == list(range(2, 12))


async def test_a_device_is_added_removed_and_added_again_by_the_other_node(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne, bruno = await both(nodes, home)
    group = await team(anne)
    await group.changes(anne, added=(bruno,))
    await group.says(anne)
    welcome = await bruno.client.push(f.WelcomeWaiting)
    assert welcome.position.seq == 2
    await bruno.client.send(f.AcknowledgeWelcome(welcome.item))
    assert await seqs(bruno, 3) == [3]
    # Out and in again in one commit: the Welcome first, then only what comes after it.
    await group.changes(anne, added=(bruno,), removed=(bruno,))
    await group.says(anne)
    welcome = await bruno.client.push(f.WelcomeWaiting)
    assert welcome.position.seq == 4
    assert await seqs(bruno, 5) == [5]
    await group.changes(anne, removed=(bruno,))
    assert await seqs(bruno, 6) == [6]


async def test_whoever_leaves_at_one_node_gets_nothing_more_at_the_other(
    nodes: Nodes, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    anne = await joins(nodes.a, home)
    second = await nodes.b.further_device(anne.person)
    other = Member(anne.person, second, await nodes.b.signed(second))
    bruno = await joins(nodes.b, home, "Bruno Petit")
    group = await team(bruno, anne, other)
    heard = asyncio.Event()
    end = Delivery._end

    def ended(delivery: Delivery, group_id: bytes, until: int) -> None:
        end(delivery, group_id, until)
        if delivery.device_no in nodes.b.relay.sessions:
            heard.set()

    monkeypatch.setattr(Delivery, "_end", ended)
    statement = LeaveStatement(group.group, anne.id, NOW)
    signed = sign(statement, anne.device.key, anne.device.chain)
    await anne.client.ask(f.LeaveGroup(anne.client.rid(), group.group, signed))
    async with asyncio.timeout(20):
        await heard.wait()
    await group.says(bruno)
    assert await seqs(bruno, 2) == [2]
    await other.client.settle()
    assert not other.client.pushes


async def test_a_refounded_group_is_told_at_the_other_node(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne, bruno = await both(nodes, home)
    group = await team(anne, bruno)
    successor = os.urandom(16)
    await anne.client.ask(
        f.CreateGroup(
            anne.client.rid(),
            successor,
            os.urandom(16),
            commit(successor, 0, (bruno.id,)),
            b"welcome",
            group.group,
        )
    )
    told = {type(frame): frame for frame in [await bruno.client.next() for _ in range(2)]}
    assert told[f.GroupRefounded].successor == successor
    assert told[f.WelcomeWaiting].group == successor


async def test_a_device_that_connects_elsewhere_is_replaced_where_it_was(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne = await joins(nodes.a, home)
    again = await nodes.b.signed(anne.device, anne.client.signed_in.token)
    assert (await anne.client.push(f.Refused)).code == "replaced"
    await anne.client.wait_closed()
    assert not nodes.a.relay.sessions
    await again.settle()


async def test_a_copy_that_shows_itself_at_one_node_cuts_both(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne = await joins(nodes.a, home)
    with pytest.raises(Refused, match="clone"):
        await nodes.b.signed(anne.device)
    assert (await anne.client.push(f.Refused)).code == "clone"


async def test_who_is_revoked_at_one_node_is_cut_at_the_other_within_five_seconds(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne, bruno = await both(nodes, home)
    issuer = await nodes.a.issuer(home)
    await issuer.ask(f.PublishRevocations(issuer.rid(), revokes(home, bruno.id)))
    async with asyncio.timeout(5):
        frames = [await bruno.client.next()]
        while not isinstance(frames[-1], f.Refused):
            frames.append(await bruno.client.next())
    assert frames[-1].code == "sign-in-failed"
    with pytest.raises(Refused, match="sign-in-failed"):
        await nodes.b.signed(bruno.device, bruno.client.signed_in.token)
    assert isinstance(await anne.client.push(f.RevocationsChanged), f.RevocationsChanged)


async def test_everybody_at_the_other_node_hears_of_a_newer_list(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne, bruno = await both(nodes, home)
    issuer = await nodes.b.issuer(home)
    await issuer.ask(f.PublishRevocations(issuer.rid(), revokes(home, bytes(16))))
    for member in (anne, bruno):
        assert (await member.client.push(f.RevocationsChanged)).number == 1


async def test_an_establishment_opened_at_one_node_is_at_home_at_the_other_at_once(
    nodes: Nodes,
) -> None:
    establishment = TestEstablishment()
    await nodes.a.establish(establishment, nodes.a.code)
    member = await joins(nodes.b, establishment)
    await member.client.settle()


async def test_a_request_and_its_answer_cross(nodes: Nodes, home: TestEstablishment) -> None:
    issuer = await nodes.b.issuer(home)
    await issuer.ask(f.ListEnrolments(issuer.rid()))
    joiner = await nodes.a.open()
    request = os.urandom(16)
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request, b"sealed"))
    waiting = await issuer.push(f.EnrolmentWaiting)
    assert waiting.enrolment.request_id == request
    await issuer.ask(f.AnswerEnrolment(issuer.rid(), request, b"answer"))
    answer = await joiner.push(f.EnrolmentAnswer)
    assert (answer.request_id, answer.sealed) == (request, b"answer")
    await issuer.ask(f.ListEnrolments(issuer.rid()))
    assert not issuer.pushes


async def test_of_commits_at_once_at_both_nodes_one_wins_each_epoch(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne, bruno = await both(nodes, home)
    group = await team(anne, bruno)
    for epoch in range(1, 8):
        message = commit(group.group, epoch)

        async def tries(member: Member, message: bytes = message) -> str:
            try:
                send_id = os.urandom(16)
                await member.client.sends(message, group.previous.get(member.id), send_id=send_id)
            except Refused as refused:
                return refused.code
            group.previous[member.id] = send_id
            return "won"

        outcomes = await asyncio.gather(tries(anne), tries(bruno))
        assert sorted(outcomes) == ["stale-epoch", "won"]


async def test_key_packages_are_handed_out_once_over_both_nodes(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne, bruno = await both(nodes, home)
    carla = await joins(nodes.a, home, "Carla Roux")
    packages = tuple(os.urandom(100) for _ in range(20))
    await carla.client.ask(f.PublishKeyPackages(carla.client.rid(), packages))
    wanted = (carla.person.account,)

    async def claims(client: RawClient) -> bytes:
        answer = await client.ask(f.ClaimKeyPackages(client.rid(), wanted))
        return bytes(answer.claimed[0].key_package)

    claimed = await asyncio.gather(
        *(claims(who.client) for _ in range(10) for who in (anne, bruno))
    )
    assert sorted(claimed) == sorted(packages)


async def test_the_same_send_at_both_nodes_is_stored_once(
    nodes: Nodes, home: TestEstablishment
) -> None:
    """As after a node was stopped: the client sends again elsewhere, and the node wakes up."""
    anne, bruno = await both(nodes, home)
    group = await team(anne, bruno)
    await asyncio.gather(*(group.says(bruno) for _ in range(1)))
    again = await nodes.b.signed(anne.device, anne.client.signed_in.token)
    send_id, message = os.urandom(16), mls(group.group, 1, body=b"once")
    first, second = await asyncio.gather(
        anne.client.sends(message, None, send_id=send_id),
        again.sends(message, None, send_id=send_id),
        return_exceptions=True,
    )
    answers = [each for each in (first, second) if isinstance(each, f.Accepted)]
    assert {each.position.seq for each in answers} == {3}
    assert await seqs(bruno, 3) == [2, 3]


async def test_the_letter_to_a_further_device_crosses(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne = await joins(nodes.a, home)
    request = os.urandom(16)
    waiter = await nodes.b.open()
    number = nodes.a.read(lambda db: db.exec_driver_sql("SELECT no FROM accounts").scalar())
    nodes.a.change(
        "INSERT INTO linkings (request_id, account_no, device_id, request, created)"
        f" VALUES (decode('{request.hex()}', 'hex'), {number}, 'a device''s id', 'asks', {now_ms()})"
    )
    waiting = next(iter(s for s in nodes.b.relay.connected if s.state == GREETED))
    nodes.b.relay.waiting[request] = waiting
    letter = f.AnswerLinking(anne.client.rid(), request, b"letter")
    await anne.client.ask(letter)
    answer = await waiter.push(f.LinkingAnswer)
    assert (answer.request_id, answer.sealed) == (request, b"letter")


async def test_a_newer_certificate_is_told_at_the_other_node(
    nodes: Nodes, home: TestEstablishment
) -> None:
    anne, bruno = await both(nodes, home)
    issuer = await nodes.a.issuer(home)
    newer = f.PublishCertificate(issuer.rid(), anne.person.certificate)
    await issuer.ask(newer)
    assert (await bruno.client.push(f.DirectoryChanged)).establishment == home.id


async def test_one_node_has_a_lease_until_it_ends(nodes: Nodes) -> None:
    a, b = nodes.a.relay, nodes.b.relay

    async def takes(relay: Relay, seconds: int) -> bool:
        return await relay.writer.do(
            "sweep", lambda tx: lease.take(tx, "sweep", relay.node, seconds), owners=()
        )

    assert await takes(a, 60)
    assert not await takes(b, 60)
    assert await takes(a, 60)  # the same node again
    nodes.a.clock = nodes.b.clock = lambda: now_ms() + 61_000
    assert await takes(b, 60)
    assert not await takes(a, 60)


async def test_what_a_sign_in_finds_changed_is_told_to_those_who_are_there(
    tmp_path: Path,
) -> None:
    """A node that was told nothing yet learns of it by a sign-in: its people hear of it all the same."""
    nodes = two(tmp_path, bus=Bus(look_seconds=4))
    silent = Wires(lambda wire: None)
    nodes.a.bus, nodes.b.bus = silent.end(), silent.end()
    await nodes.start()
    home = TestEstablishment()
    await nodes.a.establish(home, nodes.a.code)
    anne, bruno = await both(nodes, home)
    issuer = await nodes.a.issuer(home)
    await issuer.ask(f.PublishRevocations(issuer.rid(), revokes(home, bruno.id)))
    await joins(nodes.b, home, "Carla Roux")
    assert (await bruno.client.push(f.RevocationsChanged)).number == 1
    assert (await bruno.client.push(f.Refused)).code == "sign-in-failed"
    # At the node that stored it everybody hears once.
    assert (await anne.client.push(f.RevocationsChanged)).number == 1
    await anne.client.settle()
    assert not anne.client.pushes
    await nodes.stop()
    drop_folder(nodes.a.folder)


async def test_each_figure_is_told_once(nodes: Nodes) -> None:
    """Prometheus refuses a text that says the type of a figure twice."""
    lines = nodes.a.relay.metrics.text().decode().splitlines()
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert [name for name in set(types) if types.count(name) > 1] == []
    assert "pli_bus_up" in types
