"""Where blobs lie: what any place for them can do, and the folder, which is the embedded default.

blobs/ab/ab12…        complete
blobs/uploads/ab12…   on its way, each part flushed; its size says how much is held
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Final, TypeVar

from pli_protocol.relay.frames import BLOB_PART, BlobRef

from ..errors import Refusal, StorageFailed

T = TypeVar("T")

GIVEN_UP: Final = 0
"""As the time when an upload was begun: it was abandoned, and the sweep takes it away."""

THREADS = 2
LOCKS = 16
_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_FILES = {errno.EMFILE, errno.ENFILE}


class BlobStore(ABC):
    """Bytes named by the capability; the database says who put them there and which are complete.

    The methods below `run` block, and belong to the threads that it calls them on.
    """

    def __init__(self, threads: int, on_failure: Callable[[], None] = lambda: None) -> None:
        """`on_failure` is called on the loop when the disk did not flush what was written."""
        self._on_failure = on_failure
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pli blobs")

    def close(self) -> None:
        """Wait for what runs."""
        self._pool.shutdown()

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call one of the methods below on the blobs' threads."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, function, *arguments)
        except StorageFailed:
            self._on_failure()
            raise

    @abstractmethod
    def put(self, blob: bytes, offset: int, size: int, data: bytes) -> int:
        """Keep a part, durably; a part that is held already changes nothing.

        Args:
            offset: Where the part begins, a multiple of BLOB_PART.
            size: Bytes of the whole blob. All parts but the last one have BLOB_PART.

        Returns:
            The bytes held, at least up to the end of this part.

        Raises:
            Refusal: "invalid" where a part before it is missing; "try-later" when there is no room.
            StorageFailed: what was written could not be flushed.
        """

    @abstractmethod
    def held(self, blob: bytes, size: int) -> int:
        """Where the upload of a blob of `size` bytes goes on: bytes held, in whole parts.

        The last part always comes (again): with it the blob is put in place.
        """

    @abstractmethod
    def place(self, blob: bytes, size: int) -> None:
        """Put a whole upload in place, durably. Does nothing when it is there."""

    @abstractmethod
    def get(self, blob: bytes, offset: int, size: int) -> bytes:
        """At most BLOB_PART bytes of a complete blob of `size` bytes, from an offset below that.

        Raises Refusal "not-found".
        """

    @abstractmethod
    def read_checked(self, reference: BlobRef, limit: int) -> bytes:
        """A whole blob whose size and hash are those of the reference; else Refusal "invalid".

        No more than `limit` bytes are ever read, whatever the reference says of the blob.
        """

    @abstractmethod
    def remove(self, blob: bytes) -> None:
        """Delete a blob or upload, if it is there."""


class BlobFolder(BlobStore):
    """Files in the relay's own folder."""

    def __init__(self, folder: Path, on_failure: Callable[[], None] = lambda: None) -> None:
        super().__init__(THREADS, on_failure)
        self._root = folder / "blobs"
        self._uploads = self._root / "uploads"
        self._uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A part of a connection that was replaced may still be under way beside its repetition.
        self._locks = tuple(threading.Lock() for _ in range(LOCKS))

    def put(self, blob: bytes, offset: int, size: int, data: bytes) -> int:
        path, placed = self._uploads / blob.hex(), self._path(blob)
        try:
            with self._locks[blob[0] % LOCKS]:
                if placed.exists():
                    return placed.stat().st_size
                with path.open("ab", buffering=0) as file:
                    return self._append(file, offset, data)
        except OSError as error:
            raise _refusal(error) from None

    def _append(self, file: FileIO, offset: int, data: bytes) -> int:
        held = file.tell()
        if held >= offset + len(data):
            # Perhaps a killed process wrote it and never flushed it.
            self._flush(file, held)
            return held
        if held != offset:
            if held < offset:
                raise Refusal("invalid", "the parts of a blob come in order")
            # A torn part, from a crash or a full disk: it is written again.
            file.truncate(offset)
        written = 0
        while written < len(data):
            written += file.write(data[written:])
        self._flush(file, offset)
        if offset == 0:
            _flush_folder(self._uploads)
        return offset + len(data)

    def _flush(self, file: FileIO, before: int) -> None:
        """After an error nobody knows what is on disk: the part must not count as held."""
        try:
            os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                file.truncate(before)
            if error.errno in _FULL:
                raise
            raise StorageFailed from None

    def held(self, blob: bytes, size: int) -> int:
        try:
            held = (self._uploads / blob.hex()).stat().st_size
        except FileNotFoundError:
            held = size if self._path(blob).exists() else 0
        return whole_parts(held, size)

    def place(self, blob: bytes, size: int) -> None:
        source, target = self._uploads / blob.hex(), self._path(blob)
        try:
            with self._locks[blob[0] % LOCKS]:
                if not target.exists():
                    if source.stat().st_size != size:
                        raise Refusal("invalid", "the blob has another size than announced")
                    target.parent.mkdir(exist_ok=True, mode=0o700)
                    os.replace(source, target)
                for folder in (target.parent, self._root, self._uploads):
                    _flush_folder(folder)
        except OSError as error:
            raise _refusal(error) from None

    def get(self, blob: bytes, offset: int, size: int) -> bytes:
        try:
            with self._path(blob).open("rb") as file:
                file.seek(offset)
                return file.read(BLOB_PART)
        except FileNotFoundError:
            raise Refusal("not-found") from None

    def read_checked(self, reference: BlobRef, limit: int) -> bytes:
        check_limit(reference, limit)
        try:
            with self._path(reference.blob).open("rb") as file:
                data = file.read(reference.size + 1)
        except FileNotFoundError:
            raise incomplete() from None
        return checked(reference, data)

    def remove(self, blob: bytes) -> None:
        self._path(blob).unlink(missing_ok=True)
        (self._uploads / blob.hex()).unlink(missing_ok=True)

    def _path(self, blob: bytes) -> Path:
        name = blob.hex()
        return self._root / name[:2] / name


def whole_parts(held: int, size: int) -> int:
    """Bytes of the whole parts among the first `held`, the last one of the blob not counted."""
    return min(held, size - 1) // BLOB_PART * BLOB_PART


def check_limit(reference: BlobRef, limit: int) -> None:
    """Raises Refusal "too-large" before anything is read."""
    if reference.size > limit:
        raise Refusal("too-large", f"a payload has at most {limit} bytes")


def incomplete() -> Refusal:
    """The blob that a payload names is not there as a whole."""
    return Refusal("invalid", "the blob that the payload names is not complete")


def checked(reference: BlobRef, data: bytes) -> bytes:
    """The data, where it is what the reference says; else Refusal "invalid"."""
    if len(data) != reference.size or hashlib.sha256(data).digest() != reference.sha256:
        raise Refusal("invalid", "the blob is not the one that the payload names")
    return data


def _refusal(error: OSError) -> Exception:
    if error.errno in _FULL:
        return Refusal("try-later", "the relay's disk is full", retry_after=10_000)
    if error.errno in _NO_FILES:
        return Refusal("try-later", retry_after=1_000)
    return error


def _flush_folder(folder: Path) -> None:
    """A rename is durable once its folder is. Windows flushes folders by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        raise StorageFailed from None
    finally:
        os.close(descriptor)
