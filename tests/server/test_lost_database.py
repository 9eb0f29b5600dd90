"""PostgreSQL killed, cut off, full, in a deadlock: the relay goes on, and nothing is lost or doubled."""

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from websockets.exceptions import ConnectionClosed

from pli_protocol.relay import frames as f
from pli_server import folder as folders
from pli_server.settings_file import template
from pli_server.storage import committing
from pli_server.storage import tables as t
from pli_server.storage.postgresql_statements import PostgreSQLStatements
from pli_server.storage.url import DatabaseURL

from .conftest import Server
from .databases import POSTGRESQL
from .people import TestDevice, TestEstablishment, mls
from .postgresql_server import PostgreSQLServer
from .raw_client import RawClient, Refused
from .team import Member, joins, team

pytestmark = pytest.mark.needs_postgresql


@pytest.fixture
def engine() -> str:
    return POSTGRESQL


class Persistent:
    """A client that comes back and repeats until it is answered."""

    def __init__(
        self, url: str, device: TestDevice, client: RawClient, said: "asyncio.Queue[bytes]"
    ) -> None:
        self.url = url
        self.device = device
        self.client = client
        self.token = client.signed_in.token
        self.accepted: dict[bytes, f.Accepted] = {}
        self._said = said

    async def says(self, group: bytes, previous: bytes | None) -> bytes:
        send_id = os.urandom(16)
        message = mls(group, 1, body=send_id)
        while send_id not in self.accepted:
            try:
                self.accepted[send_id] = await self.client.sends(message, previous, send_id=send_id)
            except Refused as refused:
                if refused.code != "try-later":
                    raise
                # What the relay asks for is longer than this server is away.
                await asyncio.sleep(0.05)
            except ConnectionClosed:
                await self._come_back()
        self._said.put_nowait(send_id)
        return send_id

    async def _come_back(self) -> None:
        """The token of a sign-in that was not answered is not known: the one before holds too."""
        while True:
            client = await RawClient.open(self.url)
            try:
                await client.sign_in(self.device, self.token)
                await client.ask(f.ConfirmToken(client.rid(), client.signed_in.token))
            except (Refused, ConnectionClosed):
                await client.close()
                await asyncio.sleep(0.05)
                continue
            self.client, self.token = client, client.signed_in.token
            return


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgreSQLServer]:
    made = PostgreSQLServer()
    yield made
    made.remove()


@pytest.fixture
async def on_its_own(tmp_path: Path, postgres: PostgreSQLServer) -> AsyncIterator[Server]:
    """A relay on a PostgreSQL that the test may kill."""
    folder = tmp_path / "relay"
    text = template("relay.test", "127.0.0.1:0", database_url=postgres.url)
    code = await asyncio.to_thread(folders.make, folder, text, DatabaseURL(postgres.url))
    server = Server(folder, code)
    await server.start()
    yield server
    await server.stop()


async def test_killed_in_the_middle_nothing_acknowledged_is_missing_or_doubled(
    on_its_own: Server, postgres: PostgreSQLServer
) -> None:
    server = on_its_own
    home = TestEstablishment()
    await server.establish(home, server.code)
    members = [await joins(server, home) for _ in range(4)]
    group = await team(*members)
    said: asyncio.Queue[bytes] = asyncio.Queue()
    sides = [Persistent(server.url, m.device, m.client, said) for m in members]
    stopping = asyncio.Event()

    async def talk(side: Persistent) -> None:
        previous = None
        while not stopping.is_set():
            previous = await side.says(group.group, previous)

    async def spoken(count: int) -> None:
        for _ in range(count):
            await said.get()

    talks = [asyncio.create_task(talk(side)) for side in sides]
    for _ in range(3):
        await spoken(30)
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)
    await spoken(30)
    stopping.set()
    await asyncio.gather(*talks)
    assert not server.relay.failed.is_set()
    rows = server.read(
        lambda db: db.execute(
            sa.select(t.rows.c.seq, t.rows.c.send_id, t.rows.c.chain).order_by(t.rows.c.seq)
        ).all()
    )
    answered = {k: v for side in sides for k, v in side.accepted.items()}
    assert [row.seq for row in rows] == list(range(1, len(answered) + 2))
    for row in rows[1:]:
        accepted = answered[row.send_id]
        assert (accepted.position.seq, accepted.chain) == (row.seq, row.chain)
    for side in sides:
        await side.client.close()


Statement = Callable[..., Any]


