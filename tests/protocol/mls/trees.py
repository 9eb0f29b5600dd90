"""A group reduced to its ratchet tree: members who add, remove, update and commit paths."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pli_protocol.mls.ciphersuite import CipherSuite, KEMKeyPair, Random, SignatureKeyPair
from pli_protocol.mls.codec import Writer
from pli_protocol.mls.credential import BasicCredential
from pli_protocol.mls.key_package import KeyPackage, KeyPackageSecrets, generate_key_package
from pli_protocol.mls.leaf_node import LeafNode, Lifetime, sign_leaf
from pli_protocol.mls.private_tree import PrivateTree
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.update_path import (
    CreatedPath,
    create_update_path,
    process_update_path,
)

GROUP = b"a care team"
LIFETIME = Lifetime(1_790_000_000, 1_800_000_000)
NOW = 1_795_000_000


def seeded(seed: int) -> Random:
    """A source of bytes that gives the same ones every time; for tests only."""
    return random.Random(seed).randbytes


def key_package(
    suite: CipherSuite, name: str, source: Random
) -> tuple[KeyPackage, KeyPackageSecrets, SignatureKeyPair]:
    """A key package of a client with that name, its secrets, and its signature key."""
    signer = suite.generate_signature_key(source)
    credential = BasicCredential(name.encode())
    package, secrets = generate_key_package(
        suite, credential, signer, lifetime=LIFETIME, random=source
    )
    return package, secrets, signer


def context_of(suite: CipherSuite, tree: RatchetTree) -> bytes:
    """Stands for the encoded GroupContext: it only has to depend on the tree."""
    w = Writer()
    w.opaque(GROUP)
    w.opaque(tree.tree_hash(suite))
    return w.getvalue()


@dataclass
class TreeMember:
    """What a member keeps of the tree: its signature key and private keys."""

    signer: SignatureKeyPair
    private: PrivateTree


@dataclass
class TreeGroup:
    """All members of a tree, each with its own view of it, which must stay the same."""

    suite: CipherSuite
    source: Random
    tree: RatchetTree
    members: dict[int, TreeMember] = field(default_factory=dict)
    joined: int = 0

    @classmethod
    def create(cls, suite: CipherSuite, seed: int = 0, size: int = 1) -> "TreeGroup":
        """A group whose creator added the others one by one; each of them committed once."""
        source = seeded(seed)
        package, secrets, signer = key_package(suite, "member 0", source)
        group = cls(suite, source, RatchetTree.of_leaf(package.leaf_node))
        group.members[0] = TreeMember(signer, PrivateTree.of_leaf(0, secrets.leaf_key))
        for at in range(1, size):
            group.commit(at - 1, adds=1)
        return group

    def commit(
        self,
        committer: int,
        *,
        adds: int = 0,
        removes: Iterable[int] = (),
        updates: Iterable[int] = (),
        path: bool = True,
    ) -> CreatedPath | None:
        """A commit of these proposals, carried out by all members; newcomers join by it."""
        tree = self.tree
        leaf_keys = {}
        for leaf in updates:
            tree, leaf_keys[leaf] = self._update(tree, leaf)
        for leaf in removes:
            tree = tree.remove_leaf(leaf)
            del self.members[leaf]
        newcomers = {}
        for _ in range(adds):
            self.joined += 1
            package, secrets, signer = key_package(self.suite, f"member {self.joined}", self.source)
            tree, index = tree.add_leaf(package.leaf_node)
            newcomers[int(index)] = TreeMember(signer, PrivateTree.of_leaf(index, secrets.leaf_key))
        for leaf, secrets_of_leaf in leaf_keys.items():
            self.members[leaf].private = self.members[leaf].private.with_leaf_key(secrets_of_leaf)
        created = self._path(committer, tree, newcomers) if path else None
        if created is None:
            self.tree = tree
            for member in self.members.values():
                member.private = member.private.pruned(tree)
        self._join(committer, newcomers, created)
        return created

    def _update(self, tree: RatchetTree, leaf: int) -> tuple[RatchetTree, KEMKeyPair]:
        key = self.suite.generate_kem_key(self.source)
        old = tree.leaf(leaf)
        assert old is not None
        signer = self.members[leaf].signer
        new = sign_leaf(self.suite, signer, old.content, key.public, None, GROUP, leaf)
        return tree.update_leaf(leaf, new), key

    def _path(
        self, committer: int, tree: RatchetTree, newcomers: Mapping[int, TreeMember]
    ) -> CreatedPath:
        me = self.members[committer]
        leaf = tree.leaf(committer)
        assert leaf is not None
        created = create_update_path(
            self.suite,
            tree,
            committer,
            leaf.content,
            me.signer,
            group_id=GROUP,
            context=lambda merged: context_of(self.suite, merged),
            added=newcomers.keys(),
            random=self.source,
        )
        for index, member in self.members.items():
            if index != committer:
                result = process_update_path(
                    self.suite,
                    tree,
                    member.private,
                    committer,
                    created.path,
                    group_id=GROUP,
                    context=lambda merged: context_of(self.suite, merged),
                    added=newcomers.keys(),
                )
                assert result.tree == created.tree
                assert result.commit_secret == created.commit_secret
                member.private = result.private
        me.private = created.private
        self.tree = created.tree
        return created

    def _join(
        self, committer: int, newcomers: Mapping[int, TreeMember], created: CreatedPath | None
    ) -> None:
        for index, member in newcomers.items():
            member.private = PrivateTree.joined(
                self.suite,
                self.tree,
                index,
                member.private.leaf_key,
                committer,
                created.path_secret_for(index) if created is not None else None,
            )
        self.members.update(newcomers)

    def leaf(self, index: int) -> LeafNode:
        """A leaf that is not blank."""
        leaf = self.tree.leaf(index)
        assert leaf is not None
        return leaf
