"""Blobs: parts in order, resumed after a cut, bounded; large commits and Welcomes."""

import hashlib
import os
from collections.abc import Awaitable, Callable

import pytest

from pli_protocol.relay import frames as f

from .conftest import Server
from .people import TestEstablishment, commit
from .raw_client import RawClient, Refused
from .team import joins


async def put(client: RawClient, blob: bytes, data: bytes, start: int = 0) -> None:
    for offset in range(start, len(data), f.BLOB_PART):
        part = data[offset : offset + f.BLOB_PART]
        await client.ask(f.PutBlob(client.rid(), blob, offset, len(data), part))


async def get(client: RawClient, blob: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        part = await client.ask(f.GetBlob(client.rid(), blob, sum(map(len, parts))))
        parts.append(part.data)
        if sum(map(len, parts)) >= part.size:
            return b"".join(parts)


async def code_of(awaitable: Awaitable[object]) -> str:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value.code


async def test_a_blob_comes_back_whole_to_anyone_who_knows_its_id(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    blob, data = os.urandom(32), os.urandom(200_000)
    await put(a.client, blob, data)
    assert await get(b.client, blob) == data
    await server.restart()
    again = await server.signed(b.device, b.client.signed_in.token)
    assert await get(again, blob) == data
    assert await code_of(again.ask(f.GetBlob(again.rid(), os.urandom(32), 0))) == "not-found"


async def test_an_upload_goes_on_after_a_restart_and_parts_held_are_answered_again(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    blob, data = os.urandom(32), os.urandom(3 * f.BLOB_PART)
    part = data[: f.BLOB_PART]
    await a.client.ask(f.PutBlob(a.client.rid(), blob, 0, len(data), part))
    assert await code_of(a.client.ask(f.GetBlob(a.client.rid(), blob, 0))) == "not-found"
    await server.restart()
    again = await server.signed(a.device, a.client.signed_in.token)
    await put(again, blob, data)
    await put(again, blob, data)
    assert await get(again, blob) == data


async def test_parts_out_of_order_beyond_the_size_or_of_another_account_are_refused(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    blob, part = os.urandom(32), f.BLOB_PART
    size = 3 * part
    c = a.client
    assert await code_of(c.ask(f.PutBlob(c.rid(), blob, part, size, bytes(part)))) == "invalid"
    assert await code_of(c.ask(f.PutBlob(c.rid(), blob, 0, 100, bytes(101)))) == "invalid"
    await c.ask(f.PutBlob(c.rid(), blob, 0, size, bytes(part)))
    assert await code_of(c.ask(f.PutBlob(c.rid(), blob, part, size - 1, bytes(part)))) == "conflict"
    other = b.client
    theirs = f.PutBlob(other.rid(), blob, part, size, bytes(part))
    assert await code_of(other.ask(theirs)) == "not-found"


async def test_each_part_but_the_last_has_the_one_size(
    server: Server, home: TestEstablishment
) -> None:
    c = (await joins(server, home)).client
    blob, part = os.urandom(32), f.BLOB_PART
    for offset, data in ((0, bytes(part - 1)), (10, bytes(part))):
        frame = f.PutBlob(c.rid(), blob, offset, 2 * part + 10, data)
        assert await code_of(c.ask(frame)) == "invalid"
    await put(c, blob, bytes(part + 1))


async def test_an_upload_is_told_where_to_go_on(server: Server, home: TestEstablishment) -> None:
    a, b = await joins(server, home), await joins(server, home)
    c, blob, part = a.client, os.urandom(32), f.BLOB_PART
    size = 2 * part + 5

    async def held() -> int:
        return int((await c.ask(f.GetUpload(c.rid(), blob))).held)

    assert await code_of(c.ask(f.GetUpload(c.rid(), blob))) == "not-found"
    for offset in (0, part):
        await c.ask(f.PutBlob(c.rid(), blob, offset, size, bytes(part)))
        assert await held() == offset + part
    assert await code_of(b.client.ask(f.GetUpload(b.client.rid(), blob))) == "not-found"
    # A part that was torn by a crash does not count, nor does the last one before it is in place.
    path = server.folder / "blobs" / "uploads" / blob.hex()
    path.write_bytes(bytes(part + 7))
    assert await held() == part
    path.write_bytes(bytes(size))
    assert await held() == 2 * part
    await c.ask(f.PutBlob(c.rid(), blob, 2 * part, size, bytes(5)))
    assert await held() == size


async def test_a_torn_part_is_written_again(server: Server, home: TestEstablishment) -> None:
    a = await joins(server, home)
    blob, data = os.urandom(32), os.urandom(2 * f.BLOB_PART)
    await a.client.ask(f.PutBlob(a.client.rid(), blob, 0, len(data), data[: f.BLOB_PART]))
    upload = server.folder / "blobs" / "uploads" / blob.hex()
    with upload.open("ab") as file:
        file.write(b"half a part")
    await put(a.client, blob, data, f.BLOB_PART)
    assert await get(a.client, blob) == data


async def test_sizes_and_uploads_are_bounded(limited: Callable[..., Awaitable[Server]]) -> None:
    server = await limited(
        blob_bytes=50_000, blob_bytes_per_account=70_000, open_uploads_per_account=1
    )
    home = TestEstablishment()
    await server.establish(home, server.code)
    c = (await joins(server, home)).client
    huge = f.PutBlob(c.rid(), os.urandom(32), 0, 50_001, bytes(f.BLOB_PART))
    assert await code_of(c.ask(huge)) == "too-large"
    first = os.urandom(32)
    await c.ask(f.PutBlob(c.rid(), first, 0, 50_000, bytes(f.BLOB_PART)))
    assert await code_of(c.ask(f.PutBlob(c.rid(), os.urandom(32), 0, 1, b"x"))) == "limit"
    await put(c, first, bytes(50_000), f.BLOB_PART)
    # No upload is open any more, but each blob counts for 64 KiB at least.
    assert await code_of(c.ask(f.PutBlob(c.rid(), os.urandom(32), 0, 1, b"x"))) == "limit"


def reference(blob: bytes, data: bytes) -> f.BlobRef:
    return f.BlobRef(blob, len(data), hashlib.sha256(data).digest())


async def test_a_large_commit_and_its_welcome_go_up_as_blobs(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = os.urandom(16)
    message = commit(group, 0, (b.id,), body=bytes(100_000))
    welcome = os.urandom(70_000)
    blobs = os.urandom(32), os.urandom(32)
    for blob, data in zip(blobs, (message, welcome), strict=True):
        await put(a.client, blob, data)
    refs = reference(blobs[0], message), reference(blobs[1], welcome)
    accepted = await a.client.ask(
        f.CreateGroup(a.client.rid(), group, os.urandom(16), refs[0], refs[1])
    )
    assert accepted.position.seq == 1
    row = await a.client.push(f.Row)
    assert row.message == refs[0]
    waiting = await b.client.push(f.WelcomeWaiting)
    assert waiting.welcome == refs[1]
    assert await get(b.client, blobs[1]) == welcome


async def test_a_blob_that_is_missing_or_another_is_refused(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    group = os.urandom(16)
    message = commit(group, 0, body=bytes(100_000))
    blob = os.urandom(32)
    await put(a.client, blob, message)
    good = reference(blob, message)
    for wrong in (
        f.BlobRef(os.urandom(32), good.size, good.sha256),
        f.BlobRef(blob, good.size + 1, good.sha256),
        f.BlobRef(blob, good.size, bytes(32)),
    ):
        frame = f.CreateGroup(a.client.rid(), group, os.urandom(16), wrong)
        assert await code_of(a.client.ask(frame)) == "invalid"
    huge = f.BlobRef(blob, 2**40, good.sha256)
    frame = f.CreateGroup(a.client.rid(), group, os.urandom(16), huge)
    assert await code_of(a.client.ask(frame)) == "too-large"
