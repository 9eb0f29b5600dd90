"""Invitations: the code that an administrator hands over, as text or as a QR picture.

    secret 16 || establishment 16 || relay address (ASCII) || checksum 4

The checksum is the first 4 bytes of SHA-256("pli invitation v1" || all before it). The code is written
in Crockford's base32 (no I, L, O, U; either case; I and L read as 1, O as 0), in groups of five
separated by dashes; spaces, dashes and line ends are ignored when it is read.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from ..secret import Secret
from .errors import InvitationError

SECRET_SIZE = 16
MAX_RELAY = 200
"""Bytes of the longest relay address."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_IGNORED = dict.fromkeys(map(ord, " -\t\r\n\u00a0\u202f\u2010\u2011\u2012\u2013\u2014"))
_CHECKSUM = 4
_SHORTEST = SECRET_SIZE + 16 + len("ws://a") + _CHECKSUM
_GROUP = 5


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an invitation code says.

    `secret` proves to the issuer who asks; `establishment` is what the authority's fingerprint must
    begin with; `relay` is where the certificates are fetched, and the only name the client accepts.
    """

    secret: Secret
    establishment: bytes
    relay: str

    def text(self) -> str:
        """The code, as it is printed and as it stands in the QR picture."""
        check_relay(self.relay)
        data = bytes(self.secret) + self.establishment + self.relay.encode("ascii")
        letters = _to_base32(data + _checksum(data))
        return "-".join(letters[i : i + _GROUP] for i in range(0, len(letters), _GROUP))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a code.

        Raises:
            InvitationError: .cause is "empty", "character" (a character that no code has),
                "too-short", "checksum" (a letter is wrong, missing or too many) or "relay".
        """
        data = _from_base32(_letters(text))
        if len(data) < _SHORTEST:
            raise InvitationError("too-short", "the code is incomplete")
        body, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
        if not hmac.compare_digest(_checksum(body), checksum):
            raise InvitationError("checksum", "a letter of the code is wrong, missing or too many")
        try:
            relay = check_relay(body[SECRET_SIZE + 16 :].decode("ascii"))
        except UnicodeDecodeError:
            raise InvitationError("relay", "the code names no relay") from None
        return cls(Secret(body[:SECRET_SIZE]), body[SECRET_SIZE : SECRET_SIZE + 16], relay)


def check_relay(url: str) -> str:
    """The address itself, if it is `ws://` or `wss://`, a host, perhaps a port and a path.

    Raises:
        InvitationError: cause "relay".
    """
    printable = url.isascii() and all("!" <= character <= "~" for character in url)
    try:
        parts = urlsplit(url)
        good = (
            printable
            and len(url) <= MAX_RELAY
            and parts.scheme in ("ws", "wss")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and not (parts.username or parts.password or parts.query or parts.fragment)
            and not any(mark in url for mark in "?#@")
        )
    except ValueError:
        good = False
    if not good:
        raise InvitationError("relay", "not the address of a relay (wss://…)")
    return url


def _letters(text: str) -> str:
    letters = text.translate(_IGNORED).upper()
    if not letters:
        raise InvitationError("empty", "the code is empty")
    if len(letters) > 2 * (_SHORTEST + MAX_RELAY):
        raise InvitationError("checksum", "the code is too long")
    for letter in letters:
        if letter not in _VALUES:
            raise InvitationError("character", "the code has a character that no code has")
    return letters


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"pli invitation v1" + body).digest()[:_CHECKSUM]


def _to_base32(data: bytes) -> str:
    count = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (count * 5 - len(data) * 8)
    return "".join(_ALPHABET[(number >> (5 * i)) & 31] for i in reversed(range(count)))


def _from_base32(letters: str) -> bytes:
    size, spare = divmod(len(letters) * 5, 8)
    number = 0
    for letter in letters:
        number = number << 5 | _VALUES[letter]
    # A code has one writing: the bits that fill the last letter are zero, and fewer than a letter.
    if spare >= 5 or number & ((1 << spare) - 1):
        raise InvitationError("checksum", "a letter of the code is wrong, missing or too many")
    return (number >> spare).to_bytes(size, "big")
