"""Joining by an external commit (RFC 9420 §12.4.3.2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .ciphersuite import Random, SignatureKeyPair
from .codec import decode, encode
from .commit import Commit
from .credential import Credential
from .epoch import begin_epoch
from .errors import UsageError, ValidationError
from .extension import Extension
from .external_init import create_init_secret
from .framing import FramedContent, Sender, SenderType, WireFormat, sign_content, with_tag
from .grease import greased
from .group_info import GroupInfo
from .identity import IdentityCheck
from .join import check_group_info, tree_of
from .key_package import check_own_content, own_capabilities
from .leaf_node import Capabilities, LeafContent
from .message import MLSMessage
from .outcome import ExternalJoin
from .proposal import ExternalInit, PreSharedKey, Proposal, Remove
from .proposal_list import (
    ListContext,
    ListedProposal,
    apply_list,
    check_applied,
    check_list,
    check_proposal,
)
from .psk import PreSharedKeyID, PskLookup, find_psk
from .public_message import protect_public
from .ratchet_tree import RatchetTree
from .transcript_hash import interim_transcript_hash
from .transition import first_group, provisional_context
from .update_path import create_update_path


def join_by_commit(
    group_info: bytes,
    credential: Credential,
    signer: SignatureKeyPair,
    *,
    tree: bytes | None,
    resync: bool,
    psks: PskLookup,
    psk_ids: Sequence[bytes | PreSharedKeyID],
    groups: Collection[bytes],
    max_leaves: int,
    capabilities: Capabilities | None,
    leaf_extensions: Sequence[Extension],
    authenticated_data: bytes,
    identity: IdentityCheck,
    now: int | None,
    random: Random,
) -> ExternalJoin:
    """See `Group.join_external`."""
    from .ciphersuite import suite as suite_of

    info = decode(MLSMessage, group_info).body
    if not isinstance(info, GroupInfo):
        raise ValidationError("message-kind", "§6")
    context = info.group_context
    suite = suite_of(context.cipher_suite)
    old_tree = tree_of(info, tree, max_leaves)
    check_group_info(suite, info, old_tree, identity, groups, now)
    external_pub = info.external_pub()
    if external_pub is None:
        raise ValidationError("external-pub-missing", "§12.4.3.2")
    kem_output, init_secret = create_init_secret(suite, external_pub, random)
    proposals: list[Proposal] = [ExternalInit(kem_output)]
    if resync:
        proposals.append(Remove(former_leaf(old_tree, credential, signer.public, identity)))
    for psk_id in psk_ids:
        if isinstance(psk_id, bytes):
            psk_id = PreSharedKeyID.external(psk_id, random(suite.hash_size))
        proposals.append(PreSharedKey(psk_id))

    where = ListContext(suite, context, old_tree, None, identity, now)
    sender = Sender(SenderType.NEW_MEMBER_COMMIT)
    listed = [ListedProposal(proposal, sender) for proposal in proposals]
    for item in listed:
        check_proposal(item.proposal, item.sender, where)
    check_list(listed, where)
    applied = apply_list(listed, where)
    psk_values = [(psk, find_psk(psks, psk)) for psk in applied.psks]

    new_tree, own_leaf = applied.tree.with_free_leaf()
    content = LeafContent(
        signature_key=signer.public,
        credential=credential,
        capabilities=capabilities or own_capabilities(suite, credential, leaf_extensions),
        extensions=tuple(leaf_extensions),
    )
    check_own_content(content)
    created = create_update_path(
        suite,
        new_tree,
        own_leaf,
        greased(content, random),
        signer,
        group_id=context.group_id,
        context=lambda tree: provisional_context(context, applied, tree, suite).encoded,
        random=random,
    )
    check_applied(applied, created.tree, where, own_leaf)
    framed = FramedContent(
        context.group_id,
        context.epoch,
        sender,
        authenticated_data,
        Commit(tuple(proposals), created.path),
    )
    signed = sign_content(suite, signer, WireFormat.PUBLIC_MESSAGE, framed, context)
    begun = begin_epoch(
        suite,
        signed=signed,
        interim_before=interim_transcript_hash(
            suite, context.confirmed_transcript_hash, info.confirmation_tag
        ),
        provisional=provisional_context(context, applied, created.tree, suite),
        init_secret=init_secret,
        commit_secret=created.commit_secret,
        psks=psk_values,
        leaf_count=created.tree.leaf_count,
    )
    signed = with_tag(signed, begun.confirmation_tag)
    message = encode(MLSMessage(protect_public(suite, signed, context, None)))
    group = first_group(suite, begun, created.tree, own_leaf, created.private, signer)
    return ExternalJoin(group, message, group.entries())


def former_leaf(
    tree: RatchetTree, credential: Credential, signature_key: bytes, identity: IdentityCheck
) -> int:
    """Where we sat before: the leaf with our key, or the only one with our identity.

    Raises UsageError when there is none, or several.
    """
    same = []
    for index, leaf in tree.leaves():
        if leaf.signature_key == signature_key:
            return index
        if identity.same_identity(leaf.credential, credential):
            same.append(int(index))
    if len(same) != 1:
        raise UsageError("no single former leaf of ours is in the tree")
    return same[0]
