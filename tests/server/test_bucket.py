"""Blobs in an S3 bucket: a real server process on loopback, several stores as several nodes."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pli_protocol.relay.frames import BLOB_PART, BlobRef
from pli_server.errors import OperatorError, Refusal
from pli_server.storage.bucket import SEGMENT, BlobBucket

LIMIT = 64 * 1024 * 1024


class S3:
    """moto's server, a process of its own."""

    def __init__(self, log: Path) -> None:
        from tests.system.relay_process import free_port

        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._store().create_bucket(Bucket="pli")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def objects(self) -> list[str]:
        found = self._store().list_objects_v2(Bucket="pli")
        return [item["Key"] for item in found.get("Contents", ())]

    def _store(self):  # type: ignore[no-untyped-def]
        import boto3
        from botocore.config import Config

        # It tries again until the process listens.
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            config=Config(retries={"max_attempts": 12, "mode": "standard"}),
        )


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield


@pytest.fixture(scope="module")
def server(environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    made = S3(tmp_path_factory.mktemp("s3") / "log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", made.url)
        made.start()
        yield made
        made.kill()


@pytest.fixture
def node(server: S3) -> Iterator[BlobBucket]:
    made = BlobBucket("s3://pli/test")
    yield made
    made.close()


@pytest.fixture
def other(server: S3) -> Iterator[BlobBucket]:
    made = BlobBucket("s3://pli/test")
    yield made
    made.close()


def upload(nodes: tuple[BlobBucket, ...], blob: bytes, data: bytes, start: int = 0) -> None:
    """Its parts to these nodes in turn, each of them answered, the last one put in place."""
    held = start
    for offset in range(start, len(data), BLOB_PART):
        part = data[offset : offset + BLOB_PART]
        node = nodes[offset // BLOB_PART % len(nodes)]
        held = node.put(blob, offset, len(data), part)
        assert held >= offset + len(part)
    assert held == len(data)
    node.place(blob, len(data))


def download(node: BlobBucket, blob: bytes, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += node.get(blob, len(data), size)
    return data


def reference(blob: bytes, data: bytes) -> BlobRef:
    return BlobRef(blob, len(data), hashlib.sha256(data).digest())


@pytest.mark.parametrize(
    "size", [1, BLOB_PART, BLOB_PART + 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 3 * BLOB_PART + 7]
)
def test_a_blob_that_went_up_through_two_nodes_is_read_from_both_and_leaves_no_parts(
    server: S3, node: BlobBucket, other: BlobBucket, size: int
) -> None:
    blob, data = os.urandom(32), os.urandom(size)
    upload((node, other), blob, data)
    assert download(node, blob, size) == data
    assert other.read_checked(reference(blob, data), LIMIT) == data
    assert not [key for key in server.objects() if blob.hex() in key and "uploads" in key]
    node.remove(blob)
    assert not [key for key in server.objects() if blob.hex() in key]
    with pytest.raises(Refusal, match="not-found"):
        other.get(blob, 0, size)


def test_every_part_may_come_again_at_any_node_and_after_the_blob_is_in_place(
    node: BlobBucket, other: BlobBucket
) -> None:
    blob, data = os.urandom(32), os.urandom(SEGMENT + 2 * BLOB_PART)
    for offset in range(0, len(data), BLOB_PART):
        part = data[offset : offset + BLOB_PART]
        for each in (node, other, node):
            assert each.put(blob, offset, len(data), part) >= offset + len(part)
    node.place(blob, len(data))
    other.place(blob, len(data))
    # The node was killed before the database knew: the last part comes again, or all of them do.
    assert other.put(blob, SEGMENT + BLOB_PART, len(data), data[-BLOB_PART:]) == len(data)
    other.place(blob, len(data))
    upload((node, other), blob, data)
    assert download(other, blob, len(data)) == data


def test_an_upload_goes_on_where_the_bucket_says(node: BlobBucket, other: BlobBucket) -> None:
    blob, size = os.urandom(32), SEGMENT + 3 * BLOB_PART + 1
    assert node.held(blob, size) == 0
    for offset in range(0, size - 1, BLOB_PART):
        node.put(blob, offset, size, bytes(min(BLOB_PART, size - offset)))
        assert other.held(blob, size) == offset + BLOB_PART
    node.put(blob, size - 1, size, b"x")
    node.place(blob, size)
    assert other.held(blob, size) == size - 1


def test_a_part_without_the_one_before_it_is_refused(node: BlobBucket) -> None:
    blob, size = os.urandom(32), SEGMENT + 2 * BLOB_PART
    for offset in (BLOB_PART, SEGMENT, SEGMENT + BLOB_PART):
        with pytest.raises(Refusal, match="invalid"):
            node.put(blob, offset, size, bytes(BLOB_PART))


def test_a_payload_is_read_only_whole_and_as_its_reference_says(node: BlobBucket) -> None:
    blob, data = os.urandom(32), os.urandom(SEGMENT + BLOB_PART)
    first = data[:SEGMENT]
    for offset in range(0, SEGMENT, BLOB_PART):
        node.put(blob, offset, len(data), data[offset : offset + BLOB_PART])
    for wanted in (first, data):
        # A segment is there, but no blob ends with it.
        with pytest.raises(Refusal, match="invalid"):
            node.read_checked(reference(blob, wanted), LIMIT)
    upload((node,), blob, data, SEGMENT)
    assert node.read_checked(reference(blob, data), LIMIT) == data
    with pytest.raises(Refusal, match="invalid"):
        node.read_checked(BlobRef(blob, len(data), bytes(32)), LIMIT)
    with pytest.raises(Refusal, match="too-large"):
        node.read_checked(reference(blob, data), len(data) - 1)


def test_a_bucket_that_is_not_there_refuses_for_now_and_tells_the_log_no_secret(
    node: BlobBucket, caplog: pytest.LogCaptureFixture
) -> None:
    missing = BlobBucket("s3://nothing-here/test")
    with pytest.raises(Refusal, match="try-later"):
        missing.put(os.urandom(32), 0, 1, b"x")
    missing.close()
    assert "bucket" in caplog.text
    assert "secret-of-the-test" not in caplog.text
    assert "key-of-the-test" not in caplog.text


def test_a_server_that_dies_refuses_for_now_and_the_upload_goes_on_when_it_is_back(
    environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = S3(tmp_path / "log")
    monkeypatch.setenv("AWS_ENDPOINT_URL", dying.url)
    dying.start()
    node = BlobBucket("s3://pli/test")
    blob, data = os.urandom(32), os.urandom(2 * BLOB_PART)
    node.put(blob, 0, len(data), data[:BLOB_PART])
    dying.kill()
    with pytest.raises(Refusal, match="try-later"):
        node.put(blob, BLOB_PART, len(data), data[BLOB_PART:])
    dying.start()  # empty: as a bucket that lost the upload
    with pytest.raises(Refusal, match="invalid"):
        node.put(blob, BLOB_PART, len(data), data[BLOB_PART:])
    upload((node,), blob, data)
    assert download(node, blob, len(data)) == data
    node.close()
    dying.kill()


def test_an_address_that_is_no_buckets_is_told_without_what_it_holds() -> None:
    with pytest.raises(OperatorError) as caught:
        BlobBucket("s3://")
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
