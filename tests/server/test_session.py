"""What one connection is sent: together where it comes together, and never after a close has begun."""

import asyncio
from unittest.mock import patch

from pli_protocol.relay import frames as f
from pli_server.errors import Refusal
from pli_server.session import WRITE_LIMIT, Session

from .conftest import Server
from .people import TestEstablishment
from .raw_client import RawClient


async def online(server: Server) -> tuple[Session, RawClient]:
    establishment = TestEstablishment()
    await server.establish(establishment, server.code)
    client = await server.signed(establishment.person().device())
    return next(iter(server.relay.sessions.values())), client


async def test_frames_pushed_in_one_turn_of_the_loop_leave_in_one_write(server: Server) -> None:
    session, client = await online(server)
    with patch.object(type(session.ws.transport), "write", autospec=True) as write:
        for number in range(3):
            session.answer(f.Done(number))
        assert write.call_count == 0
        await asyncio.sleep(0)
    assert write.call_count == 1


async def test_frames_keep_their_order_and_a_refusal_still_leaves_before_the_close(
    server: Server,
) -> None:
    session, client = await online(server)
    for number in (1000, 1001):
        session.answer(f.Groups(number, ()))
    session.refuse(None, Refusal("replaced"))
    session.answer(f.Groups(1002, ()))
    await client.wait_closed()
    assert [getattr(frame, "rid", None) for frame in client.pushes] == [1000, 1001, None]
    assert client.pushes[-1].code == "replaced"


async def test_what_waits_to_be_written_counts_as_congestion(server: Server) -> None:
    session, _ = await online(server)
    assert not session.congested
    for _ in range(WRITE_LIMIT // 48_000 + 1):
        session.answer(f.BlobPart(0, 48_000, bytes(48_000)))
    assert session.congested
    await session.drained()
    assert session._unsent == []
