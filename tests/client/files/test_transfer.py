"""Up and down by parts: order, resumption, and a relay that holds something else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pli_client.connection import Requests
from pli_client.connection.requests import Unanswered
from pli_client.errors import FileDamaged, Offline, PliError, RelayRefused
from pli_client.files import download, seal, unseal, upload
from pli_client.files.transfer import AT_ONCE
from pli_protocol.relay.codec import decode_client_frame, decode_relay_frame, encode
from pli_protocol.relay.frames import (
    BLOB_PART,
    BlobPart,
    ClientFrame,
    Done,
    GetBlob,
    GetUpload,
    PutBlob,
    RelayFrame,
    Request,
    Upload,
)

BLOB = b"b" * 32


class Blobs(Requests):
    """The blob part of a relay, in memory; every frame passes through the codec."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}
        self.told: int | None = None
        """What it says that it holds; None: the truth."""
        self.puts: list[int] = []
        self.gets: list[int] = []
        self.fail: Callable[[Request], PliError | None] = lambda _: None
        self.under_way = 0
        self.most_under_way = 0

    async def _ask(self, frame: Request, timeout: float) -> RelayFrame:
        failure = self.fail(frame)
        if failure is not None:
            raise failure
        heard = decode_client_frame(encode(frame))  # type: ignore[arg-type]
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return decode_relay_frame(encode(self._answer(heard)))
        finally:
            self.under_way -= 1

    def _answer(self, frame: ClientFrame) -> RelayFrame:
        match frame:
            case GetUpload():
                if frame.blob not in self.held:
                    raise RelayRefused("not-found")
                return Upload(0, self.told if self.told is not None else len(self.held[BLOB]))
            case PutBlob():
                held = self.held.get(frame.blob, b"")
                if frame.offset > len(held):
                    raise RelayRefused("invalid")
                self.puts.append(frame.offset)
                if frame.offset == len(held):
                    self.held[frame.blob] = held + frame.data
                assert len(self.held[frame.blob]) <= frame.size
                return Done(0)
            case GetBlob():
                self.gets.append(frame.offset)
                data = self.held[frame.blob]
                return BlobPart(0, len(data), data[frame.offset : frame.offset + BLOB_PART])
            case _:
                raise AssertionError(frame)

    async def send(self, frame: Unanswered) -> None:
        raise AssertionError(frame)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "sealed"
    path.write_bytes(bytes(n % 251 for n in range(10 * BLOB_PART + 5)))
    return path


async def test_a_blob_arrives_whole_part_after_part(sealed: Path) -> None:
    relay, told = Blobs(), list[tuple[int, int]]()
    await upload(relay, BLOB, sealed, progress=lambda *done: told.append(done))
    content = sealed.read_bytes()
    assert relay.held[BLOB] == content
    assert relay.puts == sorted(relay.puts)
    assert [done for done, _ in told] == [min(n * BLOB_PART, len(content)) for n in range(1, 12)]
    assert {total for _, total in told} == {len(content)}


def lost_after(parts: int) -> Callable[[Request], PliError | None]:
    count = 0

    def fail(_frame: Request) -> PliError | None:
        nonlocal count
        count += 1
        return Offline("lost") if count > parts else None

    return fail


async def test_an_upload_goes_on_at_the_part_the_relay_holds(sealed: Path) -> None:
    relay, told = Blobs(), list[int]()
    relay.fail = lost_after(7)  # the first question, and six parts
    with pytest.raises(Offline):
        await upload(relay, BLOB, sealed, progress=lambda done, _: told.append(done))
    assert 0 < told[-1] <= 6 * BLOB_PART
    relay.fail, before = lambda _: None, len(relay.puts)
    await upload(relay, BLOB, sealed, progress=lambda done, _: told.append(done))
    assert relay.held[BLOB] == sealed.read_bytes()
    assert relay.puts[before] == 6 * BLOB_PART
    assert len(relay.puts) == 11
    assert told[-1] == len(sealed.read_bytes())


