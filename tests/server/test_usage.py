"""What an account sends in a day and an establishment stores is counted with it, and bounded."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from pli_protocol.relay import frames as f
from pli_server import accounting, sweep
from pli_server.command_line import cli
from pli_server.relay import now_ms
from pli_server.storage import tables as t
from pli_server.storage.usage import Amount, Usage

from .conftest import Server
from .databases import new_folder
from .people import TestEstablishment, commit, mls
from .raw_client import Refused
from .team import Member, Team, joins, team

DAY = 86_400_000
Limited = Callable[..., Awaitable[Server]]


async def refused(asking: Awaitable[Any]) -> f.Refused:
    with pytest.raises(Refused) as found:
        await asking
    assert found.value.code == "limit"
    return found.value.frame


async def pair(server: Server, home: TestEstablishment) -> tuple[Member, Member, Team]:
    a, b = await joins(server, home), await joins(server, home)
    return a, b, await team(a, b)


async def founded(server: Server) -> TestEstablishment:
    home = TestEstablishment()
    await server.establish(home, server.code)
    return home


async def put(member: Member, size: int) -> f.Done:
    client = member.client
    return await client.ask(f.PutBlob(client.rid(), os.urandom(32), 0, size, bytes(size)))


async def counted(server: Server) -> list[tuple[int, int, int]]:
    """Messages, bytes, files by account and day."""
    sql = "SELECT messages, bytes, files FROM usage ORDER BY account_no, day"
    found = await server.relay.readers.run(lambda db: db.exec_driver_sql(sql).all())
    return [(row[0], row[1], row[2]) for row in found]


async def test_an_account_sends_a_bounded_number_of_messages_a_day(limited: Limited) -> None:
    server = await limited(messages_per_day=10)
    home = await founded(server)
    a, b, made = await pair(server, home)
    for _ in range(9):
        await made.says(a)
    frame = await refused(made.says(a))
    assert frame.retry_after is not None
    assert 0 < frame.retry_after <= DAY
    await made.says(b)
    # A commit goes a little above, so that a device can still be removed.
    await made.changes(a, removed=(b,))
    server.clock = lambda: now_ms() + DAY
    await made.says(a)


async def test_an_account_sends_a_bounded_number_of_bytes_a_day(limited: Limited) -> None:
    server = await limited(message_bytes_per_day=10_000)
    a, _, made = await pair(server, await founded(server))
    for _ in range(4):
        await made.says(a, bytes(2000))
    await refused(made.says(a, bytes(2000)))
    await made.says(a, bytes(100))


async def test_an_establishment_stores_a_bounded_number_of_bytes(limited: Limited) -> None:
    server = await limited(bytes_per_establishment=200_000)
    home, other = await founded(server), TestEstablishment()
    await server.establish(other)
    a, b, made = await pair(server, home)
    # Each counts for 64 KiB.
    for who in (a, b, a):
        await put(who, 10)
    await refused(put(b, 1))
    for _ in range(2):
        await made.says(b, bytes(500))
    await refused(made.says(a, bytes(3000)))
    c, _, theirs = await pair(server, other)
    await theirs.says(c, bytes(3000))
    await put(c, 10)


async def test_what_is_refused_or_repeated_does_not_count(limited: Limited) -> None:
    server = await limited()
    a, b, made = await pair(server, await founded(server))
    before = await counted(server)
    send_id = os.urandom(16)
    message = mls(made.group, 1)
    for _ in range(2):
        await a.client.sends(message, made.previous.get(a.id), send_id=send_id)
    with pytest.raises(Refused, match="stale-epoch"):
        await a.client.sends(mls(made.group, 7), send_id)
    with pytest.raises(Refused, match="roster"):
        await a.client.sends(commit(made.group, 1, removed=(os.urandom(16),)), send_id)
    after = await counted(server)
    assert before[0][0] == 1
    assert after == [(2, before[0][1] + len(message), 0)]
    assert await b.client.push(f.Row)


async def test_the_count_outlives_a_restart_and_goes_with_retention(limited: Limited) -> None:
    server = await limited(messages_per_day=3)
    home = await founded(server)
    a, _, made = await pair(server, home)
    await made.says(a)
    await server.restart()
    a.client = await server.signed(a.device, a.client.signed_in.token)
    await made.says(a)
    await refused(made.says(a))
    assert (await counted(server))[0][0] == 3
    server.clock = lambda: now_ms() + 89 * DAY
    await sweep.sweep(server.relay)
    assert await counted(server) != []
    server.clock = lambda: now_ms() + 92 * DAY
    await sweep.sweep(server.relay)
    assert await counted(server) == []


async def test_what_another_node_counted_is_read_after_a_while(limited: Limited) -> None:
    server = await limited(messages_per_day=100)
    a, _, made = await pair(server, await founded(server))
    await made.says(a)
    change = sa.update(t.usage).values(messages=100)
    await server.relay.writer.do("report", lambda tx: tx.connection.execute(change).rowcount)
    await made.says(a)
    server.clock = lambda: now_ms() + 130_000
    await refused(made.says(a))


async def test_an_undone_request_is_taken_out_again(limited: Limited) -> None:
    """Both forms of undoing: one request alone, and a whole transaction."""
    server = await limited(messages_per_day=5)
    a, _, made = await pair(server, await founded(server))

    def charges(tx: Any) -> None:
        tx.store(a_no, Amount(4))
        raise ValueError

    (a_no,) = [s.account_no for s in server.relay.sessions.values() if s.device.device_id == a.id]
    with pytest.raises(Exception, match="try-later"):
        await server.relay.writer.do("report", charges)
    for _ in range(4):
        await made.says(a)
    await refused(made.says(a))
    usage: Usage = server.relay.writer._committer._usage
    usage.forget()
    await refused(made.says(a))


async def test_the_host_sees_what_each_establishment_has(limited: Limited) -> None:
    server = await limited()
    home, other = await founded(server), TestEstablishment("IME Les Lilas")
    await server.establish(other)
    a, _, made = await pair(server, home)
    await made.says(a, bytes(5000))
    await put(a, 10)
    found = await asyncio.to_thread(accounting.used, server.folder)
    first, second = found
    assert (first.name, first.accounts, first.devices) == (home.name, 2, 2)
    assert (first.messages, first.file_bytes) == (2, 65_536)
    assert first.message_bytes > 5000
    assert (second.establishment, second.name, second.accounts) == (
        other.id.hex(),
        "IME Les Lilas",
        0,
    )
    shown = await asyncio.to_thread(
        CliRunner().invoke, cli, ["usage", str(server.folder), "--json"]
    )
    establishments = json.loads(shown.stdout)["establishments"]
    assert [each["messages"] for each in establishments] == [2, 0]
    table = await asyncio.to_thread(CliRunner().invoke, cli, ["usage", str(server.folder)])
    assert "IME Les Lilas" in table.stdout
    assert len(table.stdout.splitlines()) == 3


def test_usage_without_its_postgresql_says_what_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_folder(tmp_path / "relay")
    monkeypatch.setenv("PLI_DATABASE_URL", "postgresql://relay@127.0.0.1:1/relay")
    done = CliRunner().invoke(cli, ["usage", str(tmp_path / "relay")])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("pli-server: PostgreSQL cannot be used (")
    assert line.endswith("check it and PLI_DATABASE_URL, then try again")
