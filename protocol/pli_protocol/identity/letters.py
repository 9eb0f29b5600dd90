"""Codes as people type them: Crockford's base32 (no I, L, O, U; either case; I and L read as 1, O as 0).

In groups of five separated by dashes; spaces, dashes and line ends are ignored when a code is read. The
last 4 bytes are a checksum: the first of SHA-256(what the code is for || all before it).
"""

import hashlib
import hmac
from typing import Final

from .errors import InvitationError

CHECKSUM: Final = 4

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_IGNORED = dict.fromkeys(map(ord, " -\t\r\n\u00a0\u202f\u2010\u2011\u2012\u2013\u2014"))
_GROUP = 5


def written(purpose: bytes, data: bytes) -> str:
    """The code for these bytes. `purpose` keeps codes of one kind from being taken for another."""
    return grouped(data + _checksum(purpose, data), _GROUP)


def grouped(data: bytes, size: int) -> str:
    """Bytes as letters in groups of this size, without a checksum."""
    letters = _to_base32(data)
    return "-".join(letters[i : i + size] for i in range(0, len(letters), size))


def read(purpose: bytes, text: str, shortest: int, longest: int) -> bytes:
    """The bytes of a code, without its checksum.

    Args:
        shortest: bytes that a code has at least, with its checksum; `longest`: at most.

    Raises:
        InvitationError: .cause is "empty", "character", "too-short" or "checksum".
    """
    data = _from_base32(_letters(text, 2 * longest))
    if len(data) < shortest:
        raise InvitationError("too-short", "the code is incomplete")
    body, checksum = data[:-CHECKSUM], data[-CHECKSUM:]
    if not hmac.compare_digest(_checksum(purpose, body), checksum):
        raise InvitationError("checksum", "a letter of the code is wrong, missing or too many")
    return body


def read_grouped(text: str, size: int) -> bytes:
    """So many bytes from a code without a checksum. Raises InvitationError."""
    data = _from_base32(_letters(text, 2 * size))
    if len(data) != size:
        raise InvitationError("too-short", "the code is incomplete, or too long")
    return data


def _letters(text: str, most: int) -> str:
    letters = text.translate(_IGNORED).upper()
    if not letters:
        raise InvitationError("empty", "the code is empty")
    if len(letters) > most:
        raise InvitationError("checksum", "the code is too long")
    for letter in letters:
        if letter not in _VALUES:
            raise InvitationError("character", "the code has a character that no code has")
    return letters


def _checksum(purpose: bytes, body: bytes) -> bytes:
    return hashlib.sha256(purpose + body).digest()[:CHECKSUM]


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
