"""What stands in a ratchet tree by key: a change is checked without a look at every member.

Not part of the RFC: §7.3 and §12.4.2 ask that keys be unique among all members, which these counts tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .leaf_node import LeafNode
from .node import Node
from .quick import quick

T = TypeVar("T")
_Nodes = Sequence[Node | None]


@quick
@dataclass(frozen=True, slots=True)
class TreeIndex:
    """How often each key, and each kind of credential, stands in a tree; treat it as immutable.

    Attributes:
        nodes, leaves: how many are not blank.
        encryption_keys: of all nodes.
        signature_keys: of the leaves.
        credential_types: of the leaves' credentials.
        supported_credentials: the lists of credential types that leaves support.
    """

    nodes: int
    leaves: int
    encryption_keys: dict[bytes, int]
    signature_keys: dict[bytes, int]
    credential_types: dict[int, int]
    supported_credentials: dict[tuple[int, ...], int]

    @classmethod
    def of(cls, nodes: Iterable[Node | None]) -> TreeIndex:
        """Look at all nodes."""
        present = [node for node in nodes if node is not None]
        leaves = [node for node in present if isinstance(node, LeafNode)]
        return cls(
            len(present),
            len(leaves),
            # Plain dicts, which are copied many times faster than Counters.
            dict(Counter([node.encryption_key for node in present])),
            dict(Counter([leaf.signature_key for leaf in leaves])),
            dict(Counter([int(leaf.credential.credential_type) for leaf in leaves])),
            dict(Counter([leaf.capabilities.credentials for leaf in leaves])),
        )

    def after(self, gone: Sequence[Node], come: Sequence[Node]) -> TreeIndex:
        """The index after these nodes went and those came."""
        keys = _counted(
            self.encryption_keys,
            [node.encryption_key for node in gone],
            [node.encryption_key for node in come],
        )
        leaves_gone = [node for node in gone if isinstance(node, LeafNode)]
        leaves_come = [node for node in come if isinstance(node, LeafNode)]
        return TreeIndex(
            self.nodes - len(gone) + len(come),
            self.leaves - len(leaves_gone) + len(leaves_come),
            keys,
            _counted(
                self.signature_keys,
                [leaf.signature_key for leaf in leaves_gone],
                [leaf.signature_key for leaf in leaves_come],
            ),
            _counted(
                self.credential_types,
                [int(leaf.credential.credential_type) for leaf in leaves_gone],
                [int(leaf.credential.credential_type) for leaf in leaves_come],
            ),
            _counted(
                self.supported_credentials,
                [leaf.capabilities.credentials for leaf in leaves_gone],
                [leaf.capabilities.credentials for leaf in leaves_come],
            ),
        )


def _counted(counts: dict[T, int], gone: list[T], come: list[T]) -> dict[T, int]:
    if gone == come:
        return counts
    counts = counts.copy()
    for key in come:
        counts[key] = counts.get(key, 0) + 1
    for key in gone:
        left = counts[key] - 1
        if left:
            counts[key] = left
        else:
            del counts[key]
    return counts


class LazyIndex:
    """The index of a tree: made when asked for, then from that of the last tree that had one.

    Of that tree it keeps the nodes, and remembers where the trees since differ from them.
    """

    __slots__ = ("_known",)

    def __init__(self, known: tuple[TreeIndex, _Nodes, frozenset[int]] | None = None) -> None:
        # Replaced as a whole: two threads that ask at once make the same index twice, no worse.
        self._known = known

    def of(self, nodes: _Nodes) -> TreeIndex:
        """The index of the tree that has this object and these nodes."""
        known = self._known
        if known is None:
            index = TreeIndex.of(nodes)
        else:
            index, before, changed = known
            if before is nodes:
                return index
            gone = [node for at in changed if (node := _at(before, at)) is not None]
            come = [node for at in changed if (node := _at(nodes, at)) is not None]
            index = index.after(gone, come)
        self._known = index, nodes, frozenset()
        return index

    def after(self, changed: Collection[int] = ()) -> LazyIndex:
        """For the tree with other nodes, or none, in these places; blank ones come and go besides."""
        if self._known is None:
            return LazyIndex()
        index, nodes, before = self._known
        return LazyIndex((index, nodes, before.union(changed)))


def _at(nodes: _Nodes, index: int) -> Node | None:
    return nodes[index] if index < len(nodes) else None
