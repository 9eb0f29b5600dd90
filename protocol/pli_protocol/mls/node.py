"""Nodes of the ratchet tree (RFC 9420 §7.1, §12.4.3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from .codec import Reader, Writer
from .errors import CodecError
from .leaf_node import LeafNode


class NodeType(IntEnum):
    """enum { reserved(0), leaf(1), parent(2), (255) } NodeType;"""

    LEAF = 1
    PARENT = 2


# struct {
#     HPKEPublicKey encryption_key;
#     opaque parent_hash<V>;
#     uint32 unmerged_leaves<V>;
# } ParentNode;
@dataclass(frozen=True, slots=True)
class ParentNode:
    """A parent node; `unmerged_leaves` are leaf indices in increasing order."""

    encryption_key: bytes
    parent_hash: bytes = b""
    unmerged_leaves: tuple[int, ...] = ()

    def write(self, w: Writer) -> None:
        w.opaque(self.encryption_key)
        w.opaque(self.parent_hash)
        leaves = self.unmerged_leaves
        w.opaque(b"".join([leaf.to_bytes(4, "big") for leaf in leaves]))

    @classmethod
    def read(cls, r: Reader) -> Self:
        encryption_key, parent_hash = r.opaque(), r.opaque()
        leaves = r.vector(Reader.u32)
        if any(one >= next_one for one, next_one in zip(leaves, leaves[1:], strict=False)):
            raise CodecError("unmerged_leaves are not in increasing order")
        return cls(encryption_key, parent_hash, leaves)


# struct {
#     NodeType node_type;
#     select (Node.node_type) {
#         case leaf:   LeafNode leaf_node;
#         case parent: ParentNode parent_node;
#     };
# } Node;
Node = LeafNode | ParentNode


def write_node(w: Writer, node: Node) -> None:
    """Append the struct Node."""
    w.u8(NodeType.LEAF if isinstance(node, LeafNode) else NodeType.PARENT)
    node.write(w)


def read_node(r: Reader) -> Node:
    """Read the struct Node."""
    node_type = r.u8()
    if node_type == NodeType.LEAF:
        return LeafNode.read(r)
    if node_type == NodeType.PARENT:
        return ParentNode.read(r)
    raise CodecError("an unknown node_type")
