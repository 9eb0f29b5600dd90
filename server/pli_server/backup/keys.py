"""The key pair of backups: the relay knows the public key only, the private one is kept elsewhere."""

import base64
import json
import os
from pathlib import Path
from typing import Final

import nacl.exceptions
import nacl.pwhash.argon2id as argon2id
from nacl.public import PrivateKey, PublicKey
from nacl.secret import SecretBox

from pli_protocol.secret import Secret

from ..errors import OperatorError

_PREFIX: Final = "pli-backup-"
_OPS: Final = 3
_MEMORY: Final = 64 * 1024 * 1024
_MOST_MEMORY: Final = 1024 * 1024 * 1024


def make(path: Path, passphrase: Secret | None) -> str:
    """Make a key pair (X25519); the private key goes to a new file of mode 0600.

    Args:
        passphrase: Seals the file (Argon2id at 64 MiB, XSalsa20-Poly1305); None: it lies there plain.

    Returns:
        The public key as text, for the settings.

    Raises:
        OperatorError: the file exists, or cannot be written.
    """
    key = PrivateKey.generate()
    public = public_text(key.public_key)
    shown: dict[str, str | int] = {
        "what": "private key of Pli backups, version 1",
        "public": public,
    }
    if passphrase is None:
        shown["private"] = _text(bytes(key))
    else:
        salt = os.urandom(argon2id.SALTBYTES)
        box = SecretBox(_derive(passphrase, salt, _OPS, _MEMORY))
        sealed = _text(bytes(box.encrypt(bytes(key))))
        shown |= {"salt": _text(salt), "operations": _OPS, "memory": _MEMORY, "sealed": sealed}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(shown, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise OperatorError(f"{path} exists; a key is never overwritten") from None
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be written ({error.strerror}); choose another"
        ) from None
    return public


def is_sealed(path: Path) -> bool:
    """Whether a private key's file asks for a passphrase. Raises OperatorError."""
    return "sealed" in _read(path)


def load(path: Path, passphrase: Secret | None = None) -> PrivateKey:
    """The private key of a file.

    Raises:
        OperatorError: no such file, no key in it, or another passphrase.
    """
    shown = _read(path)
    try:
        if "sealed" not in shown:
            return PrivateKey(_bytes(shown["private"]))
        if passphrase is None:
            raise OperatorError(f"{path} is sealed under a passphrase; give it")
        memory = int(shown["memory"])
        if memory > _MOST_MEMORY:
            raise ValueError
        box = SecretBox(
            _derive(passphrase, _bytes(shown["salt"]), int(shown["operations"]), memory)
        )
        return PrivateKey(box.decrypt(_bytes(shown["sealed"])))
    except nacl.exceptions.CryptoError:
        raise OperatorError(f"{path} does not open with this passphrase; try again") from None
    except (KeyError, ValueError, TypeError, nacl.exceptions.TypeError):
        raise _no_key(path) from None


def public_text(key: PublicKey) -> str:
    """How a public key stands in the settings."""
    return _PREFIX + _text(bytes(key))


def parse_public(text: str) -> PublicKey:
    """Raises OperatorError."""
    try:
        if not text.startswith(_PREFIX):
            raise ValueError
        return PublicKey(_bytes(text.removeprefix(_PREFIX)))
    except (ValueError, nacl.exceptions.TypeError):
        raise OperatorError(
            "the public key of backups cannot be read; make one with: pli-server backup-key FILE"
        ) from None


def _read(path: Path) -> dict[str, str]:
    try:
        shown = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OperatorError(f"{path} cannot be read ({error.strerror or error})") from None
    except ValueError:
        raise _no_key(path) from None
    if not isinstance(shown, dict):
        raise _no_key(path)
    return shown


def _no_key(path: Path) -> OperatorError:
    return OperatorError(f"{path} holds no private key of backups; give the file of backup-key")


def _derive(passphrase: Secret, salt: bytes, operations: int, memory: int) -> bytes:
    return argon2id.kdf(SecretBox.KEY_SIZE, bytes(passphrase), salt, operations, memory)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
