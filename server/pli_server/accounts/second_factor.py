"""TOTP (RFC 6238) and recovery codes: made, sealed, recognised."""

import base64
import hashlib
import hmac
import os
from typing import Final

import nacl.exceptions
import nacl.secret
import pyotp

from pli_protocol.relay.frames import RECOVERY_CODES
from pli_protocol.secret import Secret

SECRET_SIZE: Final = 20
STEP_SECONDS: Final = 30
WINDOW: Final = 1
"""Steps before and after the present one whose codes are taken too: clocks differ."""

_RECOVERY_BYTES: Final = 10
_LOOK_ALIKE: Final = str.maketrans("018", "OIB")


class SealedSecrets:
    """TOTP secrets as the database holds them: XChaCha20-Poly1305 under the key of the relay's folder."""

    def __init__(self, key: Secret) -> None:
        self._box = nacl.secret.Aead(bytes(key))

    def seal(self, secret: bytes, establishment: bytes, holder: bytes) -> bytes:
        """Bound to its holder: it opens in no other's place."""
        return bytes(self._box.encrypt(secret, _aad(establishment, holder)))

    def open(self, sealed: bytes, establishment: bytes, holder: bytes) -> Secret | None:
        """None: sealed under another key, or for another."""
        try:
            return Secret(self._box.decrypt(sealed, _aad(establishment, holder)))
        except (nacl.exceptions.CryptoError, ValueError):
            return None


def _aad(establishment: bytes, holder: bytes) -> bytes:
    return b"pli second factor v1\0" + establishment + holder


def new_secret() -> Secret:
    """A TOTP secret."""
    return Secret(os.urandom(SECRET_SIZE))


def step_of(secret: bytes, code: str, now_ms: int) -> int | None:
    """The time step whose code this is, within the window; None: of none."""
    totp = pyotp.TOTP(base64.b32encode(secret).decode(), interval=STEP_SECONDS)
    shown = code.replace(" ", "").encode()
    present = now_ms // 1000 // STEP_SECONDS
    found = None
    for step in range(present - WINDOW, present + WINDOW + 1):
        if hmac.compare_digest(totp.at(step * STEP_SECONDS).encode(), shown):
            found = step
    return found


def new_recovery_codes() -> tuple[str, ...]:
    """Codes of 80 bits, as they are told to the person."""
    return tuple(_recovery_code() for _ in range(RECOVERY_CODES))


def _recovery_code() -> str:
    letters = base64.b32encode(os.urandom(_RECOVERY_BYTES)).decode().lower()
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def recovery_hash(code: str) -> bytes:
    """How a recovery code is known here: however it is written, and not to be guessed from this."""
    plain = code.replace("-", "").replace(" ", "").upper().translate(_LOOK_ALIKE)
    return hashlib.sha256(b"pli recovery code v1" + plain.encode()).digest()
