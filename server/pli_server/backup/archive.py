"""The archive of a backup: named parts in one encrypted stream, which a cut or a changed bit breaks.

    "pli backup 1\\n" || SealedBox(public key, file key 32) 80 || secretstream header 24 || chunks

A chunk is its length (4 bytes, big-endian) and a message of libsodium's secretstream
(XChaCha20-Poly1305): its order is fixed, the last one is marked as the last. The first byte inside says
what it is: P a part begins (its name), D bytes of it, M the manifest, which ends the archive.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import msgspec
import nacl.exceptions
from nacl import bindings
from nacl.public import PrivateKey, PublicKey, SealedBox

from pli_protocol.secret import Secret

from ..errors import OperatorError

MAGIC: Final = b"pli backup 1\n"
CHUNK: Final = 64 * 1024
"""Bytes of a part in one chunk, at most."""

_SEALED: Final = 32 + bindings.crypto_box_SEALBYTES
_HEADER: Final = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_EXTRA: Final = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_MESSAGE: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_MOST: Final = 16 * 1024 * 1024
"""Bytes of the largest chunk: the manifest, which names every part."""


class DamagedArchive(OperatorError):
    """It is not what was written, or not for this key."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the archive is damaged ({what}); use another backup")


class Part(msgspec.Struct, frozen=True):
    """A part as the manifest names it."""

    size: int
    sha256: bytes


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive holds. Times are milliseconds since 1970."""

    relay: str
    made: int
    schema: str
    """The step of the database's schema (storage.database.HEAD)."""
    timeline: int
    rows: dict[str, int]
    """Rows of each table."""
    gone: tuple[bytes, ...]
    """Blobs that retention took while the backup ran."""
    parts: dict[str, Part]


class ArchiveWriter:
    """Writes parts one after another. Nothing is an archive before `finish`."""

    def __init__(self, file: BinaryIO, key: PublicKey) -> None:
        file_key = Secret(bindings.crypto_secretstream_xchacha20poly1305_keygen())
        self._file = file
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        header = bindings.crypto_secretstream_xchacha20poly1305_init_push(
            self._state, bytes(file_key)
        )
        self.parts: dict[str, Part] = {}
        file.write(MAGIC + SealedBox(key).encrypt(bytes(file_key)) + header)

    def add(self, name: str, data: Iterable[bytes]) -> int:
        """Add a part; returns its size in bytes."""
        digest, size = hashlib.sha256(), 0
        self._push(b"P" + name.encode(), _MESSAGE)
        for piece in data:
            digest.update(piece)
            size += len(piece)
            for start in range(0, len(piece), CHUNK):
                self._push(b"D" + piece[start : start + CHUNK], _MESSAGE)
        self.parts[name] = Part(size, digest.digest())
        return size

    def finish(self, manifest: Manifest) -> None:
        """End the archive with its manifest."""
        self._push(b"M" + msgspec.msgpack.encode(manifest), _FINAL)

    def _push(self, message: bytes, tag: int) -> None:
        sealed = bindings.crypto_secretstream_xchacha20poly1305_push(
            self._state, message, None, tag
        )
        self._file.write(struct.pack(">I", len(sealed)) + sealed)


class ArchiveReader:
    """Reads an archive once, from beginning to end; a part's bytes count only after `manifest`."""

    def __init__(self, file: BinaryIO, key: PrivateKey) -> None:
        """Raises OperatorError: not an archive, or for another key."""
        if file.read(len(MAGIC)) != MAGIC:
            raise OperatorError("this is no backup of a Pli relay; give a file that backup made")
        self._file = file
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        try:
            file_key = Secret(SealedBox(key).decrypt(self._exactly(_SEALED)))
        except nacl.exceptions.CryptoError:
            raise OperatorError(
                "the archive does not open with this key; give the private key of its public key"
            ) from None
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(
            self._state, self._exactly(_HEADER), bytes(file_key)
        )
        self._found: dict[str, Part] = {}
        self._next: bytes | None = None
        self.manifest: Manifest
        """Known once `parts` has come to its end."""

    def parts(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Each part's name and its bytes, which must be read before the next one.

        Raises:
            DamagedArchive: cut, changed, or not as its manifest says.
        """
        chunk = self._pull()
        while chunk[:1] == b"P":
            name = chunk[1:].decode(errors="replace")
            yield name, self._data(name)
            if self._next is None:
                raise AssertionError("a part was not read to its end")
            chunk, self._next = self._next, None
        if chunk[:1] != b"M":
            raise DamagedArchive("an unknown chunk")
        try:
            self.manifest = msgspec.msgpack.decode(chunk[1:], type=Manifest)
        except msgspec.DecodeError:
            raise DamagedArchive("the manifest cannot be read") from None
        if self._found != self.manifest.parts:
            raise DamagedArchive("the parts are not those of the manifest")

    def _data(self, name: str) -> Iterator[bytes]:
        digest, size = hashlib.sha256(), 0
        while (chunk := self._pull())[:1] == b"D":
            digest.update(memoryview(chunk)[1:])
            size += len(chunk) - 1
            yield chunk[1:]
        self._found[name] = Part(size, digest.digest())
        self._next = chunk

    def _pull(self) -> bytes:
        (length,) = struct.unpack(">I", self._exactly(4))
        if not _EXTRA < length <= _MOST:
            raise DamagedArchive("a chunk of an impossible length")
        try:
            message, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(
                self._state, self._exactly(length)
            )
        except (RuntimeError, nacl.exceptions.CryptoError):
            raise DamagedArchive("a chunk was changed") from None
        if (tag == _FINAL) != (message[:1] == b"M"):
            raise DamagedArchive("it ends too early")
        if tag == _FINAL and self._file.read(1):
            raise DamagedArchive("something follows its end")
        return bytes(message)

    def _exactly(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) != length:
            raise DamagedArchive("it is cut")
        return data
