"""Creating a group of one (RFC 9420 §11)."""

from __future__ import annotations

from collections.abc import Sequence

from .ciphersuite import CipherSuite, Random, SignatureKeyPair
from .credential import Credential
from .epoch import new_secret_tree
from .extension import Extension, check_unique
from .grease import check_no_grease
from .group_context import GroupContext
from .group_support import check_supports_group
from .key_package import generate_key_package
from .key_schedule import EpochSecret, derive_epoch
from .leaf_node import Capabilities, Lifetime
from .outcome import Changed
from .private_tree import PrivateTree
from .ratchet_tree import RatchetTree
from .transcript_hash import confirmation_tag, interim_transcript_hash
from .tree_math import LeafIndex


def create_group(
    suite: CipherSuite,
    group_id: bytes,
    credential: Credential,
    signer: SignatureKeyPair,
    *,
    lifetime: Lifetime,
    capabilities: Capabilities | None,
    extensions: Sequence[Extension],
    leaf_extensions: Sequence[Extension],
    random: Random,
) -> Changed:
    """See `Group.create`."""
    from .group import Group

    check_unique(extensions)
    check_no_grease(extension.extension_type for extension in extensions)
    # The leaf of a key package serves as it is; its init key is never used.
    package, secrets = generate_key_package(
        suite,
        credential,
        signer,
        lifetime=lifetime,
        capabilities=capabilities,
        leaf_extensions=leaf_extensions,
        random=random,
    )
    check_supports_group(extensions, [package.leaf_node])
    tree, own_leaf = RatchetTree.of_leaf(package.leaf_node), LeafIndex(0)
    context = GroupContext(
        cipher_suite=suite.number,
        group_id=group_id,
        epoch=0,
        tree_hash=tree.tree_hash(suite),
        confirmed_transcript_hash=b"",
        extensions=tuple(extensions),
    )
    epoch, encryption_secret = derive_epoch(suite, EpochSecret(random(suite.hash_size)))
    tag = confirmation_tag(suite, epoch.confirmation_key, b"")
    group = Group(
        suite=suite,
        context=context,
        tree=tree,
        own_leaf=own_leaf,
        signer=signer,
        private_tree=PrivateTree(own_leaf, secrets.leaf_key),
        secrets=epoch,
        secret_tree=new_secret_tree(suite, encryption_secret, tree.leaf_count),
        interim_transcript_hash=interim_transcript_hash(suite, b"", tag),
        confirmation_tag=tag,
    )
    return Changed(group, group.entries())
