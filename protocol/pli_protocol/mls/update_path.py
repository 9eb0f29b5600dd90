"""TreeKEM: update paths, made, merged and opened (RFC 9420 §7.4–7.6, §12.4.1, §12.4.2).

In all functions `tree` is the tree after the commit's proposals were applied, `sender` the committer's
leaf index in it. For an external commit that leaf is blank: the one that `tree.with_free_leaf()` gives.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple, Self

from . import tree_math
from .ciphersuite import CipherSuite, KEMKeyPair, Random, SignatureKeyPair
from .codec import Reader, Writer
from .errors import CryptoError, ValidationError
from .labels import HPKECiphertext, decrypt_with_label, encrypt_to_each
from .leaf_check import check_commit_leaf, check_encryption_key, check_leaf
from .leaf_node import LeafContent, LeafNode, sign_leaf
from .parent_hash import path_nodes
from .private_tree import (
    CommitSecret,
    PathSecret,
    PrivateTree,
    derive_keys,
    next_secret,
    node_key,
)
from .quick import quick
from .ratchet_tree import RatchetTree

_LABEL = "UpdatePathNode"

ContextOf = Callable[[RatchetTree], bytes]
"""The encoded provisional GroupContext of the tree with the path in it: path secrets are bound to it."""


# struct {
#     HPKEPublicKey encryption_key;
#     HPKECiphertext encrypted_path_secret<V>;
# } UpdatePathNode;
@quick
@dataclass(frozen=True, slots=True)
class UpdatePathNode:
    """A new public key, and its path secret for each node of the copath child's resolution."""

    encryption_key: bytes
    encrypted_path_secret: tuple[HPKECiphertext, ...]

    def write(self, w: Writer) -> None:
        w.opaque(self.encryption_key)
        w.structs(self.encrypted_path_secret)

    @classmethod
    def read(cls, r: Reader) -> Self:
        return cls(r.opaque(), r.vector(HPKECiphertext.read))


# struct {
#     LeafNode leaf_node;
#     UpdatePathNode nodes<V>;
# } UpdatePath;
@quick
@dataclass(frozen=True, slots=True)
class UpdatePath:
    """The committer's new leaf, and the nodes of its filtered direct path, the root's side last."""

    leaf_node: LeafNode
    nodes: tuple[UpdatePathNode, ...]

    def write(self, w: Writer) -> None:
        self.leaf_node.write(w)
        w.structs(self.nodes)

    @classmethod
    def read(cls, r: Reader) -> Self:
        return cls(LeafNode.read(r), r.vector(UpdatePathNode.read))


@quick
@dataclass(frozen=True, slots=True)
class CreatedPath:
    """A new path of our own, and the state after it.

    Attributes:
        tree: the tree with the path merged.
        private: our private keys in it.
        path_secrets: by node index.
    """

    path: UpdatePath
    tree: RatchetTree = field(repr=False)
    private: PrivateTree
    commit_secret: CommitSecret
    path_secrets: Mapping[int, PathSecret] = field(repr=False)

    def path_secret_for(self, leaf: int) -> PathSecret | None:
        """The path secret that the Welcome brings to a leaf added by the same commit (§12.4.3)."""
        ancestor = tree_math.common_ancestor(2 * self.private.leaf, 2 * leaf)
        return self.path_secrets.get(ancestor)


@quick
@dataclass(frozen=True, slots=True)
class ProcessedPath:
    """The state after another member's path; `path_secret` is the one that was encrypted for us."""

    tree: RatchetTree = field(repr=False)
    private: PrivateTree
    commit_secret: CommitSecret
    path_secret: PathSecret


def create_update_path(
    suite: CipherSuite,
    tree: RatchetTree,
    sender: int,
    content: LeafContent,
    signer: SignatureKeyPair,
    *,
    group_id: bytes,
    context: ContextOf,
    added: Collection[int] = (),
    random: Random = os.urandom,
) -> CreatedPath:
    """Fresh keys for the sender's leaf and all above it, encrypted to the group (§7.5).

    Args:
        content: what the new leaf says; its signature key is the signer's.
        added: leaves that this commit adds; their secrets go into the Welcome.
    """
    filtered = tree.filtered_path(sender)
    secrets = [PathSecret(random(suite.hash_size))]
    for _ in filtered:
        secrets.append(next_secret(suite, secrets[-1]))
    commit_secret = CommitSecret(secrets.pop())
    pairs = [node_key(suite, secret) for secret in secrets]
    leaf_key = suite.generate_kem_key(random)

    changed, leaf_parent_hash = path_nodes(
        suite, tree, sender, filtered, [pair.public for pair in pairs]
    )
    leaf = sign_leaf(suite, signer, content, leaf_key.public, leaf_parent_hash, group_id, sender)
    check_leaf(suite, leaf)
    merged = tree.with_nodes({**changed, 2 * sender: leaf})
    bound_to = context(merged)

    receivers = [_receiver_keys(tree, child, added) for _, child in filtered]
    messages = (
        (key, secret) for keys, secret in zip(receivers, secrets, strict=True) for key in keys
    )
    sealed = encrypt_to_each(suite, messages, _LABEL, bound_to, random)
    nodes = tuple(
        UpdatePathNode(pair.public, tuple(islice(sealed, len(keys))))
        for pair, keys in zip(pairs, receivers, strict=True)
    )
    indices = [node for node, _ in filtered]
    return CreatedPath(
        path=UpdatePath(leaf, nodes),
        tree=merged,
        private=PrivateTree(sender, leaf_key, dict(zip(indices, pairs, strict=True))),
        commit_secret=commit_secret,
        path_secrets=dict(zip(indices, secrets, strict=True)),
    )


