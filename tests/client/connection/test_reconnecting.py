"""Lost connections: found again for ever, with full jitter, sooner when somebody asks."""

import asyncio
import itertools
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_client.connection import (
    Connecting,
    Connection,
    ConnectionState,
    Disconnected,
    Online,
    backoff,
)
from pli_client.connection.backoff import FIRST, LONGEST, delay
from pli_client.connection.connection import STEADY
from pli_client.errors import Offline
from pli_protocol.relay.frames import GetGroups, Refused

from .relay import FakeRelay, Pause, Peer


@pytest.fixture(autouse=True)
def usual_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of whole systems shorten them for the process."""
    monkeypatch.setattr(backoff, "FIRST", FIRST)
    monkeypatch.setattr(backoff, "LONGEST", LONGEST)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def welcome(peer: Peer) -> None:
    await peer.welcome()
    await peer.until_closed()


async def hang_up_at_once(peer: Peer) -> None:
    await peer.welcome()
    peer.websocket.transport.abort()


async def test_a_relay_that_is_away_is_tried_for_ever_and_found_when_it_is_back() -> None:
    port, pause = free_port(), Pause()
    async with Connection(f"ws://localhost:{port}", pause=pause, random=lambda: 1.0) as connection:
        asked = [await pause.end() for _ in range(9)]
        assert asked == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        with pytest.raises(Offline):
            await connection.request(GetGroups(0))
        async with FakeRelay(welcome, port=port):
            while not isinstance(connection.state, Online):
                if isinstance(connection.state, Disconnected):
                    await pause.end()
                await asyncio.sleep(0)


async def test_states_are_told_in_order() -> None:
    port, pause = free_port(), Pause()
    states: asyncio.Queue[ConnectionState] = asyncio.Queue()
    async with Connection(
        f"ws://localhost:{port}", pause=pause, random=lambda: 0.5, on_state=states.put_nowait
    ) as connection:
        for attempt, retry_in in enumerate((0.5, 1.0)):
            assert await states.get() == Connecting(attempt)
            lost = await states.get()
            assert isinstance(lost, Disconnected)
            assert lost.retry_in == retry_in
            assert isinstance(lost.error, Offline)
            await pause.end()
        assert await states.get() == Connecting(2)
        assert isinstance(connection.state, Connecting | Disconnected)


async def test_waking_tries_at_once_and_counts_from_the_beginning() -> None:
    port, pause = free_port(), Pause()
    async with Connection(f"ws://localhost:{port}", pause=pause, random=lambda: 1.0) as connection:
        assert [await pause.end() for _ in range(4)] == [1, 2, 4, 8]
        assert await pause.asked.get() == 16
        connection.wake()
        assert await pause.asked.get() == 1


async def test_a_relay_that_hangs_up_at_once_is_not_hammered() -> None:
    pause = Pause()
    async with (
        FakeRelay(hang_up_at_once) as relay,
        Connection(relay.url, pause=pause, random=lambda: 1.0, clock=lambda: 0.0),
    ):
        assert [await pause.end() for _ in range(4)] == [1, 2, 4, 8]


async def test_a_connection_that_was_steady_is_tried_soon_again() -> None:
    pause, times = Pause(), itertools.count(0, STEADY)
    async with (
        FakeRelay(hang_up_at_once) as relay,
        Connection(relay.url, pause=pause, random=lambda: 1.0, clock=times.__next__),
    ):
        assert [await pause.end() for _ in range(3)] == [1, 1, 1]


async def test_a_relay_that_stops_says_so_and_is_found_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        if peer.number == 0:
            await peer.say(Refused("shutting-down"))
        await peer.until_closed()

    pause = Pause()
    async with FakeRelay(script) as relay, Connection(relay.url, pause=pause) as connection:
        await pause.asked.get()
        assert isinstance(connection.state, Disconnected)
        connection.wake()
        await connection.online(10)


async def test_waiting_for_the_relay_ends_with_the_last_reason() -> None:
    async with Connection(f"ws://localhost:{free_port()}", pause=Pause()) as connection:
        with pytest.raises(Offline) as raised:
            await connection.online(0.05)
        assert raised.value.details["reason"]


async def test_before_it_is_started_and_after_it_is_closed_there_is_no_connection() -> None:
    connection = Connection("ws://localhost:1")
    with pytest.raises(Offline):
        await connection.request(GetGroups(0))
    async with FakeRelay(welcome) as relay:
        connection = Connection(relay.url)
        async with connection:
            await connection.online(10)
        assert isinstance(connection.state, Disconnected)
        with pytest.raises(Offline):
            await connection.request(GetGroups(0))
        # It can be used again.
        async with connection:
            await connection.online(10)


@given(st.integers(min_value=0, max_value=10**6), st.floats(min_value=0, max_value=1))
def test_a_delay_lies_between_nothing_and_the_bound(attempt: int, chance: float) -> None:
    bound = min(LONGEST, FIRST * 2 ** min(attempt, 20))
    assert 0 <= delay(attempt, lambda: chance) <= bound
    assert delay(attempt, lambda: 1.0) == bound