def once(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fault: Callable[[PostgreSQLStatements, Statement], Any],
) -> None:
    """One call of a statement goes as the fault says; it is given the statement as it is."""
    whole: Statement = getattr(PostgreSQLStatements, name)
    left = [fault]

    def faulty(self: PostgreSQLStatements, *arguments: Any) -> Any:
        return left.pop()(self, whole) if left else whole(self, *arguments)

    monkeypatch.setattr(PostgreSQLStatements, name, faulty)


def raises(error: Exception) -> Callable[[PostgreSQLStatements, Statement], Any]:
    def fault(_: PostgreSQLStatements, __: Statement) -> None:
        raise error

    return fault


def stored_but_cut_off(statements: PostgreSQLStatements, commit: Statement) -> None:
    commit(statements)
    raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


async def test_a_commit_without_an_answer_is_not_answered_and_the_repetition_is(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)
    group = await team(a)
    once(monkeypatch, "commit", stored_but_cut_off)
    send_id = os.urandom(16)
    with pytest.raises(ConnectionClosed):
        await a.client.sends(mls(group.group, 1), send_id=send_id)
    back = await server.signed(a.device, a.client.signed_in.token)
    assert (await back.sends(mls(group.group, 1), send_id=send_id)).position.seq == 2
    assert server.read(lambda db: db.scalar(sa.select(sa.func.count(t.rows.c.no)))) == 2


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DeadlockDetectedError("deadlock detected"),
        asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_was_surely_not_stored_is_run_again_unseen(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    a = await joins(server, home)
    group = await team(a)
    once(monkeypatch, "insert_rows", raises(error))
    assert (await group.says(a)).position.seq == 2
    assert (await group.says(a)).position.seq == 3


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DiskFullError("could not extend file"),
        asyncpg.exceptions.PostgresIOError("could not fsync file"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_full_or_broken_disk_of_the_server_is_try_later_and_the_relay_goes_on(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    a = await joins(server, home)
    group = await team(a)
    once(monkeypatch, "insert_rows", raises(error))
    with pytest.raises(Refused, match="try-later") as refused:
        await group.says(a)
    assert refused.value.frame.retry_after == 10_000
    rows = await a.client.ask(f.Fetch(a.client.rid(), group.group, 0))
    assert rows.last == 1
    assert (await group.says(a)).position.seq == 2
    assert not server.relay.failed.is_set()


async def test_connections_that_the_server_ended_are_opened_again(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    group = await team(a)
    await group.says(a)
    server.change(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    rows = await a.client.ask(f.Fetch(a.client.rid(), group.group, 0))
    assert rows.last == 2
    assert (await group.says(a)).position.seq == 3


async def test_a_node_that_stops_within_a_transaction_holds_up_the_others_for_seconds_only(
    server: Server, home: TestEstablishment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends its transaction; awake again it says COMMIT in vain, and answers nobody."""
    shutil.copytree(server.folder, tmp_path / "second")
    second = Server(tmp_path / "second", "")
    await second.start()
    a = await joins(server, home)
    person = home.person()
    device = person.device()
    b = Member(person, device, await second.signed(device))
    group = await team(a, b)
    stopped, awake = asyncio.Event(), threading.Event()
    loop, writer = asyncio.get_running_loop(), server.relay.writer._thread
    whole = committing.passage

    def passage(kinds: Iterable[str], when: str) -> None:
        if when == "within" and threading.current_thread() is writer and not awake.is_set():
            loop.call_soon_threadsafe(stopped.set)
            awake.wait()
        whole(kinds, when)

    monkeypatch.setattr(committing, "passage", passage)
    send_id = os.urandom(16)
    first = asyncio.create_task(a.client.sends(mls(group.group, 1), send_id=send_id))
    await stopped.wait()
    try:
        assert (await group.says(b)).position.seq == 2
    finally:
        awake.set()
    with pytest.raises(ConnectionClosed):
        await first
    back = await server.signed(a.device, a.client.signed_in.token)
    assert (await back.sends(mls(group.group, 1), send_id=send_id)).position.seq == 3
    await second.stop()


async def test_a_transaction_that_failed_unnoticed_is_not_taken_for_committed(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)
    group = await team(a)

    def swallowed(statements: PostgreSQLStatements, commit: Statement) -> None:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            statements._execute("no statement at all")
        commit(statements)

    once(monkeypatch, "commit", swallowed)
    with pytest.raises(Refused, match="try-later"):
        await group.says(a)
    assert (await group.says(a)).position.seq == 2
