"""Nodes of the ratchet tree (RFC 9420 §7.1, §12.4.3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from .codec import Reader, Writer
from .errors import CodecError
from .leaf_node import LeafNode
from .quick import quick


# enum {
#     reserved(0),
#     leaf(1),
#     parent(2),
#     (255)
# } NodeType;
class NodeType(IntEnum):
    """Which kind of node follows (§7.8, §12.4.3.3)."""

    LEAF = 1
    PARENT = 2


# struct {
#     HPKEPublicKey encryption_key;
#     opaque parent_hash<V>;
#     uint32 unmerged_leaves<V>;
# } ParentNode;
@quick
@dataclass(frozen=True, slots=True)
class ParentNode:
    """A parent node; `unmerged_leaves` are leaf indices in increasing order."""

    encryption_key: bytes
    parent_hash: bytes = b""
    unmerged_leaves: tuple[int, ...] = ()
    # Made once, or taken from the wire: tree hashes, Welcomes and stored trees all need it.
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def encoded(self) -> bytes:
        """The encoding of the struct."""
        encoded = self._encoded
        if encoded is None:
            w = Writer()
            w.opaque(self.encryption_key)
            w.opaque(self.parent_hash)
            w.u32s(self.unmerged_leaves)
            encoded = w.getvalue()
            object.__setattr__(self, "_encoded", encoded)
        return encoded

    def write(self, w: Writer) -> None:
        w.raw(self.encoded)

    @classmethod
    def read(cls, r: Reader) -> Self:
        start = r.position
        encryption_key, parent_hash, leaves = r.opaque(), r.opaque(), r.u32s()
        if any(one >= next_one for one, next_one in zip(leaves, leaves[1:], strict=False)):
            raise CodecError("unmerged_leaves are not in order", "unmerged-order", "§7.1")
        node = cls(encryption_key, parent_hash, leaves)
        # The codec accepts one form only, so these bytes are what we would write.
        object.__setattr__(node, "_encoded", r.since(start))
        return node


# struct {
#     NodeType node_type;
#     select (Node.node_type) {
#         case leaf:   LeafNode leaf_node;
#         case parent: ParentNode parent_node;
#     };
# } Node;
Node = LeafNode | ParentNode


def encode_node(node: Node) -> bytes:
    """The encoding of the struct Node."""
    return (b"\x01" if isinstance(node, LeafNode) else b"\x02") + node.encoded


def write_node(w: Writer, node: Node) -> None:
    """Append the struct Node."""
    w.raw(encode_node(node))


def read_node(r: Reader) -> Node:
    """Read the struct Node."""
    node_type = r.u8()
    if node_type == NodeType.LEAF:
        return LeafNode.read(r)
    if node_type == NodeType.PARENT:
        return ParentNode.read(r)
    raise CodecError("an unknown node_type", "enum", "§12.4.3.3")
