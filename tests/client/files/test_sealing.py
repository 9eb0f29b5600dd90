"""Sealed files: what goes in comes out, and nothing else ever does."""

import errno
import hashlib
import os
import stat
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_client.errors import DiskFull, FileDamaged, FileTooLarge, FileUnreadable, FileUnwritable
from pli_client.files import CHUNK_SIZE, SealedFile, padded_size, seal, sealed_size, unseal
from pli_client.files.sealing import LARGEST, SMALLEST
from pli_protocol.content import FilePart

SIZES = [0, 1, SMALLEST - 1, SMALLEST, SMALLEST + 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1]
SIZES += [2 * CHUNK_SIZE, 2 * CHUNK_SIZE + 1, 3 * CHUNK_SIZE - 100, 1_000_003]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def sealed_sample(tmp_path: Path, size: int) -> tuple[bytes, Path, SealedFile]:
    content = os.urandom(size)
    source = tmp_path / "source"
    source.write_bytes(content)
    sealed = tmp_path / "sealed"
    sealed.unlink(missing_ok=True)
    return content, sealed, seal(source, sealed)


@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out(tmp_path: Path, inbox: Path, size: int) -> None:
    content, sealed, told = sealed_sample(tmp_path, size)
    assert (told.size, told.sha256) == (size, hashlib.sha256(content).digest())
    assert sealed.stat().st_size == told.sealed_size == sealed_size(size)
    path = unseal(sealed, "Plan.pdf", told, inbox)
    assert path == inbox / "Plan.pdf"
    assert path.read_bytes() == content
    assert list(inbox.iterdir()) == [path]


@given(st.integers(min_value=0, max_value=2**40))
def test_padding_is_bounded_and_hides_the_size(size: int) -> None:
    padded = padded_size(size)
    assert padded >= max(size, SMALLEST)
    assert padded == SMALLEST or padded - size < size / 16
    assert padded_size(padded) == padded


def test_sizes_fall_into_few_classes() -> None:
    assert len({padded_size(size) for size in range(1, 1_000_000, 7)}) < 400


