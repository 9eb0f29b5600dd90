"""Requests by number: answers find their askers, and what is no answer ends the connection."""

import asyncio
from collections.abc import Callable

import pytest

from pli_client.connection import Connection, Disconnected
from pli_client.errors import Offline, RelayMisbehaved, RelayRefused, RequestTimedOut
from pli_protocol.relay.codec import encode
from pli_protocol.relay.frames import (
    MAX_FRAME,
    Acknowledge,
    Acknowledgement,
    Done,
    Fetch,
    GetGroups,
    GetRevocations,
    Groups,
    Refused,
    RelayFrame,
    Revocations,
    Rows,
    SignedIn,
    Welcomed,
)

from .relay import CHALLENGE, HEAD, LOG_KEY, FakeRelay, Pause, Peer

GROUP = b"g" * 16


async def test_answers_in_any_order_find_their_askers() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        asked = [await peer.hear(Fetch) for _ in range(3)]
        for fetch in reversed(asked):
            await peer.say(Rows(fetch.rid, (), fetch.after * 10))
        await peer.until_closed()

    async with FakeRelay(script) as relay, Connection(relay.url) as connection:
        await connection.online(10)
        answers = await asyncio.gather(
            *(connection.request(Fetch(0, GROUP, after)) for after in (1, 2, 3))
        )
        assert [answer.last for answer in answers] == [10, 20, 30]


async def test_a_refusal_carries_its_code_epoch_and_delay() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        asked = await peer.hear(GetGroups)
        await peer.say(Refused("stale-epoch", asked.rid, "x", 7, 500))
        asked = await peer.hear(GetGroups)
        await peer.say(Groups(asked.rid, ()))
        await peer.until_closed()

    async with FakeRelay(script) as relay, Connection(relay.url) as connection:
        await connection.online(10)
        with pytest.raises(RelayRefused) as refused:
            await connection.request(GetGroups(0))
        error = refused.value
        assert (error.refusal, error.epoch, error.retry_after) == ("stale-epoch", 7, 500)
        # The connection goes on.
        assert (await connection.request(GetGroups(0))).groups == ()


async def test_a_request_without_an_answer_times_out_and_its_late_answer_is_dropped() -> None:
    timed_out = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        slow = await peer.hear(GetGroups)
        await timed_out.wait()
        await peer.say(Groups(slow.rid, ()))
        quick = await peer.hear(GetRevocations)
        await peer.say(Revocations(quick.rid, b"list"))
        await peer.until_closed()

    async with FakeRelay(script) as relay, Connection(relay.url) as connection:
        await connection.online(10)
        with pytest.raises(RequestTimedOut):
            await connection.request(GetGroups(0), timeout=0.01)
        timed_out.set()
        assert (await connection.request(GetRevocations(0, GROUP))).statement == b"list"


async def test_a_cancelled_request_leaves_the_connection_whole() -> None:
    heard = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        first = await peer.hear(GetGroups)
        heard.set()
        second = await peer.hear(GetGroups)
        await peer.say(Groups(first.rid, ()))
        await peer.say(Groups(second.rid, ()))
        await peer.until_closed()

    async with FakeRelay(script) as relay, Connection(relay.url) as connection:
        await connection.online(10)
        asking = asyncio.create_task(connection.request(GetGroups(0)))
        await heard.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert isinstance(await connection.request(GetGroups(0)), Groups)


async def test_what_waits_fails_when_the_connection_is_lost() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.hear(GetGroups)
        await peer.hear(GetGroups)
        peer.websocket.transport.abort()

    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, pause=Pause()) as connection,
    ):
        await connection.online(10)
        outcomes = await asyncio.gather(
            *(connection.request(GetGroups(0)) for _ in range(2)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [Offline, Offline]
        with pytest.raises(Offline):
            await connection.request(GetGroups(0))
        with pytest.raises(Offline):
            await connection.send(Acknowledge((Acknowledgement(GROUP, 1),)))


async def test_unanswered_frames_go_out() -> None:
    heard: asyncio.Queue[Acknowledge] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        heard.put_nowait(await peer.hear(Acknowledge))
        await peer.until_closed()

    async with FakeRelay(script) as relay, Connection(relay.url) as connection:
        await connection.online(10)
        await connection.send(Acknowledge((Acknowledgement(GROUP, 5),)))
        assert (await heard.get()).groups[0].seq == 5


def frame_bytes(frame: RelayFrame) -> bytes:
    return encode(frame)


BAD: dict[str, Callable[[int], bytes | str]] = {
    "not MessagePack": lambda rid: b"\xc1\xc1",
    "nothing": lambda rid: b"",
    "an unknown frame": lambda rid: b"\x81\xa1t\xa7Nothing",
    "text": lambda rid: "hello",
    "over the limit": lambda rid: bytes(MAX_FRAME + 1),
    "nested without end": lambda rid: b"\x91" * 5000,
    "an answer to nothing": lambda rid: frame_bytes(Done(rid + 1)),
    "the wrong answer": lambda rid: frame_bytes(Done(rid)),
    "a second greeting": lambda rid: frame_bytes(Welcomed(1, "localhost", CHALLENGE, 1)),
    "a frame cut short": lambda rid: frame_bytes(Groups(rid, ()))[:-1],
    "a frame with more behind it": lambda rid: frame_bytes(Groups(rid, ())) + b"\x00",
    "a sign-in nobody asked for": lambda rid: frame_bytes(
        SignedIn(rid, bytes(16), 1, 0, 0, LOG_KEY, HEAD)
    ),
}


@pytest.mark.parametrize("what", BAD)
async def test_whatever_is_no_answer_ends_the_connection_and_not_the_client(what: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        asked = await peer.hear(GetGroups)
        if peer.number == 0:
            await peer.websocket.send(BAD[what](asked.rid))
        else:
            await peer.say(Groups(asked.rid, ()))
        await peer.until_closed()

    pause = Pause()
    async with FakeRelay(script) as relay, Connection(relay.url, pause=pause) as connection:
        await connection.online(10)
        with pytest.raises(RelayMisbehaved):
            await connection.request(GetGroups(0))
        assert isinstance(connection.state, Disconnected)
        await pause.end()
        await connection.online(10)
        assert (await connection.request(GetGroups(0))).groups == ()


async def test_two_answers_to_one_request_are_one_too_many() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        asked = await peer.hear(GetGroups)
        await peer.say(Groups(asked.rid, ()))
        await peer.say(Groups(asked.rid, ()))
        await peer.until_closed()

    pause = Pause()
    async with FakeRelay(script) as relay, Connection(relay.url, pause=pause) as connection:
        await connection.online(10)
        await connection.request(GetGroups(0))
        await pause.asked.get()
        assert isinstance(connection.state, Disconnected)
        assert isinstance(connection.state.error, RelayMisbehaved)


async def test_the_relays_words_to_a_refusal_never_reach_a_terminal() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        asked = await peer.hear(GetGroups)
        await peer.say(Refused("\x1b[31m", asked.rid, "\x1b[2J"))
        await peer.until_closed()

    async with FakeRelay(script) as relay, Connection(relay.url) as connection:
        await connection.online(10)
        with pytest.raises(RelayRefused) as refused:
            await connection.request(GetGroups(0))
        error = refused.value
        assert "\x1b" not in str(error) + error.refusal + error.detail + repr(error)