def apply_update_path(
    suite: CipherSuite,
    tree: RatchetTree,
    sender: int,
    path: UpdatePath,
    *,
    group_id: bytes,
    added: Collection[int] = (),
) -> RatchetTree:
    """Check a path as far as everybody can, and merge it into the tree (§7.5, §12.4.2).

    The credential, and what needs the whole group, are the caller's to check.

    Raises:
        ValidationError: "path-length", "path-ciphertexts", "path-key", "path-key-reused",
            "path-parent-hash", and those of `check_commit_leaf`.
    """
    return _merge(suite, tree, sender, path, group_id, added).tree


class _Merged(NamedTuple):
    """The tree with a path in it; the filtered direct path and the receivers at each node of it."""

    tree: RatchetTree
    filtered: Sequence[tuple[int, int]]
    receivers: Sequence[Sequence[int]]


def _merge(
    suite: CipherSuite,
    tree: RatchetTree,
    sender: int,
    path: UpdatePath,
    group_id: bytes,
    added: Collection[int],
) -> _Merged:
    filtered = tree.filtered_path(sender)
    if len(path.nodes) != len(filtered):
        raise ValidationError("path-length", "§7.5")
    receivers = [_receivers(tree, child, added) for _, child in filtered]
    for those, node in zip(receivers, path.nodes, strict=True):
        if len(node.encrypted_path_secret) != len(those):
            raise ValidationError("path-ciphertexts", "§7.6")
    check_commit_leaf(suite, path.leaf_node, group_id, sender)
    keys = [node.encryption_key for node in path.nodes]
    _check_keys_fresh(suite, tree, [path.leaf_node.encryption_key, *keys])
    changed, leaf_parent_hash = path_nodes(suite, tree, sender, filtered, keys)
    if path.leaf_node.parent_hash != leaf_parent_hash:
        raise ValidationError("path-parent-hash", "§7.9.2")
    merged = tree.with_nodes({**changed, 2 * sender: path.leaf_node})
    return _Merged(merged, filtered, receivers)


def process_update_path(
    suite: CipherSuite,
    tree: RatchetTree,
    private: PrivateTree,
    sender: int,
    path: UpdatePath,
    *,
    group_id: bytes,
    context: ContextOf,
    added: Collection[int] = (),
) -> ProcessedPath:
    """Merge another member's path and take our part of its secrets (§7.5, §12.4.2).

    Args:
        private: our private keys before the commit; what the proposals blanked is left out here.
        added: leaves that this commit adds; we are not one of them.

    Raises:
        ValidationError: those of `apply_update_path`; "path-not-for-us"; "path-secret" when it
            does not open; "path-key-mismatch" when it is not the secret of the path's keys.
    """
    merged, filtered, receivers = _merge(suite, tree, sender, path, group_id, added)
    # Our side of the tree: the one copath child that is above us.
    position = next(
        (
            at
            for at, (_, child) in enumerate(filtered)
            if tree_math.in_subtree(2 * private.leaf, child)
        ),
        None,
    )
    if position is None:
        raise ValidationError("path-not-for-us", "§7.5")
    pair, sealed = _addressed_to(tree, private, receivers[position], path.nodes[position])
    try:
        opened = decrypt_with_label(suite, pair, _LABEL, context(merged), sealed)
    except CryptoError as error:
        raise ValidationError("path-secret", "§7.6") from error
    if len(opened) != suite.hash_size:
        raise ValidationError("path-secret", "§7.6")
    secret = PathSecret(opened)
    public_keys: dict[int, bytes] = {
        index: node.encryption_key
        for (index, _), node in zip(filtered[position:], path.nodes[position:], strict=True)
    }
    keys, commit_secret = derive_keys(suite, secret, public_keys)
    following = replace(private, path_keys={**private.path_keys, **keys}).pruned(merged)
    return ProcessedPath(merged, following, commit_secret, secret)


# --- receivers (§7.6) ---------------------------------------------------------------------------


def _receivers(tree: RatchetTree, child: int, added: Collection[int]) -> Sequence[int]:
    """The resolution of a copath child without leaves that the commit adds."""
    resolution = tree.resolution(child)
    if not added:
        return resolution
    joined = frozenset(added)
    return [node for node in resolution if node & 1 or node >> 1 not in joined]


def _receiver_keys(tree: RatchetTree, child: int, added: Collection[int]) -> list[bytes]:
    nodes = (tree.nodes[index] for index in _receivers(tree, child, added))
    return [node.encryption_key for node in nodes if node is not None]


def _addressed_to(
    tree: RatchetTree, private: PrivateTree, receivers: Sequence[int], node: UpdatePathNode
) -> tuple[KEMKeyPair, HPKECiphertext]:
    for index, sealed in zip(receivers, node.encrypted_path_secret, strict=True):
        pair, receiver = private.key(index), tree.nodes[index]
        if pair is not None and receiver is not None and receiver.encryption_key == pair.public:
            return pair, sealed
    raise ValidationError("path-not-for-us", "§7.6")


def _check_keys_fresh(suite: CipherSuite, tree: RatchetTree, keys: Sequence[bytes]) -> None:
    """§12.4.2: none of the path's keys stands in the tree; nor, so it stays true, twice in the path."""
    used = tree.index.encryption_keys
    if len(set(keys)) != len(keys) or any(key in used for key in keys):
        raise ValidationError("path-key-reused", "§12.4.2")
    for key in keys:
        check_encryption_key(suite, key, "path-key")