def test_the_ciphertext_holds_nothing_of_the_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"Mme Perrin, chambre 12. " * 10_000)
    seal(source, tmp_path / "a")
    seal(source, tmp_path / "b")
    one, two = (tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()
    assert b"Perrin" not in one
    assert one[:1000] != two[:1000]


@pytest.mark.parametrize("size", [100, CHUNK_SIZE + 1, 3 * CHUNK_SIZE])
@pytest.mark.parametrize("where", ["header", "first", "middle", "last"])
def test_a_changed_byte_is_damage_and_leaves_nothing(
    tmp_path: Path, inbox: Path, size: int, where: str
) -> None:
    _, sealed, told = sealed_sample(tmp_path, size)
    data = bytearray(sealed.read_bytes())
    data[{"header": 3, "first": 24, "middle": len(data) // 2, "last": -1}[where]] ^= 1
    sealed.write_bytes(data)
    with pytest.raises(FileDamaged):
        unseal(sealed, "x", told, inbox)
    assert list(inbox.iterdir()) == []


def test_chunks_cannot_be_cut_off_repeated_or_moved(tmp_path: Path, inbox: Path) -> None:
    _, sealed, told = sealed_sample(tmp_path, 4 * CHUNK_SIZE)
    data, chunk = sealed.read_bytes(), CHUNK_SIZE + 17
    header, chunks = data[:24], [data[i : i + chunk] for i in range(24, len(data), chunk)]
    for wrong in (
        chunks[:-1],
        chunks[:-1] + chunks[-2:-1],
        [chunks[1], chunks[0], *chunks[2:]],
        [*chunks, chunks[-1]],
        [],
    ):
        sealed.write_bytes(header + b"".join(wrong))
        with pytest.raises(FileDamaged):
            unseal(sealed, "x", told, inbox)
        # Nor where the announced size agrees with the shortened file.
        size = max(len(wrong), 1) * CHUNK_SIZE
        agreed = SealedFile(told.key, size, told.sha256, sealed_size(size))
        with pytest.raises(FileDamaged):
            unseal(sealed, "x", agreed, inbox)
    assert list(inbox.iterdir()) == []


def test_another_hash_size_or_key_than_announced_is_damage(tmp_path: Path, inbox: Path) -> None:
    _, sealed, told = sealed_sample(tmp_path, 2000)
    for wrong in (
        SealedFile(told.key, told.size, bytes(32), told.sealed_size),
        SealedFile(told.key, told.size - 1, told.sha256, told.sealed_size),
        SealedFile(type(told.key)(bytes(32)), told.size, told.sha256, told.sealed_size),
        SealedFile(told.key, told.size, told.sha256, told.sealed_size, 1000),
    ):
        with pytest.raises(FileDamaged):
            unseal(sealed, "x", wrong, inbox)
    assert list(inbox.iterdir()) == []


def part(told: SealedFile, **changes: object) -> FilePart:
    plain = FilePart(
        name="plan.pdf",
        mime="application/pdf",
        size=told.size,
        sha256=told.sha256,
        blob=bytes(32),
        key=bytes(told.key),
        chunk_size=told.chunk_size,
        blob_size=told.sealed_size,
    )
    return msgspec.structs.replace(plain, **changes)


def test_what_a_sender_announces_must_agree_with_itself(tmp_path: Path) -> None:
    _, _, told = sealed_sample(tmp_path, 5000)
    assert SealedFile.announced(part(told)) == told
    assert SealedFile.announced(part(told, blob_size=0)) == told
    with pytest.raises(FileDamaged):
        SealedFile.announced(part(told, blob_size=told.sealed_size + 1))


def test_no_file_is_ever_overwritten(tmp_path: Path, inbox: Path) -> None:
    _, sealed, told = sealed_sample(tmp_path, 10)
    (inbox / "plan.pdf").write_bytes(b"mine")
    (inbox / "plan (2).pdf").symlink_to(tmp_path / "elsewhere")
    assert unseal(sealed, "plan.pdf", told, inbox).name == "plan (3).pdf"
    assert unseal(sealed, "plan.pdf", told, inbox).name == "plan (4).pdf"
    assert (inbox / "plan.pdf").read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()


def test_no_file_is_overwritten_where_there_are_no_hard_links(
    tmp_path: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_args: object, **_options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    content, sealed, told = sealed_sample(tmp_path, 10)
    (inbox / "plan.pdf").write_bytes(b"mine")
    path = unseal(sealed, "plan.pdf", told, inbox)
    assert (path.name, path.read_bytes()) == ("plan (2).pdf", content)
    assert sorted(p.name for p in inbox.iterdir()) == ["plan (2).pdf", "plan.pdf"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has access lists instead of modes")
def test_only_the_owner_may_read_what_was_written(tmp_path: Path, inbox: Path) -> None:
    _, sealed, told = sealed_sample(tmp_path, 10)
    path = unseal(sealed, "plan.pdf", told, inbox)
    assert {stat.S_IMODE(p.stat().st_mode) for p in (sealed, path)} == {0o600}


def test_a_strangers_name_cannot_leave_the_folder(tmp_path: Path, inbox: Path) -> None:
    _, sealed, told = sealed_sample(tmp_path, 10)
    for name in ("../../x", "/tmp/x", "..\\x", "a\x00b/../x"):
        assert unseal(sealed, name, told, inbox).parent == inbox


def test_too_large_a_file_is_not_sealed(tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(2000))
    with pytest.raises(FileTooLarge):
        seal(source, tmp_path / "sealed", limit=1999)
    assert not (tmp_path / "sealed").exists()
    assert LARGEST > 10**8


@pytest.mark.parametrize("name", ["nothing", "folder"])
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileUnreadable):
        seal(tmp_path / name, tmp_path / "sealed")
    assert not (tmp_path / "sealed").exists()


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sealed, told = sealed_sample(tmp_path, 100_000)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        unseal(sealed, "x", told, inbox)
    with pytest.raises(DiskFull):
        seal(tmp_path / "source", inbox / "again")
    assert list(inbox.iterdir()) == []


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    _, sealed, told = sealed_sample(tmp_path, 10)
    saved = unseal(sealed, "x", told, tmp_path / "new" / "inbox")
    assert saved.parent == tmp_path / "new" / "inbox"
    assert saved.stat().st_size == 10


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    _, sealed, told = sealed_sample(tmp_path, 10)
    (tmp_path / "file").touch()
    with pytest.raises(FileUnwritable):
        unseal(sealed, "x", told, tmp_path / "file" / "inbox")


def test_the_key_does_not_show(tmp_path: Path) -> None:
    _, _, told = sealed_sample(tmp_path, 10)
    assert bytes(told.key).hex() not in repr(told)
    assert str(bytes(told.key)) not in repr(told)


def test_a_large_file_passes_in_little_memory(tmp_path: Path, inbox: Path) -> None:
    import tracemalloc

    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(24 * 1024 * 1024)
    tracemalloc.start()
    try:
        told = seal(source, tmp_path / "sealed")
        unseal(tmp_path / "sealed", "x", told, inbox)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 1024 * 1024
