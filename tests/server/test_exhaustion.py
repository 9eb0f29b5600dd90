"""What a hostile client tries to make grow, or to make others wait for: each has its bound."""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from pli_protocol.identity import DeviceRevocation, sign
from pli_protocol.relay import frames as f
from pli_server.errors import Refusal, StorageFailed
from pli_server.storage.blobs import BlobFolder

from .conftest import Server
from .people import NOW, TestEstablishment, commit
from .raw_client import RawClient, Refused
from .team import joins, team


async def code_of(asking: Awaitable[Any]) -> str:
    with pytest.raises(Refused) as refused:
        await asking
    return refused.value.code


async def put(client: RawClient, data: bytes) -> bytes:
    blob = os.urandom(32)
    for offset in range(0, len(data), f.BLOB_PART):
        part = data[offset : offset + f.BLOB_PART]
        await client.ask(f.PutBlob(client.rid(), blob, offset, len(data), part))
    return blob


# --- blobs ------------------------------------------------------------------------------------


def test_of_a_blob_that_a_payload_names_no_more_than_it_says_is_read(tmp_path: Path) -> None:
    folder = BlobFolder(tmp_path)
    blob, data = os.urandom(32), bytes(10_000)
    folder.put(blob, 0, data)
    folder.place(blob, len(data))
    reads: list[int] = []
    opened = Path.open

    class Watched:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> "Watched":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def read(self, size: int = -1) -> bytes:
            got: bytes = self._file.read(size)
            reads.append(len(got))
            return got

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: Watched(opened(self, mode)))
        with pytest.raises(Refusal, match="invalid"):
            folder.read_checked(f.BlobRef(blob, 10, hashlib.sha256(data).digest()), 100)
        with pytest.raises(Refusal, match="too-large"):
            folder.read_checked(f.BlobRef(blob, 10_000, hashlib.sha256(data).digest()), 100)
    assert reads == [11]
    folder.close()


async def test_a_statement_in_a_blob_is_for_issuers(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    statement = sign(
        DeviceRevocation(home.id, a.person.person_id, os.urandom(16), "lost", NOW),
        a.person.identity,
        (a.person.certificate, home.issuer),
    )
    blob = await put(a.client, statement)
    reference = f.BlobRef(blob, len(statement), hashlib.sha256(statement).digest())
    asked = f.PublishRevocations(a.client.rid(), reference)
    assert await code_of(a.client.ask(asked)) == "invalid"
    await a.client.ask(f.PublishRevocations(a.client.rid(), statement))


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.EIO, StorageFailed), (errno.ENOSPC, Refusal)]
)
def test_a_part_that_was_not_flushed_is_not_held(
    tmp_path: Path, code: int, expected: type[Exception]
) -> None:
    folder, blob = BlobFolder(tmp_path), os.urandom(32)
    folder.put(blob, 0, b"first")

    def failing(_: int) -> None:
        raise OSError(code, "no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(expected):
            folder.put(blob, 5, b"second")
    assert (tmp_path / "blobs" / "uploads" / blob.hex()).read_bytes() == b"first"
    folder.close()


def test_a_part_that_is_held_is_flushed_before_it_is_answered_again(tmp_path: Path) -> None:
    folder, blob = BlobFolder(tmp_path), os.urandom(32)
    # As a killed process leaves it: written, perhaps in the system's memory only.
    (tmp_path / "blobs" / "uploads" / blob.hex()).write_bytes(b"first")
    flushed: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", flushed.append)
        assert folder.put(blob, 0, b"first") == 5
    assert len(flushed) == 1
    folder.close()


def test_the_same_part_from_two_connections_is_stored_once(tmp_path: Path) -> None:
    folder, blob = BlobFolder(tmp_path), os.urandom(32)
    both = threading.Barrier(2, timeout=5)
    flush = os.fsync

    def slow(descriptor: int) -> None:
        # The first one waits here for the second, which must not have written meanwhile.
        try:
            both.wait(0.2)
        except threading.BrokenBarrierError:
            both.reset()
        flush(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", slow)
        threads = [threading.Thread(target=folder.put, args=(blob, 0, b"part")) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (tmp_path / "blobs" / "uploads" / blob.hex()).read_bytes() == b"part"
    folder.close()


def test_a_part_of_a_blob_in_place_changes_nothing(tmp_path: Path) -> None:
    """As after a crash between the two: in place, but not noted as complete."""
    folder, blob = BlobFolder(tmp_path), os.urandom(32)
    folder.put(blob, 0, b"whole")
    folder.place(blob, 5)
    assert folder.put(blob, 3, b"le") == 5
    assert list((tmp_path / "blobs" / "uploads").iterdir()) == []
    folder.close()


async def test_a_blob_that_was_not_flushed_stops_the_relay(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)

    def failing(*_: object) -> int:
        raise StorageFailed

    monkeypatch.setattr(server.relay.blobs, "put", failing)
    with pytest.raises(ConnectionClosed):
        await a.client.ask(f.PutBlob(a.client.rid(), os.urandom(32), 0, 4, b"data"))
    async with asyncio.timeout(5):
        await server.relay.failed.wait()


async def test_a_request_of_a_connection_that_was_cut_meanwhile_is_not_carried_out(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)
    made = await team(a)
    blob_data = commit(made.group, 1)
    blob = await put(a.client, blob_data)
    reference = f.BlobRef(blob, len(blob_data), hashlib.sha256(blob_data).digest())
    reading, go_on = threading.Event(), threading.Event()
    read = server.relay.blobs.read_checked

    def slowly(*arguments: Any) -> bytes:
        reading.set()
        go_on.wait(5)
        return read(*arguments)

    monkeypatch.setattr(server.relay.blobs, "read_checked", slowly)
    await a.client.begin(f.Send(a.client.rid(), os.urandom(16), None, reference))
    await asyncio.to_thread(reading.wait, 5)
    other = await server.signed(a.device, a.client.signed_in.token)
    go_on.set()
    await a.client.wait_closed()
    state = (await other.ask(f.GetGroups(other.rid()))).groups[0]
    assert (state.epoch, state.last) == (1, 1)
