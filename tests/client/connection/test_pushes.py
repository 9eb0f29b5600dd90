"""Pushes: in order, one at a time, bounded, and never lost by a handler that fails."""

import asyncio

import pytest

from pli_client.connection import Connection, Disconnected
from pli_client.connection.inbox import FEW, MANY, Inbox, InboxOverflow
from pli_client.connection.session import Push
from pli_client.errors import DiskFull, Offline, RelayMisbehaved
from pli_protocol.relay.frames import (
    WINDOW,
    ConfirmToken,
    Done,
    EnrolmentAnswer,
    GetGroups,
    Groups,
    Row,
    SignedIn,
    SignIn,
)

from .relay import HEAD, LOG_KEY, TOKEN, FakeRelay, Pause, Peer, row
from .test_greeting import Device


def seq(push: Push) -> int:
    assert isinstance(push, Row)
    return push.position.seq


class Collector:
    """A handler that notes what came, and can be held up."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.busy = 0
        self.may_go_on = asyncio.Event()
        self.arrived = asyncio.Event()
        self.wanted = 0
        self.complete = asyncio.Event()

    async def __call__(self, push: Push) -> None:
        assert self.busy == 0
        self.busy += 1
        self.arrived.set()
        try:
            await self.may_go_on.wait()
            self.seen.append(seq(push))
            if len(self.seen) == self.wanted:
                self.complete.set()
        finally:
            self.busy -= 1


async def test_pushes_are_handled_in_order_one_at_a_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        for number in range(500):
            await peer.say(row(number))
        await peer.until_closed()

    collector = Collector()
    collector.may_go_on.set()
    collector.wanted = 500
    async with FakeRelay(script) as relay, Connection(relay.url, on_push=collector):
        await collector.complete.wait()
    assert collector.seen == list(range(500))


async def test_a_busy_handler_stops_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    longest, sent, many = 0, asyncio.Event(), asyncio.Event()
    original = Inbox.put

    def measured(self: "Inbox[Push]", push: Push) -> None:
        nonlocal longest
        original(self, push)
        longest = max(longest, len(self))
        if longest == FEW:
            many.set()

    monkeypatch.setattr(Inbox, "put", measured)

    async def script(peer: Peer) -> None:
        await peer.welcome()
        for number in range(FEW + 100):
            await peer.say(row(number))
        sent.set()
        await peer.until_closed()

    collector = Collector()
    collector.wanted = FEW + 100
    async with FakeRelay(script) as relay, Connection(relay.url, on_push=collector):
        await sent.wait()  # small rows: the sockets' buffers take them all
        await many.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert longest == FEW
        collector.may_go_on.set()
        await collector.complete.wait()
    assert collector.seen == list(range(FEW + 100))
    assert longest == FEW


async def test_a_handler_may_ask_the_relay_while_pushes_pile_up() -> None:
    pushes = FEW + 100

    async def script(peer: Peer) -> None:
        await peer.welcome()
        for number in range(pushes):
            await peer.say(row(number))
        for _ in range(pushes):
            asked = await peer.hear(GetGroups)
            await peer.say(Groups(asked.rid, ()))
        await peer.until_closed()

    seen: list[int] = []
    done = asyncio.Event()

    async def handler(push: Push) -> None:
        await connection.request(GetGroups(0))
        seen.append(seq(push))
        if len(seen) == pushes:
            done.set()

    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, on_push=handler) as connection,
    ):
        await done.wait()
    assert seen == list(range(pushes))


async def test_a_relay_that_pushes_without_end_is_left() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.hear(GetGroups)
        number = 0
        while True:
            await peer.say(row(number))
            number += 1

    collector = Collector()
    pause = Pause()
    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, on_push=collector, pause=pause) as connection,
    ):
        await connection.online(10)
        with pytest.raises(RelayMisbehaved):
            await connection.request(GetGroups(0))


async def test_pushes_wait_until_the_sign_in_is_complete() -> None:
    order: list[str] = []
    handled = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        asked = await peer.hear(SignIn)
        await peer.say(SignedIn(asked.rid, TOKEN, 1, 0, 0, LOG_KEY, HEAD))
        await peer.say(row(1))
        confirmed = await peer.hear(ConfirmToken)
        order.append("confirmed")
        await peer.say(Done(confirmed.rid))
        await peer.until_closed()

    async def handler(push: Push) -> None:
        order.append("handled")
        handled.set()

    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, signer=Device(), on_push=handler),
    ):
        await handled.wait()
    assert order == ["confirmed", "handled"]


@pytest.mark.parametrize(
    ("failure", "reason"), [(DiskFull(), DiskFull), (KeyError("a bug"), Offline)]
)
async def test_a_push_whose_handler_failed_comes_again(
    failure: Exception, reason: type[Exception]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        for number in range(3):
            await peer.say(row(number))
        await peer.until_closed()

    seen: list[int] = []
    done = asyncio.Event()

    async def handler(push: Push) -> None:
        seen.append(seq(push))
        if seen == [0, 1]:
            raise failure
        if len(seen) == 5:
            done.set()

    pause = Pause()
    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, on_push=handler, pause=pause) as connection,
    ):
        await pause.asked.get()
        assert isinstance(connection.state, Disconnected)
        assert isinstance(connection.state.error, reason)
        connection.wake()
        await done.wait()
    assert seen == [0, 1, 0, 1, 2]


async def test_the_push_under_way_is_finished_when_the_connection_is_lost_and_the_rest_dropped() -> (
    None
):
    async def script(peer: Peer) -> None:
        await peer.welcome()
        if peer.number == 0:
            for number in range(5):
                await peer.say(row(number))
            await collector.arrived.wait()
            peer.websocket.transport.abort()
        else:
            await peer.say(row(100))
            await peer.until_closed()

    collector = Collector()
    collector.wanted = 2
    pause = Pause()
    async with FakeRelay(script) as relay, Connection(relay.url, on_push=collector, pause=pause):
        await pause.end()
        collector.may_go_on.set()
        await collector.complete.wait()
    assert collector.seen == [0, 100]


async def test_closing_does_not_wait_for_a_handler_that_never_ends() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(row(1))
        await peer.until_closed()

    collector = Collector()
    before = asyncio.all_tasks()
    async with FakeRelay(script) as relay:
        async with Connection(relay.url, on_push=collector):
            await collector.arrived.wait()
        assert collector.seen == []
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


async def test_an_enrolment_answer_without_a_number_is_a_push() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.say(EnrolmentAnswer(bytes(16), b"sealed"))
        await peer.until_closed()

    pushed: asyncio.Queue[Push] = asyncio.Queue()
    async with FakeRelay(script) as relay, Connection(relay.url, on_push=pushed.put):
        assert await pushed.get() == EnrolmentAnswer(bytes(16), b"sealed")


def test_a_relay_that_keeps_to_its_window_is_always_read() -> None:
    """Otherwise its pings would find no answer while a handler takes its time."""
    assert WINDOW < FEW < MANY


async def test_the_inbox_is_bounded_and_makes_its_writer_wait() -> None:
    inbox: Inbox[int] = Inbox()
    for number in range(FEW):
        assert inbox.has_room
        inbox.put(number)
    assert not inbox.has_room
    inbox.answer_awaited(1)
    assert inbox.has_room
    for number in range(FEW, MANY):
        inbox.put(number)
    with pytest.raises(InboxOverflow):
        inbox.put(MANY)
    inbox.answer_awaited(-1)
    assert not inbox.has_room
    assert [await inbox.get() for _ in range(MANY)] == list(range(MANY))
    assert inbox.has_room
