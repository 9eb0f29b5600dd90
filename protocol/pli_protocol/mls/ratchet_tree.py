"""The ratchet tree (RFC 9420 §4, §7): the group's members and the keys of its subgroups."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from . import tree_math
from .ciphersuite import CipherSuite
from .codec import Reader, Writer
from .errors import CodecError, UsageError
from .leaf_node import LeafNode
from .node import Node, ParentNode, read_node
from .quick import quick
from .tree_hash import fill_hashes
from .tree_index import LazyIndex, TreeIndex
from .tree_math import LeafIndex, NodeIndex

MAX_LEAVES = 1 << 16
"""Leaves of the widest tree that is read: on the wire a blank node is one byte, here a hundred."""

_Hashes = list[bytes | None]


# How optional<Node> begins: presence, node_type.
_BLANK, _LEAF, _PARENT = b"\x00", b"\x01\x01", b"\x01\x02"


# optional<Node> ratchet_tree<V>;
@quick
@dataclass(frozen=True, slots=True)
class RatchetTree:
    """The public part of the tree, a value: every change gives another tree.

    `nodes` is the array of §12.4.3.3, filled up with blanks to 2^(d+1) - 1 nodes. Tree hashes are
    kept per node; a changed tree takes over those that the change did not touch.
    """

    nodes: tuple[Node | None, ...]
    # By name of the hash; filled when asked for, so that equal trees may differ here.
    _hashes: dict[str, _Hashes] = field(default_factory=dict, repr=False, compare=False)
    _index: LazyIndex = field(default_factory=LazyIndex, repr=False, compare=False)

    # --- making and encoding ---

    @classmethod
    def of_leaf(cls, leaf: LeafNode) -> Self:
        """The tree of a group's creator."""
        return cls((leaf,))

    @classmethod
    def from_nodes(cls, nodes: Mapping[int, Node]) -> Self:
        """The smallest tree that has these nodes.

        Raises:
            CodecError: there is no leaf, or a node stands where its kind cannot.
        """
        if not nodes:
            raise CodecError("a ratchet tree without nodes")
        width = tree_math.node_width(tree_math.full_leaf_count(max(nodes) + 1))
        return cls._checked(tuple(nodes.get(index) for index in range(width)))

    @classmethod
    def _checked(cls, nodes: tuple[Node | None, ...]) -> Self:
        if not all(node is None or isinstance(node, LeafNode) for node in nodes[::2]):
            raise CodecError("a parent node in the place of a leaf", "node-place", "§12.4.3.3")
        if not all(node is None or isinstance(node, ParentNode) for node in nodes[1::2]):
            raise CodecError("a leaf in the place of a parent node", "node-place", "§12.4.3.3")
        return cls(nodes)

    def write(self, w: Writer) -> None:
        """The ratchet_tree of §12.4.3.3, without the blanks at its end."""
        last = len(self.nodes) - 1
        while self.nodes[last] is None:
            last -= 1
        encoded: list[bytes] = []
        for node in self.nodes[: last + 1]:
            if node is None:
                encoded.append(_BLANK)
            else:
                encoded += (_LEAF if isinstance(node, LeafNode) else _PARENT, node.encoded)
        w.opaque(b"".join(encoded))

    @classmethod
    def read(cls, r: Reader, max_leaves: int = MAX_LEAVES) -> Self:
        """The ratchet_tree of §12.4.3.3. What it means is checked by `check_tree`.

        Args:
            r: what to read from.
            max_leaves: how many leaves it may have, with the blank ones.

        Raises:
            CodecError: also for a blank at the end, a node where its kind cannot stand, or too many.
        """
        left = tree_math.node_width(max_leaves)

        def read_next(r: Reader) -> Node | None:
            nonlocal left
            if left == 0:
                raise CodecError("a ratchet tree is too wide", "tree-width", "§12.4.3.3")
            left -= 1
            return r.optional(read_node)

        listed = r.vector(read_next)
        if not listed or listed[-1] is None:
            raise CodecError("a ratchet tree ends in a blank node", "tree-end", "§12.4.3.3")
        width = tree_math.node_width(tree_math.full_leaf_count(len(listed)))
        return cls._checked(listed + (None,) * (width - len(listed)))

    # --- looking ---

    @property
    def width(self) -> int:
        """How many nodes there are, with the blank ones."""
        return len(self.nodes)

    @property
    def leaf_count(self) -> int:
        """How many leaves there are, with the blank ones: a power of two."""
        return (len(self.nodes) + 1) // 2

    @property
    def root(self) -> NodeIndex:
        """The root's index."""
        return tree_math.root(self.leaf_count)

    def node(self, index: int) -> Node | None:
        """A node; None for one that is blank or outside of the tree."""
        return self.nodes[index] if 0 <= index < len(self.nodes) else None

    def leaf(self, index: int) -> LeafNode | None:
        """A leaf by its leaf index; None for one that is blank or outside of the tree."""
        node = self.node(2 * index)
        assert node is None or isinstance(node, LeafNode)
        return node

    def parent_node(self, index: int) -> ParentNode | None:
        """A parent node by its node index; None for a blank one."""
        node = self.nodes[index]
        assert node is None or isinstance(node, ParentNode)
        return node

    def leaves(self) -> Iterator[tuple[LeafIndex, LeafNode]]:
        """Leaves that are not blank, from the left."""
        for index, node in enumerate(self.nodes[::2]):
            if isinstance(node, LeafNode):
                yield LeafIndex(index), node

    def parents(self) -> Iterator[tuple[NodeIndex, ParentNode]]:
        """Parent nodes that are not blank, from the left."""
        for index, node in enumerate(self.nodes[1::2]):
            if isinstance(node, ParentNode):
                yield NodeIndex(2 * index + 1), node

    def find_leaf(self, leaf: LeafNode) -> LeafIndex | None:
        """Where exactly this leaf stands."""
        key = leaf.encryption_key
        for index, other in self.leaves():
            if other.encryption_key == key and other.encoded == leaf.encoded:
                return index
        return None

    @property
    def index(self) -> TreeIndex:
        """How often keys and kinds of credentials stand in the tree."""
        return self._index.of(self.nodes)

    def is_blank_below(self, node: int) -> bool:
        """Whether a node's subtree is all blank, and its resolution so empty."""
        first, last = tree_math.subtree(node)
        return not any(self.nodes[first : last + 1])

    def resolution(self, node: int) -> tuple[NodeIndex, ...]:
        """The fewest non-blank nodes that cover all members below a node (§4.1.1)."""
        found: list[NodeIndex] = []
        waiting = [node]
        while waiting:
            index = waiting.pop()
            value = self.nodes[index]
            if value is not None:
                found.append(NodeIndex(index))
                if isinstance(value, ParentNode):
                    found.extend(NodeIndex(2 * leaf) for leaf in value.unmerged_leaves)
            elif index & 1 and not self.is_blank_below(index):
                waiting += (tree_math.right(index), tree_math.left(index))
        return tuple(found)

    def direct_path(self, leaf: int) -> tuple[NodeIndex, ...]:
        """The ancestors of a leaf, the root last."""
        return tuple(tree_math.direct_path(2 * leaf, self.leaf_count))

    def copath(self, leaf: int) -> tuple[NodeIndex, ...]:
        """For each node of the direct path its child that is not on the way to the leaf."""
        return tuple(tree_math.copath(2 * leaf, self.leaf_count))

    def filtered_path(self, leaf: int) -> tuple[tuple[NodeIndex, NodeIndex], ...]:
        """The filtered direct path (§4.1.2), each node with its child on the copath."""
        pairs = zip(self.direct_path(leaf), self.copath(leaf), strict=True)
        return tuple((node, child) for node, child in pairs if not self.is_blank_below(child))

    def filtered_direct_path(self, leaf: int) -> tuple[NodeIndex, ...]:
        """The ancestors of a leaf without those whose child on the copath covers nobody."""
        return tuple(node for node, _ in self.filtered_path(leaf))

    # --- tree hashes ---

    def tree_hash(self, suite: CipherSuite) -> bytes:
        """The tree hash of the root (§7.8)."""
        return self.node_hash(suite, self.root)

    def node_hash(self, suite: CipherSuite, node: int) -> bytes:
        """The tree hash of a node (§7.8)."""
        hashes = self._hashes.get(suite.hash_name)
        if hashes is None:
            hashes = self._hashes[suite.hash_name] = [None] * len(self.nodes)
        return fill_hashes(suite, self.nodes, hashes, node)

    # --- changing ---

    def with_nodes(self, changed: Mapping[int, Node | None]) -> RatchetTree:
        """The tree with other nodes in these places, all of them inside the tree."""
        nodes = list(self.nodes)
        for index, node in changed.items():
            nodes[index] = node
        return RatchetTree(tuple(nodes), self._hashes_without(changed), self._index.after(changed))

    def _hashes_without(self, changed: Collection[int]) -> dict[str, _Hashes]:
        kept = {}
        for name, hashes in self._hashes.items():
            copy = hashes.copy()
            for index in changed:
                node, top = index, self.root
                # Above a node without a hash there is none either.
                while copy[node] is not None:
                    copy[node] = None
                    if node != top:
                        node = tree_math.parent(node)
            kept[name] = copy
        return kept

    def _extended(self) -> RatchetTree:
        """Twice as many leaves (§7.7): a blank root, below it this tree and a blank one."""
        added = len(self.nodes) + 1
        blanks: _Hashes = [None] * added
        return RatchetTree(
            self.nodes + (None,) * added,
            {name: hashes + blanks for name, hashes in self._hashes.items()},
            self._index.after(),
        )

    def _truncated(self) -> RatchetTree:
        """Without blank right halves (§7.7)."""
        width = len(self.nodes)
        while width > 1 and not any(self.nodes[width // 2 + 1 : width]):
            width //= 2
        if width == len(self.nodes):
            return self
        kept = {name: hashes[:width] for name, hashes in self._hashes.items()}
        # Nodes above a blank half need not be blank in a tree that others made.
        cut = [at for at in range(width, len(self.nodes)) if self.nodes[at] is not None]
        return RatchetTree(self.nodes[:width], kept, self._index.after(cut))

    def with_free_leaf(self) -> tuple[RatchetTree, LeafIndex]:
        """The leftmost blank leaf, left blank; the tree is extended when there is none (§7.7)."""
        for index, node in enumerate(self.nodes[::2]):
            if node is None:
                return self, LeafIndex(index)
        return self._extended(), LeafIndex(self.leaf_count)

    def add_leaf(self, leaf: LeafNode) -> tuple[RatchetTree, LeafIndex]:
        """Add a member (§12.1.1): leftmost blank leaf, unmerged in all non-blank ancestors."""
        tree, index = self.with_free_leaf()
        changed: dict[int, Node | None] = {2 * index: leaf}
        for ancestor in tree.direct_path(index):
            node = tree.parent_node(ancestor)
            if node is not None:
                unmerged = tuple(sorted({*node.unmerged_leaves, index}))
                changed[ancestor] = ParentNode(node.encryption_key, node.parent_hash, unmerged)
        return tree.with_nodes(changed), index

    def changed(
        self,
        updated: Iterable[tuple[int, LeafNode]],
        removed: Iterable[int],
        added: Sequence[LeafNode],
    ) -> tuple[RatchetTree, tuple[LeafIndex, ...]]:
        """Many members updated, then removed, then added, as if one after the other (§12.3).

        A list of n changes costs O(n log m) besides one copy of a tree of m members.

        Returns:
            The tree, and where the added leaves stand.

        Raises:
            UsageError: a leaf to update or to remove is blank.
        """
        nodes: dict[int, Node | None] = {}
        for index, leaf in updated:
            self._put_leaf(nodes, index, leaf)
        some_removed = False
        for index in removed:
            self._put_leaf(nodes, index, None)
            some_removed = True
        tree = self.with_nodes(nodes) if nodes else self
        if some_removed:
            tree = tree._truncated()
        return tree._with_added(added) if added else (tree, ())

    def _with_added(self, added: Sequence[LeafNode]) -> tuple[RatchetTree, tuple[LeafIndex, ...]]:
        tree = self
        blank = [LeafIndex(at) for at, node in enumerate(tree.nodes[::2]) if node is None]
        while len(blank) < len(added):
            blank += map(LeafIndex, range(tree.leaf_count, 2 * tree.leaf_count))
            tree = tree._extended()
        places = tuple(blank[: len(added)])
        changed: dict[int, Node | None] = {}
        unmerged: dict[int, list[int]] = {}
        for index, leaf in zip(places, added, strict=True):
            changed[2 * index] = leaf
            for ancestor in tree.direct_path(index):
                if tree.nodes[ancestor] is not None:
                    unmerged.setdefault(ancestor, []).append(index)
        for above, leaves in unmerged.items():
            node = tree.parent_node(above)
            if node is not None:
                all_leaves = tuple(sorted({*node.unmerged_leaves, *leaves}))
                changed[above] = ParentNode(node.encryption_key, node.parent_hash, all_leaves)
        return tree.with_nodes(changed), places

    def update_leaf(self, index: int, leaf: LeafNode) -> RatchetTree:
        """Replace a member's leaf and blank its direct path (§12.1.2)."""
        return self._replace_leaf(index, leaf)

    def remove_leaf(self, index: int) -> RatchetTree:
        """Blank a member's leaf and direct path, and truncate the tree (§12.1.3).

        Without members, as for a moment when a group's only one joins anew by an external commit,
        the tree is one blank leaf.

        Raises:
            UsageError: the leaf is blank.
        """
        return self._replace_leaf(index, None)._truncated()

    def _replace_leaf(self, index: int, leaf: LeafNode | None) -> RatchetTree:
        changed: dict[int, Node | None] = {}
        self._put_leaf(changed, index, leaf)
        return self.with_nodes(changed)

    def _put_leaf(self, changed: dict[int, Node | None], index: int, leaf: LeafNode | None) -> None:
        if self.leaf(index) is None:
            raise UsageError("the leaf is blank")
        changed[2 * index] = leaf
        # Blank nodes need no change, but their tree hashes do: `with_nodes` sees to that.
        for ancestor in self.direct_path(index):
            if self.nodes[ancestor] is not None:
                changed[ancestor] = None
