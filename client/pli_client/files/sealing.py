"""A file as ciphertext: libsodium's secretstream (XChaCha20-Poly1305), in chunks, its size rounded up.

    blob   = header 24 || chunk || chunk || … ; every chunk but the last is CHUNK_SIZE + 17 bytes
    stream = the file || zeros, up to padded_size; the last chunk bears the tag FINAL

A chunk cannot be changed, left out, repeated or moved, and the end cannot be cut off, unseen. Files
of any size pass through in memory of a few chunks. These functions block: call them in a thread.
"""

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from nacl.bindings import (
    crypto_secretstream_xchacha20poly1305_ABYTES,
    crypto_secretstream_xchacha20poly1305_HEADERBYTES,
    crypto_secretstream_xchacha20poly1305_init_pull,
    crypto_secretstream_xchacha20poly1305_init_push,
    crypto_secretstream_xchacha20poly1305_KEYBYTES,
    crypto_secretstream_xchacha20poly1305_pull,
    crypto_secretstream_xchacha20poly1305_push,
    crypto_secretstream_xchacha20poly1305_state,
    crypto_secretstream_xchacha20poly1305_TAG_FINAL,
    crypto_secretstream_xchacha20poly1305_TAG_MESSAGE,
)
from nacl.exceptions import CryptoError

from pli_protocol.content import FilePart
from pli_protocol.secret import Secret

from ..errors import (
    NO_SPACE,
    DiskFull,
    FileDamaged,
    FileTooLarge,
    FileUnreadable,
    FileUnwritable,
    Text,
    system_reason,
)
from ..i18n import N_
from ..vault.private_files import open_private
from .names import numbered, safe_name

CHUNK_SIZE: Final = 64 * 1024
"""Bytes of the file in one chunk."""

SMALLEST: Final = 1024
"""Bytes to which the smallest files are rounded up."""

LARGEST: Final = 256 * 1024 * 1024
"""Bytes of the largest file that is sealed, unless told otherwise."""

_HEADER: Final[int] = crypto_secretstream_xchacha20poly1305_HEADERBYTES
_TAG: Final[int] = crypto_secretstream_xchacha20poly1305_ABYTES
_FINAL: Final[int] = crypto_secretstream_xchacha20poly1305_TAG_FINAL
_MESSAGE: Final[int] = crypto_secretstream_xchacha20poly1305_TAG_MESSAGE


