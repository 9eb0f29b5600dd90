"""Reads a vault's files as whoever has its key could: every page of database and log, decrypted.

SQLCipher 4: AES-256-CBC, pages of 4096 bytes of which the last 80 are IV (16) and HMAC-SHA512 (64);
the first page begins with 16 bytes of salt. A frame of the write-ahead log is 24 bytes and a page,
behind a header of 32 bytes.
"""

from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pli_client.vault.database import DATABASE_FILE
from pli_client.vault.header import Header
from pli_protocol.secret import Secret

PAGE = 4096
RESERVED = 80


def log_size(folder: Path) -> int:
    log = folder / (DATABASE_FILE + "-wal")
    return log.stat().st_size if log.exists() else 0


def decrypted(folder: Path, passphrase: Secret) -> tuple[bytes, bytes]:
    """All pages of the database, and all of its write-ahead log, valid or not."""
    key = Header.read(folder).unwrap(passphrase)
    database = (folder / DATABASE_FILE).read_bytes()
    log_file = folder / (DATABASE_FILE + "-wal")
    log = log_file.read_bytes() if log_file.exists() else b""
    return (
        b"".join(_page(key, page, number == 0) for number, page in _pages(database)),
        b"".join(
            _page(key, page, int.from_bytes(head[:4], "big") == 1) for head, page in _frames(log)
        ),
    )


def _pages(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number in range(len(data) // PAGE):
        yield number, data[number * PAGE : (number + 1) * PAGE]


def _frames(log: bytes) -> Iterator[tuple[bytes, bytes]]:
    for start in range(32, len(log) - PAGE, 24 + PAGE):
        yield log[start : start + 24], log[start + 24 : start + 24 + PAGE]


def _page(key: bytes, page: bytes, first: bool) -> bytes:
    body = page[16 if first else 0 : PAGE - RESERVED]
    iv = page[PAGE - RESERVED : PAGE - RESERVED + 16]
    decryptor = Cipher(algorithms.AES(bytes(key)), modes.CBC(iv)).decryptor()
    return decryptor.update(body) + decryptor.finalize()
