"""What two people compare: fingerprints and safety numbers."""

import hashlib

from .chain import Person

_ROUNDS = 5200
_DIGITS = 30
_GROUP = 5


def fingerprint_text(fingerprint: bytes) -> str:
    """A fingerprint in upper-case hexadecimal, in groups of four."""
    letters = fingerprint.hex().upper()
    return " ".join(letters[i : i + 4] for i in range(0, len(letters), 4))


def safety_number(one: Person, other: Person) -> str:
    """60 digits in 12 groups: the same seen from either person, another when any key changes.

    Each person gives 30 digits, the smaller first. The hash runs 5200 times so that searching a key
    with the same digits costs that much more.
    """
    digits = "".join(sorted((_digits(one), _digits(other))))
    return " ".join(digits[i : i + _GROUP] for i in range(0, len(digits), _GROUP))


def _digits(person: Person) -> str:
    fixed = b"pli safety number v1" + person.establishment + person.account + person.identity_key
    digest = hashlib.sha512(fixed).digest()
    for _ in range(_ROUNDS):
        digest = hashlib.sha512(digest + person.identity_key).digest()
    groups = (int.from_bytes(digest[i : i + 5], "big") % 100_000 for i in range(0, 30, 5))
    return "".join(f"{group:05}" for group in groups)
