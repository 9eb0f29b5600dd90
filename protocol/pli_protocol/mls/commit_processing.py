"""Receiving commits, a member's or a joiner's (RFC 9420 §12.4.2, §12.4.3.2)."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .codec import encode
from .commit import Commit, ProposalRef
from .epoch import begin_epoch
from .errors import ValidationError
from .external_init import receive_init_secret
from .framing import AuthenticatedContent, Sender, SenderType
from .group_context import GroupContext
from .group_entries import changes_between
from .identity import IdentityCheck
from .leaf_node import LeafNode
from .outcome import CommitReceived, Removed
from .private_tree import CommitSecret, PrivateTree
from .proposal_list import (
    AppliedList,
    ListContext,
    ListedProposal,
    apply_list,
    check_applied,
    check_list,
    check_proposal,
    check_successor,
)
from .psk import PskLookup
from .ratchet_tree import RatchetTree
from .secret_tree import Entries
from .transition import look_up_psks, members_at, next_group, provisional_context
from .update_path import UpdatePath, apply_update_path, process_update_path

if TYPE_CHECKING:
    from .group import Group


def process_commit(
    group: Group,
    opening: Entries,
    signed: AuthenticatedContent,
    commit: Commit,
    *,
    identity: IdentityCheck,
    now: int | None,
    psks: PskLookup,
) -> CommitReceived | Removed:
    """Check a commit whose signature is valid, and go to its epoch.

    Args:
        group: the value after the message was opened: its key is used up.
        opening: the entries that opening changed.
        signed: the commit as it was signed.
        commit: the commit itself.
        identity: decides about new credentials.
        now: Unix seconds, or None not to check lifetimes.
        psks: pre-shared keys that the commit may name.

    """
    sender = signed.content.sender
    external = sender.sender_type is SenderType.NEW_MEMBER_COMMIT
    if not external and sender.sender_type is not SenderType.MEMBER:
        raise AssertionError("no signature key stands for such a sender")
    committer = None if external else sender.index
    where = ListContext(group.suite, group.context, group.tree, committer, identity, now)
    listed = _resolve(group, commit, sender)
    for item in listed:
        # Those that came by themselves were checked then, in this same epoch.
        if item.reference is None:
            check_proposal(item.proposal, item.sender, where)
    check_list(listed, where)
    applied = apply_list(listed, where)
    if commit.path is None and (applied.path_required or external):
        raise ValidationError("path-required", "§12.4")
    if any(member.leaf == group.own_leaf for member in applied.removed):
        return _removed(group, signed, applied, commit, where)
    psk_values = look_up_psks(group, applied.psks, psks)
    private_tree = _own_update(group, listed).pruned(applied.tree)
    tree, commit_secret, leaf = applied.tree, group.suite.zero, committer
    if commit.path is None:
        provisional = provisional_context(group.context, applied, tree, group.suite)
    else:
        received = _receive_path(group, commit.path, applied, private_tree, where)
        leaf, provisional = received.leaf, received.context
        tree, private_tree, commit_secret = received.tree, received.private, received.secret
    if leaf is None:
        raise AssertionError("an external commit has a path")
    check_applied(applied, tree, where, leaf if commit.path is not None else None)
    begun = begin_epoch(
        group.suite,
        signed=signed,
        interim_before=group.interim_transcript_hash,
        provisional=provisional,
        init_secret=_init_secret(group, applied),
        commit_secret=commit_secret,
        psks=psk_values,
        leaf_count=tree.leaf_count,
    )
    if not hmac.compare_digest(begun.confirmation_tag, signed.auth.confirmation_tag or b""):
        raise ValidationError("confirmation-tag", "§12.4.2")
    following = next_group(
        group, group.secret_tree, applied, leaf, begun, tree, private_tree, now=now
    )
    joiner = [leaf] if committer is None else []
    return CommitReceived(
        group=following,
        changes={**opening, **changes_between(group, following)},
        sender=members_at(tree, [leaf])[0],
        added=members_at(tree, [*(added for added, _ in applied.added), *joiner]),
        removed=applied.removed,
        updated=members_at(tree, applied.updated),
        authenticated_data=signed.content.authenticated_data,
        signed=encode(signed),
        external=committer is None,
    )


def _resolve(group: Group, commit: Commit, sender: Sender) -> list[ListedProposal]:
    """The proposals of a commit; references are looked up among those seen (§12.4)."""
    known = {pending.reference: pending for pending in group.proposals}
    listed = []
    for item in commit.proposals:
        if not isinstance(item, ProposalRef):
            listed.append(ListedProposal(item, sender))
            continue
        pending = known.get(item)
        if pending is None:
            raise ValidationError("proposal-unknown", "§12.4")
        listed.append(ListedProposal(pending.proposal, pending.sender, item))
    return listed


def _removed(
    group: Group,
    signed: AuthenticatedContent,
    applied: AppliedList,
    commit: Commit,
    where: ListContext,
) -> Removed:
    """We are removed: check what can be checked without the secrets of the new epoch."""
    if commit.path is None:
        raise AssertionError("a Remove requires a path")
    leaf, tree = _committer_leaf(commit.path, applied, where)
    merged = apply_update_path(
        group.suite,
        tree,
        leaf,
        commit.path,
        group_id=group.group_id,
        added=[index for index, _ in applied.added],
    )
    check_applied(applied, merged, where, leaf)
    (sender,) = members_at(merged, [leaf])
    return Removed(sender, applied.removed, signed.content.authenticated_data, encode(signed))


def _own_update(group: Group, listed: Sequence[ListedProposal]) -> PrivateTree:
    """Our private keys, with the new leaf key where the commit takes our Update."""
    own = {pending.reference: pending for pending in group.proposals if pending.leaf_key}
    for item in listed:
        pending = own.get(item.reference) if item.reference is not None else None
        if pending is not None and pending.leaf_key is not None:
            return group.private_tree.with_leaf_key(pending.leaf_key)
    return group.private_tree


class _ReceivedPath(NamedTuple):
    leaf: int
    context: GroupContext
    tree: RatchetTree
    private: PrivateTree
    secret: CommitSecret


def _receive_path(
    group: Group,
    path: UpdatePath,
    applied: AppliedList,
    private_tree: PrivateTree,
    where: ListContext,
) -> _ReceivedPath:
    """Check a committer's new leaf and take over its path (§12.4.2)."""
    suite = group.suite
    leaf, tree = _committer_leaf(path, applied, where)
    contexts = []

    def context(merged: RatchetTree) -> bytes:
        contexts.append(provisional_context(group.context, applied, merged, suite))
        return contexts[-1].encoded

    received = process_update_path(
        suite,
        tree,
        private_tree,
        leaf,
        path,
        group_id=group.group_id,
        context=context,
        added=[index for index, _ in applied.added],
    )
    return _ReceivedPath(
        leaf, contexts[-1], received.tree, received.private, received.commit_secret
    )


