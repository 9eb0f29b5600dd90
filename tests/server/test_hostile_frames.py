"""Frames that are wrong, too large, too deep, out of order: one refusal, never a traceback."""

import asyncio
import logging
import os
import struct

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import decode_relay_frame, encode

from .conftest import Server
from .databases import SQLITE
from .people import TestEstablishment, mls
from .raw_client import RawClient
from .team import joins, team

HELLO = encode(f.Hello((1,)))


@pytest.fixture
def engine() -> str:
    """What is no frame meets no database."""
    return SQLITE


async def raw(server: Server) -> ClientConnection:
    return await connect(server.url, compression=None, proxy=None)


async def last_word(ws: ClientConnection) -> tuple[list[f.RelayFrame], int | None]:
    """All frames until the connection ends, and its close code."""
    frames = []
    try:
        while True:
            data = await ws.recv()
            assert isinstance(data, bytes)
            frames.append(decode_relay_frame(data))
    except ConnectionClosed:
        return frames, ws.close_code


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


DEEP = b"\x91" * 60_000
GARBAGE = [
    b"",
    b"\xc1",
    DEEP,
    b"\x80" * 1000,
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    packed({}),
    packed([]),
    packed({"t": "Nothing"}),
    packed({"t": "Hello"}),
    packed({"t": "Hello", "versions": []}),
    packed({"t": "Hello", "versions": [1] * 17}),
    packed({"t": "Hello", "versions": [-1]}),
    packed({"t": "Hello", "versions": [1.5]}),
    packed({"t": "Hello", "versions": [True]}),
    packed({"t": "Hello", "versions": [2**53]}),
    packed({"t": "Hello", "versions": ["1"]}),
    packed({"t": "Hello", "versions": [1], "more": 1}),
    packed({"t": "Hello", "versions": [1], "software": "x" * 257}),
    packed({"t": "Hello", "versions": [1]}) + b"\0",
    packed({"t": "Welcomed", "version": 1, "relay": "", "challenge": bytes(32), "time": 0}),
    packed({"t": "GetGroups", "rid": 2**32}),
    packed({"t": "GetGroups", "rid": -1}),
    packed({"t": "GetBlob", "rid": 1, "blob": bytes(31), "offset": 0}),
    packed({"t": "GetBlob", "rid": 1, "blob": bytes(33), "offset": 0}),
    packed({"t": "GetBlob", "rid": 1, "blob": "x" * 32, "offset": 0}),
    b"\x82\xa1t\xa9GetGroups\xa3rid\xc0",
    b"\x81\xa1t\xd9\x05\xff\xff\xff\xff\xff",
    struct.pack(">BI", 0xDF, 2**31),
]


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
async def test_what_is_no_frame_is_refused_once_and_the_connection_closed(
    server: Server, data: bytes, greeted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ws = await raw(server)
    if greeted:
        await ws.send(HELLO)
        await ws.recv()
    await ws.send(data)
    await ws.send(HELLO)
    frames, code = await last_word(ws)
    assert [frame.code for frame in frames if isinstance(frame, f.Refused)] == ["bad-frame"]
    assert len(frames) == 1
    assert code == 1008
    assert caplog.records == []


async def test_text_is_no_frame(server: Server) -> None:
    ws = await raw(server)
    await ws.send("hello")
    frames, code = await last_word(ws)
    assert [frame.code for frame in frames if isinstance(frame, f.Refused)] == ["bad-frame"]
    assert code == 1008


@pytest.mark.parametrize(
    ("size", "code"), [(f.MAX_FRAME + 1, 1008), (f.MAX_FRAME + 1025, 1009), (1 << 20, 1009)]
)
async def test_a_frame_too_large_ends_the_connection(server: Server, size: int, code: int) -> None:
    ws = await raw(server)
    await ws.send(bytes(size))
    _, closed = await last_word(ws)
    assert closed == code


@pytest.mark.parametrize(
    "frame",
    [f.GetGroups(1), f.SignIn(1, (b"x",), bytes(64)), f.AcknowledgeWelcome(bytes(16))],
)
async def test_everything_before_hello_is_out_of_order(
    server: Server, frame: f.ClientFrame
) -> None:
    ws = await raw(server)
    await ws.send(encode(frame))
    frames, code = await last_word(ws)
    assert [frame.code for frame in frames if isinstance(frame, f.Refused)] == ["out-of-order"]
    assert code == 1008


async def test_a_second_hello_and_a_second_sign_in_are_out_of_order(
    server: Server, home: TestEstablishment
) -> None:
    for again in (f.Hello((1,)), f.SignIn(1, (b"x",), bytes(64))):
        client = await server.signed(home.person().device())
        await client.send(again)
        if isinstance(again, f.Hello):
            assert (await client.push(f.Refused)).code == "out-of-order"
        await client.wait_closed()


def small_frames() -> st.SearchStrategy[bytes]:
    """Frames of ours, then damaged: a byte changed, cut, doubled, inserted."""
    group = b"g" * 16
    samples = [
        encode(frame)
        for frame in (
            f.Send(1, bytes(16), None, mls(group, 1)),
            f.Acknowledge((f.Acknowledgement(group, 2**52),)),
            f.Fetch(1, group, 0, 1),
            f.ReportCommit(group, 1, True, "x"),
            f.CreateGroup(1, group, bytes(16), mls(group, 0)),
            f.PutBlob(1, bytes(32), 0, 2**52, b"x"),
            f.GetBlob(1, bytes(32), 2**52),
            f.ClaimKeyPackages(1, (bytes(16),)),
            f.LeaveGroup(1, group, b"\x95\x01"),
            f.AskReturn(1, group, bytes(16), b"\x95\x01"),
            f.PublishRevocations(1, b"\x95\x01"),
            f.PublishRevocations(1, f.BlobRef(bytes(32), 2**52, bytes(32))),
            f.RegisterEstablishment(1, "c", b"\x30", b"\x30", b"\x95", bytes(64)),
            f.GetDirectory(1, b"\xff" * 16),
        )
    ]

    def damage(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(st.sampled_from(samples)))
        for _ in range(draw(st.integers(0, 3))):
            place = draw(st.integers(0, max(0, len(data) - 1)))
            match draw(st.sampled_from(["change", "cut", "insert"])):
                case "change":
                    data[place : place + 1] = bytes([draw(st.integers(0, 255))])
                case "cut":
                    del data[place:]
                case "insert":
                    data[place:place] = draw(st.binary(max_size=8))
        return bytes(data)

    return st.composite(damage)()


@given(data=st.lists(small_frames(), min_size=1, max_size=12))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_damaged_frames_never_make_the_relay_stumble(
    hostile_relay: "HostileRelay", data: list[bytes]
) -> None:
    hostile_relay.attack(data)


class HostileRelay:
    """A relay on a loop of its own, since hypothesis runs many examples in one test."""

    def __init__(self, runner: asyncio.Runner, server: Server, home: TestEstablishment) -> None:
        self.runner = runner
        self.server = server
        self.home = home
        self.person = home.person()
        self.device = self.person.device()
        self.token: bytes | None = None

    def attack(self, frames: list[bytes]) -> None:
        self.runner.run(self._attack(frames))

    async def _attack(self, frames: list[bytes]) -> None:
        client = await RawClient.signed(self.server.url, self.device, self.token)
        self.token = client.signed_in.token
        try:
            for data in frames:
                await client.ws.send(data)
            await client.settle()
        except ConnectionClosed:
            pass
        refused = [frame for frame in client.pushes if isinstance(frame, f.Refused)]
        await client.close()
        assert all(frame.code for frame in refused)


@pytest.fixture
def hostile_relay(tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture):  # type: ignore[no-untyped-def]
    from .conftest import running

    with asyncio.Runner() as runner:
        manager = running(tmp_path_factory.mktemp("hostile") / "relay")
        server = runner.run(manager.__aenter__())
        home = TestEstablishment()
        runner.run(server.establish(home, server.code))
        yield HostileRelay(runner, server, home)
        runner.run(manager.__aexit__(None, None, None))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_honest_pair_goes_on_beside_hundreds_of_bad_connections(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)

    async def bad() -> None:
        ws = await raw(server)
        await ws.send(os.urandom(200))
        await last_word(ws)

    await asyncio.gather(*(bad() for _ in range(100)), group.says(a))
    assert (await b.client.push(f.Row)).position.seq == 2


async def test_the_log_names_nobody_and_quotes_nothing(
    server: Server, home: TestEstablishment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pli_server")
    a, b = await joins(server, home, "Zoé Secret"), await joins(server, home)
    group = await team(a, b)
    await group.says(a, b"plaintext")
    await server.restart()
    text = caplog.text
    for word in ("Zoé", "Secret", "plaintext", a.id.hex(), group.group.hex(), "127.0.0.1"):
        assert word not in text
