"""The relay's audit log: its newest signed head, and proofs over it."""

from typing import Annotated

from msgspec import Meta, Struct

from ...transparency.heads import SignedHead
from ...transparency.proofs import MAX_PATH
from .values import Frame, GroupId, Id32, Number, Request, Rid

Path = Annotated[tuple[Id32, ...], Meta(max_length=MAX_PATH)]
"""Hashes of a proof, from the leaf's side upwards (RFC 9162 §2.1.3, §2.1.4)."""


class GetHead(Request, frozen=True):
    """The newest head of the relay's log, signed."""


class Head(Frame, frozen=True):
    rid: Rid
    head: SignedHead


class GetConsistency(Request, frozen=True):
    """Prove that the log of `first` entries is a prefix of that of `second`, in one timeline."""

    timeline: Number
    first: Number
    second: Number


class Consistency(Frame, frozen=True):
    rid: Rid
    path: Path


class GetInclusion(Request, frozen=True):
    """Prove that a row of a group that this device was sent is in the log."""

    group: GroupId
    seq: Number


class RowProof(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a row stands in the log, and what leads from its chain hash to a head's root.

    The row's chain hash is a leaf of the inner tree, whose root `body` (a transparency.Batch) names; salt
    and body are those of entry `entry`.
    """

    inner_no: Number
    inner_path: Path
    salt: Id32
    body: Annotated[bytes, Meta(min_length=1, max_length=128)]
    entry: Number
    path: Path


class Inclusion(Frame, frozen=True):
    rid: Rid
    head: SignedHead
    proof: RowProof


FromClient = GetHead | GetConsistency | GetInclusion
FromRelay = Head | Consistency | Inclusion
