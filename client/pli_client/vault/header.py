"""vault.json: the format's version, Argon2id's parameters, and the vault's key wrapped by a passphrase.

The database's key is 32 random bytes that never change; XChaCha20-Poly1305 wraps it under Argon2id of
the passphrase, with the other fields as associated data. The checksum tells a damaged file from a
wrong passphrase: with a good checksum a tag that does not verify can only be the passphrase.
"""

import hashlib
import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from argon2.low_level import Type, hash_secret_raw
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from pli_protocol.secret import Secret

from ..errors import VaultDamaged, VaultTooNew, WrongPassphrase
from .private_files import replace_durably

HEADER_FILE: Final = "vault.json"
HEADER_VERSION: Final = 1
KEY_SIZE: Final = 32
_NONCE_SIZE: Final = 24
_SALT_SIZE: Final = 16

Random = Callable[[int], bytes]


class DatabaseKey(Secret):
    """The vault's key, 32 bytes."""


@dataclass(frozen=True, slots=True)
class Kdf:
    """Argon2id's cost: memory in KiB, passes, lanes (RFC 9106)."""

    memory: int = 64 * 1024
    passes: int = 3
    lanes: int = 4


DEFAULT_KDF: Final = Kdf()


def passphrase(text: str) -> Secret:
    """A typed passphrase as bytes: NFKC, since keyboards compose accents in different ways."""
    return Secret(unicodedata.normalize("NFKC", text).encode())


class _Version(msgspec.Struct, frozen=True):
    """What is read first: a newer vault may have any other fields."""

    version: Annotated[int, msgspec.Meta(ge=1)]


# The bounds keep a hostile header from asking for all memory or for a year.
class _KdfFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Literal["argon2id"]
    memory: Annotated[int, msgspec.Meta(ge=8, le=1024 * 1024)]
    passes: Annotated[int, msgspec.Meta(ge=1, le=64)]
    lanes: Annotated[int, msgspec.Meta(ge=1, le=16)]
    salt: Annotated[bytes, msgspec.Meta(min_length=_SALT_SIZE, max_length=64)]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of vault.json; bytes in it are base64."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    kind: Annotated[str, msgspec.Meta(max_length=16)]
    """person, or issuer."""
    kdf: _KdfFields
    wrapped_key: Annotated[bytes, msgspec.Meta(min_length=72, max_length=72)]
    """Nonce 24, ciphertext 32, tag 16."""
    checksum: str = ""

    def unwrap(self, passphrase: Secret) -> DatabaseKey:
        """The database's key. Costs what Argon2id costs; call it off the event loop.

        Raises:
            WrongPassphrase: the tag does not verify.
        """
        nonce, sealed = self.wrapped_key[:_NONCE_SIZE], self.wrapped_key[_NONCE_SIZE:]
        try:
            return DatabaseKey(
                crypto_aead_xchacha20poly1305_ietf_decrypt(
                    sealed, _associated(self), nonce, _stretch(self.kdf, passphrase)
                )
            )
        except CryptoError:
            raise WrongPassphrase() from None

    def write(self, folder: Path) -> None:
        """Replace vault.json, durably. Raises OSError."""
        replace_durably(folder / HEADER_FILE, msgspec.json.format(msgspec.json.encode(self)))

    @classmethod
    def read(cls, folder: Path) -> "Header":
        """Raises FileNotFoundError, OSError, VaultTooNew, VaultDamaged."""
        data = (folder / HEADER_FILE).read_bytes()
        try:
            version = msgspec.json.decode(data, type=_Version).version
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise VaultDamaged(HEADER_FILE) from None
        if version > HEADER_VERSION:
            raise VaultTooNew(found=version, known=HEADER_VERSION)
        try:
            header = msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise VaultDamaged(HEADER_FILE) from None
        if header.checksum != _checksum(header):
            raise VaultDamaged(HEADER_FILE)
        return header


def wrap(
    key: DatabaseKey, passphrase: Secret, *, kind: str, kdf: Kdf, random: Random = os.urandom
) -> Header:
    """A header that gives `key` back for `passphrase`. Costs what Argon2id costs."""
    fields = _KdfFields("argon2id", kdf.memory, kdf.passes, kdf.lanes, random(_SALT_SIZE))
    draft = Header(HEADER_VERSION, kind, fields, bytes(72))
    nonce = random(_NONCE_SIZE)
    sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(
        key, _associated(draft), nonce, _stretch(fields, passphrase)
    )
    header = msgspec.structs.replace(draft, wrapped_key=nonce + sealed)
    return msgspec.structs.replace(header, checksum=_checksum(header))


def _stretch(kdf: _KdfFields, passphrase: Secret) -> bytes:
    return hash_secret_raw(
        bytes(passphrase), kdf.salt, kdf.passes, kdf.memory, kdf.lanes, KEY_SIZE, Type.ID
    )


def _associated(header: Header) -> bytes:
    return b"pli vault key\0" + msgspec.json.encode((header.version, header.kind, header.kdf))


def _checksum(header: Header) -> str:
    bare = msgspec.structs.replace(header, checksum="")
    return hashlib.sha256(b"pli vault header\0" + msgspec.json.encode(bare)).hexdigest()