def _committer_leaf(
    path: UpdatePath, applied: AppliedList, where: ListContext
) -> tuple[int, RatchetTree]:
    """Where the committer sits, after its new leaf's credential was checked (§12.4.2)."""
    if where.committer is None:
        _check_joiner(path.leaf_node, applied, where)
        tree, leaf = applied.tree.with_free_leaf()
        return leaf, tree
    old = applied.tree.leaf(where.committer)
    if old is None:
        raise ValidationError("sender-blank", "§6.3.2")
    check_successor(old, path.leaf_node, where.identity)
    return where.committer, applied.tree


def _check_joiner(leaf: LeafNode, applied: AppliedList, where: ListContext) -> None:
    """Whoever joins by itself is accepted by the application, and replaces only itself (§12.2)."""
    where.identity.check(leaf.credential, leaf.signature_key)
    for member in applied.removed:
        old = where.tree.leaf(member.leaf)
        if old is None:
            raise AssertionError("a removed member had a leaf")
        if old.encryption_key == leaf.encryption_key:
            raise ValidationError("leaf-key-reused", "§12.2")
        if not where.identity.same_identity(old.credential, leaf.credential):
            raise ValidationError("credential-successor", "§12.2")


def _init_secret(group: Group, applied: AppliedList) -> bytes:
    if applied.external_init is None:
        return group.secrets.init_secret
    kem_output = applied.external_init.kem_output
    return receive_init_secret(group.suite, group.secrets.external_secret, kem_output)
