"""A full disk refuses and goes on reading; an I/O error stops the relay; a fault undoes everything."""

import asyncio
import errno
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from pli_protocol.relay import frames as f
from pli_server import folder as folders
from pli_server import process, settings
from pli_server.errors import Refusal
from pli_server.settings_file import template
from pli_server.storage.transaction import Transaction

from .conftest import Server
from .databases import SQLITE
from .people import TestEstablishment, mls
from .raw_client import RawClient, Refused
from .team import joins, team


def writing_connection(server: Server) -> sqlite3.Connection:
    lane = server.relay.writer._committer._lane
    connection = lane.run(lambda db: db.connection.driver_connection)
    assert isinstance(connection, sqlite3.Connection)
    return connection


@pytest.mark.parametrize("engine", [SQLITE])
async def test_a_full_disk_refuses_writes_keeps_reading_and_recovers(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    first = os.urandom(16)
    held = await a.client.sends(mls(group.group, 1), send_id=first)
    connection = writing_connection(server)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    refused, accepted, previous = None, [first], first
    for _ in range(50):
        send_id = os.urandom(16)
        try:
            await a.client.sends(mls(group.group, 1, body=bytes(40_000)), previous, send_id=send_id)
        except Refused as error:
            refused = error.frame
            break
        previous = send_id
        accepted.append(send_id)
    assert refused is not None
    assert refused.code == "try-later"
    assert refused.retry_after is not None
    rows = await a.client.ask(f.Fetch(a.client.rid(), group.group, 1, 1))
    assert rows.rows[0].send_id == first
    assert rows.last == len(accepted) + 1
    connection.execute("PRAGMA max_page_count = 1000000")
    # The same send again, to the answer of a row that was never stored before.
    after = await a.client.sends(mls(group.group, 1, body=bytes(40_000)), previous, send_id=send_id)
    assert after.position.seq == len(accepted) + 2
    assert held.position.seq == 2
    seqs = [(await b.client.push(f.Row)).position.seq for _ in range(len(accepted) + 1)]
    assert seqs == list(range(2, len(accepted) + 3))


async def test_a_full_disk_for_a_blob_is_try_later(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    frame = f.PutBlob(a.client.rid(), os.urandom(32), 0, 3, b"abc")
    with monkeypatch.context() as patch:
        patch.setattr("pli_server.storage.blobs.os.fsync", full)
        with pytest.raises(Refused, match="try-later"):
            await a.client.ask(frame)
    await a.client.ask(f.PutBlob(a.client.rid(), frame.blob, 0, 3, b"abc"))
    assert (await a.client.ask(f.GetBlob(a.client.rid(), frame.blob, 0))).data == b"abc"


class BrokenDisk(sqlite3.OperationalError):
    """What SQLite raises when a flush fails."""

    sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    sqlite_errorname = "SQLITE_IOERR_FSYNC"


async def test_an_io_error_stops_the_relay_without_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "relay"
    code = folders.make(folder, template("relay.test", "127.0.0.1:0"))
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        process.serve(folder, settings.load(folder), url.set_result, asyncio.Event())
    )
    address = await url
    home = TestEstablishment()
    client = await RawClient.open(address)
    await client.register(home, code)
    await client.close()
    client = await RawClient.signed(address, home.person().device())

    def broken(self: Transaction) -> None:
        raise BrokenDisk("disk I/O error")

    monkeypatch.setattr(Transaction, "flush", broken)
    caplog.set_level(logging.CRITICAL, "pli_server")
    with pytest.raises(ConnectionClosed):
        await client.ask(f.PublishKeyPackages(client.rid(), (b"kp",)))
    assert await serving == 3
    assert "SQLITE_IOERR_FSYNC" in caplog.text
    assert "check the disk" in caplog.text
    await client.close()


async def test_a_fault_of_the_program_undoes_the_transaction_and_says_try_later(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)
    group = await team(a)

    def broken(self: Transaction, *arguments: Any) -> None:
        raise ValueError("a secret value")

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "sent", broken)
        with pytest.raises(Refused, match="try-later"):
            await group.says(a)
    accepted = await group.says(a)
    assert accepted.position.seq == 2


async def test_a_faulty_request_is_undone_alone(
    server: Server, home: TestEstablishment, caplog: pytest.LogCaptureFixture
) -> None:
    a = await joins(server, home)
    group = await team(a)

    def faulty(tx: Transaction) -> None:
        tx.connection.exec_driver_sql("UPDATE groups SET epoch = 77")
        tx.connection.exec_driver_sql("SELECT no_such_column FROM groups")

    work = asyncio.ensure_future(server.relay.writer.do("sweep", faulty))
    accepted = await group.says(a)
    with pytest.raises(Refusal, match="try-later"):
        await work
    assert accepted.position.seq == 2
    assert (await a.client.ask(f.GetGroups(a.client.rid()))).groups[0].epoch == 1
    assert "no_such_column" not in caplog.text


async def test_one_refused_request_does_not_undo_its_neighbours(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    group = await team(a)
    good, bad = os.urandom(16), os.urandom(16)
    client = a.client
    begun = [
        await client.begin(f.Send(client.rid(), good, None, mls(group.group, 1))),
        await client.begin(f.Send(client.rid(), bad, bad, mls(group.group, 1))),
        await client.begin(f.CreateGroup(client.rid(), group.group, bad, mls(group.group, 0, 3))),
        await client.begin(f.PublishKeyPackages(client.rid(), (b"kp",))),
        await client.begin(f.Send(client.rid(), bad, good, mls(group.group, 1))),
    ]
    outcomes = await asyncio.gather(*begun, return_exceptions=True)
    kinds = [o.code if isinstance(o, Refused) else type(o).__name__ for o in outcomes]
    assert kinds == ["Accepted", "predecessor-missing", "roster", "Done", "Accepted"]


async def test_too_much_waiting_for_the_disk_is_refused(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.relay.writer, "_limit", -1)
    client = await server.open()
    with pytest.raises(Refused, match="try-later"):
        await client.sign_in(home.person().device())
    with pytest.raises(Refusal):
        server.relay.writer.post("sweep", lambda tx: None)
