"""Owners: the numbers under which nodes keep each other out while one checks and then writes.

A job names the owners of what it reads before it decides: an establishment for what is counted in it
(enrolments, issuers), a person for accounts, devices, tokens, key packages and blobs of hers, a code for
its one use. While it runs no other node runs a job with one of these. A job that names none (None) is
alone: nobody else's job with owners runs beside it. Messages need none: they lock their group.
"""

import hashlib
from typing import TypeAlias

Owners: TypeAlias = tuple[int, ...] | None


def of_establishment(establishment: bytes) -> int:
    """All that an establishment has in common."""
    return _number("establishment", establishment)


def of_account(establishment: bytes, account: bytes) -> int:
    """A person's account, known here or not."""
    return _number("account", establishment, account)


def of_code(digest: bytes) -> int:
    """A one-time code of the host."""
    return _number("code", digest)


def _number(kind: str, *parts: bytes) -> int:
    """64 bits, signed, as PostgreSQL numbers its advisory locks. Two that are equal only wait in vain."""
    digest = hashlib.sha256(f"pli lock {kind}".encode())
    for part in parts:
        digest.update(len(part).to_bytes(2, "big") + part)
    return int.from_bytes(digest.digest()[:8], "big", signed=True)
