"""What a leaf of the log is: a class, and a salted hash of a body that retention may take away.

    leaf data  = "pli entry v1" || len(class) || class || SHA-256(salt || body)
    leaf hash  = SHA-256(00 || leaf data)

The salt is 32 random bytes: once it and the body are deleted nobody can guess the body from the hash,
and the hash never changes. The messages accepted in one transaction share one leaf of class `messages`,
whose body commits to the list of their chain hashes by a Merkle root of its own.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from .hashing import Hash, Millis, leaf_hash, root_of

MESSAGES: Final = "messages"
"""The class of a leaf that stands for messages."""

_DOMAIN: Final = b"pli entry v1"


def leaf_data(kind: str, digest: bytes) -> bytes:
    """The bytes under a leaf's hash: its class, and `digest`, SHA-256(salt || body) (32 bytes)."""
    name = kind.encode()
    return b"".join((_DOMAIN, bytes((len(name),)), name, digest))


class Batch(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a `messages` leaf: how many rows one transaction took, and the root over them."""

    time: Millis
    count: Annotated[int, Meta(ge=1, lt=2**53)]
    root: Hash


def batch_root(chains: Iterable[bytes]) -> bytes:
    """The Merkle root over rows: a leaf of it is the hash of a row's chain hash (`row_leaves`)."""
    return root_of(row_leaves(chains))


def row_leaves(chains: Iterable[bytes]) -> list[bytes]:
    """The inner tree's leaf hashes, in its order: that of the chain hashes as bytes."""
    return [leaf_hash(chain) for chain in sorted(chains)]


def batch_body(time: int, chains: Sequence[bytes]) -> bytes:
    """The body over the chain hashes of the rows of one transaction; canonical MessagePack."""
    return msgspec.msgpack.encode(Batch(time, len(chains), batch_root(chains)))


def read_batch(body: bytes) -> Batch:
    """Raises ValueError where the bytes are not the body of a `messages` leaf."""
    try:
        return msgspec.msgpack.decode(body, type=Batch)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        raise ValueError("not the body of a leaf of messages") from None


def digest_of(salt: bytes, body: bytes) -> bytes:
    """SHA-256(salt || body): 32 bytes, what stays when salt and body go."""
    return hashlib.sha256(salt + body).digest()