@pytest.mark.parametrize("told", [5 * BLOB_PART, 7, 10**12])
async def test_an_upload_begins_anew_where_the_relay_does_not_hold_what_it_says(
    sealed: Path, told: int
) -> None:
    relay = Blobs()
    relay.held[BLOB], relay.told = b"", told
    await upload(relay, BLOB, sealed)
    assert relay.held[BLOB] == sealed.read_bytes()


async def test_an_upload_that_is_stopped_by_its_progress_sends_no_more(sealed: Path) -> None:
    class Stopped(Exception):
        pass

    def progress(done: int, _total: int) -> None:
        if done == 3 * BLOB_PART:
            raise Stopped

    relay = Blobs()
    with pytest.raises(Stopped):
        await upload(relay, BLOB, sealed, progress=progress)
    assert len(relay.puts) <= 3 + AT_ONCE


async def test_an_upload_that_is_complete_may_be_repeated(sealed: Path) -> None:
    relay = Blobs()
    for _ in range(3):
        await upload(relay, BLOB, sealed)
    assert relay.held[BLOB] == sealed.read_bytes()
    assert len(relay.puts) == 11


@pytest.mark.parametrize("refusal", ["try-later", "too-large", "limit"])
async def test_other_refusals_reach_the_caller(sealed: Path, refusal: str) -> None:
    relay = Blobs()
    relay.fail = lambda _: RelayRefused(refusal, retry_after=5)
    with pytest.raises(RelayRefused) as refused:
        await upload(relay, BLOB, sealed)
    assert refused.value.retry_after == 5


async def test_only_a_few_parts_are_on_their_way_at_once(sealed: Path) -> None:
    relay = Blobs()
    await upload(relay, BLOB, sealed)
    assert relay.most_under_way <= AT_ONCE


async def test_a_download_goes_on_after_what_is_here(sealed: Path, tmp_path: Path) -> None:
    relay = Blobs()
    content = relay.held[BLOB] = sealed.read_bytes()
    target = tmp_path / "target"
    relay.fail = lost_after(3)
    with pytest.raises(Offline):
        await download(relay, BLOB, len(content), target, name="x")
    assert target.read_bytes() == content[: 3 * BLOB_PART]
    relay.fail, relay.gets = lambda _: None, []
    await download(relay, BLOB, len(content), target, name="x")
    assert target.read_bytes() == content
    assert relay.gets[0] == 3 * BLOB_PART
    # All of it is here: the relay is not asked again.
    relay.gets = []
    await download(relay, BLOB, len(content), target, name="x")
    assert relay.gets == []


@pytest.mark.parametrize("difference", [-1, 1, 10**12])
async def test_another_size_than_announced_is_not_fetched(
    sealed: Path, tmp_path: Path, difference: int
) -> None:
    relay = Blobs()
    content = relay.held[BLOB] = sealed.read_bytes()
    size = len(content) + difference
    with pytest.raises(FileDamaged):
        await download(relay, BLOB, size, tmp_path / "target", name="x")
    assert (tmp_path / "target").read_bytes() == b""


@pytest.mark.parametrize("data", [b"", bytes(BLOB_PART)])
async def test_parts_that_are_empty_or_too_long_are_not_kept(tmp_path: Path, data: bytes) -> None:
    class Hostile(Blobs):
        def _answer(self, frame: ClientFrame) -> RelayFrame:
            return BlobPart(0, 100, data)

    with pytest.raises(FileDamaged):
        await download(Hostile(), BLOB, 100, tmp_path / "target", name="x")


async def test_a_file_goes_all_the_way(tmp_path: Path) -> None:
    source = tmp_path / "plaie.jpg"
    source.write_bytes(bytes(range(256)) * 1000)
    told = seal(source, tmp_path / "out")
    relay = Blobs()
    await upload(relay, BLOB, tmp_path / "out")
    await download(relay, BLOB, told.sealed_size, tmp_path / "in", name="plaie.jpg")
    folder = tmp_path / "inbox"
    folder.mkdir()
    assert unseal(tmp_path / "in", "plaie.jpg", told, folder).read_bytes() == source.read_bytes()