class FileKey(Secret):
    """The key of one file, 32 bytes."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """What its receivers must know of a sealed file, besides blob id and name."""

    key: FileKey
    size: int
    """Bytes of the file."""
    sha256: bytes
    """Of the file."""
    sealed_size: int
    """Bytes of the ciphertext."""
    chunk_size: int = CHUNK_SIZE

    @classmethod
    def announced(cls, part: FilePart) -> Self:
        """What a sender announced.

        Raises:
            FileDamaged: its sizes contradict each other.
        """
        size = sealed_size(part.size, part.chunk_size)
        if part.blob_size not in (0, size):
            raise FileDamaged(name=part.name)
        return cls(FileKey(part.key), part.size, part.sha256, size, part.chunk_size)


def padded_size(size: int) -> int:
    """The size rounded up (Padmé), so that the ciphertext tells little of it.

    Less than one sixteenth more (6.25 %), and never less than SMALLEST; of a size of n bits, about
    log2(n) bits are left to see.
    """
    if size <= SMALLEST:
        return SMALLEST
    exponent = size.bit_length() - 1
    step = 1 << (exponent - exponent.bit_length())
    return -(-size // step) * step


def sealed_size(size: int, chunk_size: int = CHUNK_SIZE) -> int:
    """Bytes of the ciphertext of a file of `size` bytes."""
    stream = padded_size(size)
    return _HEADER + stream + _TAG * -(-stream // chunk_size)


def seal(
    source: Path,
    target: Path,
    *,
    limit: int = LARGEST,
    random: Callable[[int], bytes] = os.urandom,
) -> SealedFile:
    """Encrypt a file under a fresh key; the ciphertext is on disk when this returns.

    Args:
        target: a new file; it is removed again if this fails.

    Raises:
        FileUnreadable, FileTooLarge, FileUnwritable, DiskFull.
    """
    key = FileKey(random(crypto_secretstream_xchacha20poly1305_KEYBYTES))
    try:
        if source.exists() and not source.is_file():  # opening a pipe would wait for ever
            raise FileUnreadable(name=source.name, reason=Text(N_("it is not a file")))
        plain = source.open("rb")
    except OSError as error:
        raise FileUnreadable(name=source.name, reason=system_reason(error)) from None
    with plain:
        found = os.fstat(plain.fileno()).st_size
        if found > limit:
            raise FileTooLarge(name=source.name, size=found, limit=limit)
        with _written(target, target.name) as sealed:
            size, digest = _push(plain, sealed, key, source.name, limit)
    return SealedFile(key, size, digest, sealed_size(size))


def unseal(sealed: Path, name: str, expected: SealedFile, folder: Path) -> Path:
    """Decrypt into a new file in `folder` (made if need be), under a safe form of `name`; its path.

    Nothing is to be seen under the name before all of it was checked, and no file is ever
    overwritten: the name gets a number where it is taken.

    Raises:
        FileDamaged: not what was announced. FileUnwritable, DiskFull.
    """
    name = safe_name(name)
    temporary = folder / f".{os.urandom(8).hex()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileUnwritable(name=name, reason=system_reason(error)) from None
    try:
        ciphertext = sealed.open("rb")
    except OSError as error:
        raise FileUnreadable(name=name, reason=system_reason(error)) from None
    with ciphertext, _written(temporary, name) as plain:
        _pull(ciphertext, plain, expected, name)
    try:
        return _placed(temporary, folder, name)
    except OSError as error:
        raise FileUnwritable(name=name, reason=system_reason(error)) from None
    finally:
        temporary.unlink(missing_ok=True)


def _push(
    plain: IO[bytes], sealed: IO[bytes], key: FileKey, name: str, limit: int
) -> tuple[int, bytes]:
    state = crypto_secretstream_xchacha20poly1305_state()
    sealed.write(crypto_secretstream_xchacha20poly1305_init_push(state, bytes(key)))
    digest, size = hashlib.sha256(), 0

    def stream() -> Iterator[bytes]:
        """The file, then zeros, in chunks; its size is what was really read."""
        nonlocal size
        chunk = _read(plain, CHUNK_SIZE, name)
        while True:
            digest.update(chunk)
            size += len(chunk)
            if size > limit:
                raise FileTooLarge(name=name, size=size, limit=limit)
            if len(chunk) < CHUNK_SIZE:
                break
            following = _read(plain, CHUNK_SIZE, name)
            if not following:
                break
            yield chunk
            chunk = following
        zeros = padded_size(size) - size
        while zeros > 0 or chunk:
            fill = min(zeros, CHUNK_SIZE - len(chunk))
            yield chunk + bytes(fill)
            chunk, zeros = b"", zeros - fill

    ahead: bytes | None = None
    for chunk in stream():
        if ahead is not None:
            sealed.write(_pushed(state, ahead, _MESSAGE))
        ahead = chunk
    sealed.write(_pushed(state, ahead or b"", _FINAL))
    return size, digest.digest()


def _pushed(state: crypto_secretstream_xchacha20poly1305_state, chunk: bytes, tag: int) -> bytes:
    return bytes(crypto_secretstream_xchacha20poly1305_push(state, chunk, None, tag))


def _pull(ciphertext: IO[bytes], plain: IO[bytes], expected: SealedFile, name: str) -> None:
    state = crypto_secretstream_xchacha20poly1305_state()
    digest, left, tag = hashlib.sha256(), expected.size, _MESSAGE
    if os.fstat(ciphertext.fileno()).st_size != sealed_size(expected.size, expected.chunk_size):
        raise FileDamaged(name=name)
    try:
        header = _read(ciphertext, _HEADER, name)
        crypto_secretstream_xchacha20poly1305_init_pull(state, header, bytes(expected.key))
        while chunk := _read(ciphertext, expected.chunk_size + _TAG, name):
            if tag == _FINAL:
                raise FileDamaged(name=name)
            stream, tag = crypto_secretstream_xchacha20poly1305_pull(state, chunk, None)
            data, zeros = stream[:left], stream[left:]
            if zeros.strip(b"\0"):
                raise FileDamaged(name=name)
            digest.update(data)
            plain.write(data)
            left -= len(data)
    except (CryptoError, ValueError, TypeError, RuntimeError):
        raise FileDamaged(name=name) from None
    if tag != _FINAL or left or digest.digest() != expected.sha256:
        raise FileDamaged(name=name)


def _read(file: IO[bytes], size: int, name: str) -> bytes:
    """Exactly `size` bytes unless the file ends."""
    try:
        return file.read(size)
    except OSError as error:
        raise FileUnreadable(name=name, reason=system_reason(error)) from None


class _written:
    """A new private file within a `with` block: on disk at its end, gone if the block fails."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name

    def __enter__(self) -> IO[bytes]:
        try:
            descriptor = open_private(self._path, os.O_WRONLY | os.O_EXCL)
        except OSError as error:
            raise self._own(error) from None
        self._file = os.fdopen(descriptor, "wb")
        return self._file

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        failure: BaseException | None = error
        try:
            with self._file:
                if error is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
        except OSError as late:
            failure = failure or late
        if failure is not None:
            self._path.unlink(missing_ok=True)
        if isinstance(failure, OSError):
            raise self._own(failure) from None

    def _own(self, error: OSError) -> Exception:
        if error.errno in NO_SPACE:
            return DiskFull()
        return FileUnwritable(name=self._name, reason=system_reason(error))


def _placed(temporary: Path, folder: Path, name: str) -> Path:
    """Give the finished file its name, or the first free one with a number."""
    for number in range(1, 10_000):
        path = folder / numbered(name, number)
        try:
            _rename_new(temporary, path)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


if sys.platform == "win32":

    def _rename_new(old: Path, new: Path) -> None:
        os.rename(old, new)  # refuses to overwrite

else:

    def _rename_new(old: Path, new: Path) -> None:
        try:
            os.link(old, new)
        except FileExistsError:
            raise
        except OSError:
            # No hard links here (a USB stick): take the name first, then put the file there.
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            os.replace(old, new)
