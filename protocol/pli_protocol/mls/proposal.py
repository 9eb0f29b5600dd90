"""Proposals: one change to a group each (RFC 9420 §12.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from .codec import Reader, Writer
from .errors import CodecError
from .extension import Extension, read_extensions, write_extensions
from .key_package import KeyPackage
from .leaf_node import LeafNode
from .psk import PreSharedKeyID
from .quick import quick


# struct { KeyPackage key_package; } Add;
@quick
@dataclass(frozen=True, slots=True)
class Add:
    """Add the client that this key package describes (§12.1.1)."""

    proposal_type: ClassVar[int] = 1
    key_package: KeyPackage

    def write(self, w: Writer) -> None:
        """Append the struct, without its type."""
        self.key_package.write(w)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct, without its type."""
        return cls(KeyPackage.read(r))


# struct { LeafNode leaf_node; } Update;
@quick
@dataclass(frozen=True, slots=True)
class Update:
    """Replace the sender's leaf (§12.1.2)."""

    proposal_type: ClassVar[int] = 2
    leaf_node: LeafNode

    def write(self, w: Writer) -> None:
        """Append the struct, without its type."""
        self.leaf_node.write(w)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct, without its type."""
        return cls(LeafNode.read(r))


# struct { uint32 removed; } Remove;
@quick
@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the member at this leaf (§12.1.3)."""

    proposal_type: ClassVar[int] = 3
    removed: int

    def write(self, w: Writer) -> None:
        """Append the struct, without its type."""
        w.u32(self.removed)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct, without its type."""
        return cls(r.u32())


# struct { PreSharedKeyID psk; } PreSharedKey;
@quick
@dataclass(frozen=True, slots=True)
class PreSharedKey:
    """Mix a pre-shared key into the next epoch (§12.1.4)."""

    proposal_type: ClassVar[int] = 4
    psk: PreSharedKeyID

    def write(self, w: Writer) -> None:
        """Append the struct, without its type."""
        self.psk.write(w)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct, without its type."""
        return cls(PreSharedKeyID.read(r))


# struct {
#     opaque group_id<V>;
#     ProtocolVersion version;
#     CipherSuite cipher_suite;
#     Extension extensions<V>;
# } ReInit;
@quick
@dataclass(frozen=True, slots=True)
class ReInit:
    """Close the group; a new one with these parameters follows it (§12.1.5)."""

    proposal_type: ClassVar[int] = 5
    group_id: bytes
    version: int
    cipher_suite: int
    extensions: tuple[Extension, ...] = ()

    def write(self, w: Writer) -> None:
        """Append the struct, without its type."""
        w.opaque(self.group_id)
        w.u16(self.version)
        w.u16(self.cipher_suite)
        write_extensions(w, self.extensions)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct, without its type."""
        return cls(r.opaque(), r.u16(), r.u16(), read_extensions(r))


# struct { opaque kem_output<V>; } ExternalInit;
@quick
@dataclass(frozen=True, slots=True)
class ExternalInit:
    """Gives the init secret of an external commit (§12.1.6)."""

    proposal_type: ClassVar[int] = 6
    kem_output: bytes

    def write(self, w: Writer) -> None:
        """Append the struct, without its type."""
        w.opaque(self.kem_output)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct, without its type."""
        return cls(r.opaque())


# struct { Extension extensions<V>; } GroupContextExtensions;
@quick
@dataclass(frozen=True, slots=True)
class GroupContextExtensions:
    """Replace all extensions of the group (§12.1.7)."""

    proposal_type: ClassVar[int] = 7
    extensions: tuple[Extension, ...]

    def write(self, w: Writer) -> None:
        """Append the struct, without its type."""
        write_extensions(w, self.extensions)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct, without its type."""
        return cls(read_extensions(r))


# struct {
#     ProposalType proposal_type;
#     select (Proposal.proposal_type) {
#         case add:                      Add;
#         case update:                   Update;
#         case remove:                   Remove;
#         case psk:                      PreSharedKey;
#         case reinit:                   ReInit;
#         case external_init:            ExternalInit;
#         case group_context_extensions: GroupContextExtensions;
#     };
# } Proposal;
Proposal = Add | Update | Remove | PreSharedKey | ReInit | ExternalInit | GroupContextExtensions

_CLASSES: dict[int, type[Proposal]] = {
    cls.proposal_type: cls
    for cls in (Add, Update, Remove, PreSharedKey, ReInit, ExternalInit, GroupContextExtensions)
}

PATH_REQUIRED = (Update, Remove, ExternalInit, GroupContextExtensions)
"""A commit that covers one of these must have a path (§12.4)."""
ALLOWED_EXTERNAL = (Add, Remove, PreSharedKey, ReInit, GroupContextExtensions)
"""What an external sender may propose (§12.1.8)."""


def write_proposal(w: Writer, proposal: Proposal) -> None:
    """Append the struct Proposal: its type, then itself."""
    w.u16(proposal.proposal_type)
    proposal.write(w)


def read_proposal(r: Reader) -> Proposal:
    """Read the struct Proposal.

    A type that we do not know is a CodecError: its length cannot be known either.
    """
    proposal_type = r.u16()
    cls = _CLASSES.get(proposal_type)
    if cls is None:
        raise CodecError(
            f"unknown proposal type {proposal_type:#06x}", "proposal-type", "§12.2, §13.2"
        )
    return cls.read(r)


def encode_proposal(proposal: Proposal) -> bytes:
    """The struct Proposal as bytes."""
    w = Writer()
    write_proposal(w, proposal)
    return w.getvalue()


def decode_proposal(data: bytes) -> Proposal:
    """Read the struct Proposal from all of `data`. Raises CodecError."""
    r = Reader(data)
    proposal = read_proposal(r)
    r.finish()
    return proposal
