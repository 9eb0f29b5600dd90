"""The account password as it leaves the device: 32 bytes of Argon2id (RFC 9106), never the password.

The salt binds them to one account and this purpose, so what the relay is shown opens no vault, not even
one whose passphrase is the same.
"""

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Final

from argon2.low_level import Type, hash_secret_raw

from ..secret import Secret

SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Cost:
    """Memory in KiB, passes, lanes. Another cost than COST gives another password."""

    memory: int = 64 * 1024
    passes: int = 3
    lanes: int = 4


COST: Final = Cost()


def derive(password: str, establishment: bytes, holder: bytes, cost: Cost = COST) -> Secret:
    """What is shown to the relay for a password (NFKC). Takes a good part of a second.

    Args:
        establishment: 16 bytes.
        holder: The account, or an issuer's id; 16 bytes.
    """
    salt = hashlib.sha256(b"pli account password v1" + establishment + holder).digest()[:16]
    return Secret(
        hash_secret_raw(
            unicodedata.normalize("NFKC", password).encode(),
            salt,
            time_cost=cost.passes,
            memory_cost=cost.memory,
            parallelism=cost.lanes,
            hash_len=SIZE,
            type=Type.ID,
        )
    )
