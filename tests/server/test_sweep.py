"""Retention: payloads, Welcomes, blobs and enrolments go with time; the chain stays."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from pli_protocol.relay import frames as f
from pli_server import sweep
from pli_server.relay import Relay

from .conftest import Server
from .people import TestEstablishment, commit
from .raw_client import Refused
from .team import joins, team

DAY = 86_400_000


async def later(server: Server, days: int) -> None:
    """Sweep as if so many days had passed."""
    now = server.clock()
    server.clock = lambda: now + days * DAY
    await sweep.sweep(server.relay)


def payloads(server: Server) -> list[int]:
    query = sa.text("SELECT seq FROM rows WHERE payload IS NOT NULL ORDER BY seq")
    return server.read(lambda db: list(db.scalars(query)))


async def test_a_payload_goes_when_all_have_it_and_the_repair_window_is_over(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await group.says(a)
    await group.says(a)
    for member, last in ((a, 3), (b, 2)):
        for _ in range(2):
            await member.client.push(f.Row)
        await member.client.send(f.Acknowledge((f.Acknowledgement(group.group, last),)))
        await member.client.ask(f.ConfirmToken(member.client.rid(), member.client.signed_in.token))
    await sweep.sweep(server.relay)
    assert payloads(server) == [1, 2, 3]
    await later(server, 7)
    assert payloads(server) == [1, 2, 3]
    await later(server, 2)
    assert payloads(server) == [3]
    # What is left is delivered, under the same chain.
    again = await server.signed(b.device, b.client.signed_in.token)
    assert (await again.push(f.Row)).position.seq == 3


async def test_everything_goes_at_the_end_of_retention(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    await b.client.close()
    group = os.urandom(16)
    await a.client.ask(
        f.CreateGroup(a.client.rid(), group, os.urandom(16), commit(group, 0, (b.id,)), b"w")
    )
    blob = os.urandom(32)
    await a.client.ask(f.PutBlob(a.client.rid(), blob, 0, 3, b"abc"))
    joiner = await server.open()
    request = os.urandom(16)
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request, b"sealed"))
    await later(server, 31)
    with pytest.raises(Refused, match="not-found"):
        await joiner.ask(f.FetchEnrolment(joiner.rid(), request))
    assert (await a.client.ask(f.GetBlob(a.client.rid(), blob, 0))).data == b"abc"
    await later(server, 60)
    assert payloads(server) == []
    b2 = await server.signed(b.device, b.client.signed_in.token)
    await b2.settle()
    assert not b2.pushes
    with pytest.raises(Refused, match="not-found"):
        await a.client.ask(f.GetBlob(a.client.rid(), blob, 0))
    assert not list((server.folder / "blobs").glob("*/*"))


async def test_a_device_behind_what_retention_took_gets_the_rest(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await b.client.close()
    for _ in range(3):
        await group.says(a)
    await later(server, 91)
    await group.says(a)
    back = await server.signed(b.device, b.client.signed_in.token)
    assert (await back.push(f.Row)).position.seq == 5
    await group.says(a)
    assert (await back.push(f.Row)).position.seq == 6


async def test_an_upload_that_was_given_up_goes_after_a_day(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    await a.client.ask(
        f.PutBlob(a.client.rid(), os.urandom(32), 0, f.BLOB_PART + 1, bytes(f.BLOB_PART))
    )
    await sweep.sweep(server.relay)
    assert len(list((server.folder / "blobs" / "uploads").iterdir())) == 1
    await later(server, 2)
    assert not list((server.folder / "blobs" / "uploads").iterdir())


async def test_an_upload_that_ends_while_it_is_given_up_is_not_answered_as_stored(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)
    blob, data = os.urandom(32), os.urandom(f.BLOB_PART + 1)
    await a.client.ask(
        f.PutBlob(a.client.rid(), blob, 0, len(data), data[: f.BLOB_PART]),
    )
    last = f.PutBlob(a.client.rid(), blob, f.BLOB_PART, len(data), data[f.BLOB_PART :])
    blobs, real = server.relay.blobs, server.relay.blobs.run

    async def swept_between(function: Any, *arguments: object) -> Any:
        done = await real(function, *arguments)
        if function == blobs.place:
            await later(server, 2)
        return done

    monkeypatch.setattr(blobs, "run", swept_between)
    with pytest.raises(Refused, match="try-later"):
        await a.client.ask(last)
    monkeypatch.undo()
    for offset in (0, f.BLOB_PART):
        part = data[offset : offset + f.BLOB_PART]
        await a.client.ask(f.PutBlob(a.client.rid(), blob, offset, len(data), part))
    assert (await a.client.ask(f.GetBlob(a.client.rid(), blob, 0))).data == data[: f.BLOB_PART]


async def test_a_removal_that_nobody_speaks_of_holds_after_the_repair_window(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await group.changes(a, removed=(b,))
    await b.client.close()
    await later(server, 9)
    await group.says(a)
    back = await server.signed(b.device, b.client.signed_in.token)
    rows = await back.ask(f.Fetch(back.rid(), group.group, 0))
    assert rows.last == 2


async def test_a_clock_that_leaps_for_an_hour_takes_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour, now, swept = 3_600_000, server.clock(), []
    clocks = iter([now + hour, now + 200 * DAY, now + 3 * hour, now + 4 * hour])

    async def sleep(seconds: float) -> None:
        assert seconds * 1000 == hour
        moment = next(clocks, None)
        if moment is None:
            raise asyncio.CancelledError
        server.clock = lambda: moment

    async def note(relay: Relay) -> None:
        swept.append(relay.clock() - now)

    server.clock = lambda: now
    monkeypatch.setattr(sweep, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(sweep, "sweep", note)
    with pytest.raises(asyncio.CancelledError):
        await sweep.run(server.relay)
    assert swept == [hour, 4 * hour]
