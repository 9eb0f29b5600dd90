"""What a member knows of the tree's private keys, and how they come from path secrets (RFC 9420 §7.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Self

from ..secret import Secret
from . import hpke, tree_math
from .ciphersuite import CipherSuite, HPKEPrivateKey, KEMKeyPair
from .codec import Reader, Writer
from .errors import CodecError, ValidationError
from .labels import derive_secret
from .quick import quick
from .ratchet_tree import RatchetTree


class PathSecret(Secret):
    """path_secret of a node on the filtered direct path (§7.4), Nh bytes."""


class CommitSecret(Secret):
    """commit_secret: one step beyond the last path secret (§12.4.1), Nh bytes."""


def next_secret(suite: CipherSuite, secret: PathSecret) -> PathSecret:
    """The path secret of the next node up the filtered direct path."""
    return PathSecret(derive_secret(suite, secret, "path"))


def node_key(suite: CipherSuite, secret: PathSecret) -> KEMKeyPair:
    """The key pair of the node that a path secret belongs to."""
    return hpke.derive_key_pair(suite, derive_secret(suite, secret, "node"))


def derive_keys(
    suite: CipherSuite, secret: PathSecret, public_keys: Mapping[int, bytes]
) -> tuple[dict[int, KEMKeyPair], CommitSecret]:
    """Key pairs of nodes in the order of the path, from the first one's secret, and what follows.

    Raises:
        ValidationError: "path-key-mismatch" unless each key is the one that `public_keys` announces.
    """
    keys = {}
    for index, public in public_keys.items():
        pair = node_key(suite, secret)
        if pair.public != public:
            raise ValidationError("path-key-mismatch", "§7.5")
        keys[index] = pair
        secret = next_secret(suite, secret)
    return keys, CommitSecret(secret)


# Pli's own:
# struct {
#     opaque public<V>;
#     opaque private<V>;
# } KEMKeyPair;
#
# struct {
#     uint32 node;
#     KEMKeyPair pair;
# } PathKey;
#
# struct {
#     uint32 leaf;
#     KEMKeyPair leaf_key;
#     PathKey path_keys<V>;
# } PrivateTree;
@quick
@dataclass(frozen=True, slots=True)
class PrivateTree:
    """The private keys that a member has: its leaf's, and of nodes above it, by node index."""

    leaf: int
    leaf_key: KEMKeyPair = field(repr=False)
    path_keys: Mapping[int, KEMKeyPair] = field(default_factory=dict, repr=False)

    @classmethod
    def of_leaf(cls, leaf: int, leaf_key: KEMKeyPair) -> Self:
        """That of a member who knows its leaf's key only."""
        return cls(leaf, leaf_key)

    @classmethod
    def joined(
        cls,
        suite: CipherSuite,
        tree: RatchetTree,
        leaf: int,
        leaf_key: KEMKeyPair,
        committer: int,
        path_secret: bytes | None,
    ) -> Self:
        """That of a new member, from the path secret in its Welcome (§12.4.3.1).

        Args:
            tree: the tree of the new epoch.
            committer: leaf index of the GroupInfo's signer.
            path_secret: of the lowest common ancestor with the committer; None without a path.

        Raises:
            ValidationError: "path-key-mismatch" when a derived key is not the tree's.
        """
        if path_secret is None:
            return cls(leaf, leaf_key)
        if leaf == committer:
            raise ValidationError("path-key-mismatch", "§12.4.3.1", "the committer is ourselves")
        ancestor = tree_math.common_ancestor(2 * leaf, 2 * committer)
        public_keys: dict[int, bytes] = {}
        for index in (ancestor, *tree_math.direct_path(ancestor, tree.leaf_count)):
            node = tree.parent_node(index)
            # The commit has just set its filtered direct path and blanked the rest of the path.
            if node is not None:
                public_keys[index] = node.encryption_key
        if ancestor not in public_keys:
            raise ValidationError("path-key-mismatch", "§12.4.3.1")
        keys, _ = derive_keys(suite, PathSecret(path_secret), public_keys)
        return cls(leaf, leaf_key, keys)

    def key(self, node: int) -> KEMKeyPair | None:
        """The key of a node, if it is known."""
        return self.leaf_key if node == 2 * self.leaf else self.path_keys.get(node)

    def with_leaf_key(self, leaf_key: KEMKeyPair) -> PrivateTree:
        """With the key of a new own leaf (an Update of ours was committed)."""
        return replace(self, leaf_key=leaf_key)

    def pruned(self, tree: RatchetTree) -> PrivateTree:
        """Without the keys of nodes that are blank now, or have another key."""
        kept = {
            index: pair
            for index, pair in self.path_keys.items()
            if (node := tree.node(index)) is not None and node.encryption_key == pair.public
        }
        return self if len(kept) == len(self.path_keys) else replace(self, path_keys=kept)

    def write(self, w: Writer) -> None:
        """Our own format, secret: leaf, its pair, then node index and pair of each node."""
        w.u32(self.leaf)
        _write_pair(w, self.leaf_key)
        w.vector(sorted(self.path_keys.items(), key=lambda item: item[0]), _write_path_key)

    @classmethod
    def read(cls, r: Reader) -> Self:
        leaf, leaf_key, listed = r.u32(), _read_pair(r), r.vector(_read_path_key)
        indices = [index for index, _ in listed]
        if any(one >= following for one, following in pairwise(indices)):
            raise CodecError("the keys of a stored path are not in increasing order")
        return cls(leaf, leaf_key, dict(listed))


def _write_pair(w: Writer, pair: KEMKeyPair) -> None:
    w.opaque(pair.public)
    w.opaque(pair.private)


def _read_pair(r: Reader) -> KEMKeyPair:
    return KEMKeyPair(r.opaque(), HPKEPrivateKey(r.opaque()))


def _write_path_key(w: Writer, item: tuple[int, KEMKeyPair]) -> None:
    w.u32(item[0])
    _write_pair(w, item[1])


def _read_path_key(r: Reader) -> tuple[int, KEMKeyPair]:
    return r.u32(), _read_pair(r)
