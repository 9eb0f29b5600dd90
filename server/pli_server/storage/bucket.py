"""Blobs in an S3 bucket, through obstore: any node takes the next part, and all of them read.

ab/ab12…/000000       a segment of 64 parts (3 MiB), complete
ab/ab12…/000003.end   the last segment of the blob, of what is left: with it the blob is complete
uploads/ab12…/000192  a part of a segment that is not complete yet, by its number in the blob

A part is answered once the bucket has it. The last part of a segment is answered once the segment is
there, so each step needs only the one before it, whichever node took that. All of it may be done twice.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Final

from pli_protocol.relay.frames import BLOB_PART, BlobRef

from ..errors import OperatorError, Refusal
from .blobs import BlobStore, check_limit, checked, incomplete, whole_parts
from .faults import describe

if TYPE_CHECKING:
    from obstore.store import S3Store

log = logging.getLogger(__name__)

PARTS: Final = 64
SEGMENT: Final = PARTS * BLOB_PART
"""Bytes of a segment: a download reads one object per part, and no upload is ever copied whole."""

THREADS: Final = 16
SECONDS: Final = timedelta(seconds=10)
"""For one request; a request that may be repeated is, for as long."""

RETRY_MS: Final = 5_000


class BlobBucket(BlobStore):
    """Objects below the URL's prefix. Keys and endpoint come from the environment, as AWS names them."""

    def __init__(self, url: str) -> None:
        super().__init__(THREADS)
        self._store = _open(url)

    def put(self, blob: bytes, offset: int, size: int, data: bytes) -> int:
        number, end = offset // BLOB_PART, offset + len(data)
        with _unavailable():
            if number and not self._held(blob, number - 1):
                if self._exists(_end(blob, size)):
                    return size
                raise Refusal("invalid", "the parts of a blob come in order")
            if end < size and self._exists(_segment(blob, number // PARTS)):
                return end
            alone = end == size and number % PARTS == 0
            self._write(_end(blob, size) if alone else _part(blob, number), data)
            if end % SEGMENT == 0 and end < size:
                self._join(blob, number, _segment(blob, number // PARTS))
        return end

    def held(self, blob: bytes, size: int) -> int:
        with _unavailable():
            if self._exists(_end(blob, size)):
                return whole_parts(size, size)
            segments, parts = self._numbers(_folder(blob)), self._numbers(_uploads(blob))
        segment = next(k for k in count() if k not in segments)
        part = next(k for k in count(segment * PARTS) if k not in parts)
        return whole_parts(part * BLOB_PART, size)

    def place(self, blob: bytes, size: int) -> None:
        last = (size - 1) // BLOB_PART
        with _unavailable():
            self._join(blob, last, _end(blob, size))

    def get(self, blob: bytes, offset: int, size: int) -> bytes:
        segment, start = divmod(offset, SEGMENT)
        path = _end(blob, size) if segment == (size - 1) // SEGMENT else _segment(blob, segment)
        with _unavailable(), _missing(Refusal("not-found")):
            return bytes(self._store.get_range(path, start=start, length=BLOB_PART))

    def read_checked(self, reference: BlobRef, limit: int) -> bytes:
        check_limit(reference, limit)
        if reference.size == 0:
            raise incomplete()
        blob, size = reference.blob, reference.size
        paths = [_segment(blob, k) for k in range((size - 1) // SEGMENT)]
        with _unavailable(), _missing(incomplete()):
            data = b"".join(self._read(path) for path in (*paths, _end(blob, size)))
        return checked(reference, data)

    def remove(self, blob: bytes) -> None:
        with _unavailable():
            for folder in (_folder(blob), _uploads(blob)):
                for found in self._store.list(folder, chunk_size=1000):
                    self._store.delete([item["path"] for item in found])

    def _held(self, blob: bytes, number: int) -> bool:
        segment = _segment(blob, number // PARTS)
        if (number + 1) % PARTS == 0:
            return self._exists(segment)
        return self._exists(_part(blob, number)) or self._exists(segment)

    def _join(self, blob: bytes, last: int, path: str) -> None:
        """Make a segment of its parts, up to the one numbered `last`, and forget the parts."""
        parts = [_part(blob, number) for number in range(last - last % PARTS, last + 1)]
        if not self._exists(path):
            # Where another node was quicker and took a part away, the client's next try finds the segment.
            with _missing(Refusal("try-later", retry_after=RETRY_MS)):
                self._write(path, b"".join(self._read(part) for part in parts))
        self._store.delete(parts)

    def _numbers(self, folder: str) -> set[int]:
        """The numbers of the segments, or parts, that lie in a folder of the bucket."""
        listed = self._store.list(folder, chunk_size=1000)
        return {int(item["path"].rpartition("/")[2][:6]) for found in listed for item in found}

    def _exists(self, path: str) -> bool:
        try:
            self._store.head(path)
        except FileNotFoundError:
            return False
        return True

    def _read(self, path: str) -> bytes:
        return bytes(self._store.get(path).bytes())

    def _write(self, path: str, data: bytes) -> None:
        self._store.put(path, data, use_multipart=False)


def _open(url: str) -> "S3Store":
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    try:
        return S3Store.from_url(
            url,
            client_options={"timeout": SECONDS, "connect_timeout": SECONDS, "allow_http": True},
            retry_config={"max_retries": 3, "retry_timeout": SECONDS},
        )
    except (BaseError, ValueError):
        # The library's text may quote the settings, keys among them.
        raise OperatorError(
            "the bucket of `[blobs] url` cannot be used; write s3://BUCKET/PREFIX, and give the keys"
            " and the endpoint in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,"
            " AWS_ENDPOINT_URL, AWS_REGION)"
        ) from None


@contextmanager
def _unavailable() -> Iterator[None]:
    """The bucket does not answer, is full, or refuses the keys: the client tries later, the host reads."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        log.error("the bucket of blobs failed: %s", describe(error))
        raise Refusal(
            "try-later", "the relay cannot store files now", retry_after=RETRY_MS
        ) from None


@contextmanager
def _missing(refusal: Refusal) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise refusal from None


def _folder(blob: bytes) -> str:
    name = blob.hex()
    return f"{name[:2]}/{name}"


def _segment(blob: bytes, number: int) -> str:
    return f"{_folder(blob)}/{number:06d}"


def _end(blob: bytes, size: int) -> str:
    return f"{_segment(blob, (size - 1) // SEGMENT)}.end"


def _uploads(blob: bytes) -> str:
    return f"uploads/{blob.hex()}"


def _part(blob: bytes, number: int) -> str:
    return f"{_uploads(blob)}/{number:06d}"
