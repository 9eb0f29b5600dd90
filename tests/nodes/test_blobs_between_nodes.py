"""A file that goes up through one node and then the other, into one bucket; a bucket that is full."""

import asyncio
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pli_protocol.relay import frames as f
from pli_server.errors import Refusal
from pli_server.settings import Blobs
from pli_server.storage.bucket import BlobBucket
from tests.server.databases import drop_folder
from tests.server.people import TestEstablishment
from tests.server.raw_client import RawClient
from tests.server.team import joins
from tests.server.test_bucket import S3

from .conftest import two


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


async def put(client: RawClient, blob: bytes, data: bytes, start: int, end: int) -> None:
    for offset in range(start, end, f.BLOB_PART):
        part = data[offset : offset + f.BLOB_PART]
        await client.ask(f.PutBlob(client.rid(), blob, offset, len(data), part))


@pytest.mark.needs_postgresql
async def test_an_upload_goes_on_at_another_node_and_is_read_from_both(
    tmp_path: Path, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = S3(tmp_path / "s3.log")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    await asyncio.to_thread(s3.start)
    nodes = two(tmp_path, blobs=Blobs(url="s3://pli/blobs"))
    await nodes.start()
    home = TestEstablishment()
    await nodes.a.establish(home, nodes.a.code)
    anne, bruno = await joins(nodes.a, home), await joins(nodes.b, home, "Bruno Petit")
    blob, data = os.urandom(32), os.urandom(70 * f.BLOB_PART + 5)
    await put(anne.client, blob, data, 0, 40 * f.BLOB_PART)
    again = await nodes.b.signed(anne.device, anne.client.signed_in.token)
    await put(again, blob, data, 40 * f.BLOB_PART, len(data))
    for client in (bruno.client, again):
        found = b""
        while len(found) < len(data):
            found += (await client.ask(f.GetBlob(client.rid(), blob, len(found)))).data
        assert found == data
    await nodes.stop()
    drop_folder(nodes.a.folder)
    s3.kill()


class Full(http.server.BaseHTTPRequestHandler):
    """A bucket in which nothing finds room."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(507)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The test prints nothing."""


@pytest.fixture
def full_bucket(keys: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobBucket]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Full) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        made = BlobBucket("s3://pli/blobs")
        yield made
        made.close()
        server.shutdown()


def test_a_full_bucket_is_try_later(full_bucket: BlobBucket) -> None:
    with pytest.raises(Refusal, match="try-later") as caught:
        full_bucket.put(os.urandom(32), 0, 3, b"abc")
    assert caught.value.retry_after
