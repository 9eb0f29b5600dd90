"""The list of proposals of a commit: is it valid, what does it do (RFC 9420 §12.2, §12.3)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from .ciphersuite import MLS10, CipherSuite
from .commit import ProposalRef
from .epoch import Member
from .errors import ValidationError
from .extension import Extension, check_unique
from .external_senders import check_external_senders
from .framing import Sender, SenderType
from .grease import check_no_grease
from .group_context import GroupContext
from .group_support import check_credential_types, check_supports_group, check_unique_keys
from .identity import IdentityCheck
from .key_package import KeyPackage
from .leaf_check import check_key_package, check_lifetime, check_update_leaf
from .leaf_node import LeafNode
from .proposal import (
    ALLOWED_EXTERNAL,
    PATH_REQUIRED,
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from .psk import PreSharedKeyID, ResumptionPSKUsage
from .quick import quick
from .ratchet_tree import RatchetTree

MOST_CHECKS: Final = 100
"""How often a committer tries a part of the pending proposals before it leaves the rest out."""


@quick
@dataclass(frozen=True, slots=True)
class ListedProposal:
    """A proposal of a commit, who made it, and its reference if it came before the commit."""

    proposal: Proposal
    sender: Sender
    reference: ProposalRef | None = None


@quick
@dataclass(frozen=True, slots=True)
class ListContext:
    """What proposals are judged against.

    `committer` is a leaf index, or None for an external commit. `continues` says that the commit
    is the first one of a group that continues another, so that it may name that group's secret.
    """

    suite: CipherSuite
    group_context: GroupContext
    tree: RatchetTree
    committer: int | None
    identity: IdentityCheck
    now: int | None
    continues: bool = False


@quick
@dataclass(frozen=True, slots=True)
class AppliedList:
    """The outcome of a valid list: tree and context before any path."""

    tree: RatchetTree
    extensions: tuple[Extension, ...]
    added: tuple[tuple[int, KeyPackage], ...]
    removed: tuple[Member, ...]
    updated: tuple[int, ...]
    psks: tuple[PreSharedKeyID, ...]
    external_init: ExternalInit | None
    reinit: ReInit | None
    path_required: bool


def check_proposal(proposal: Proposal, sender: Sender, where: ListContext) -> None:
    """Check one proposal by itself (§12.1). Raises ValidationError."""
    if sender.sender_type is SenderType.EXTERNAL and not isinstance(proposal, ALLOWED_EXTERNAL):
        raise ValidationError("proposal-external-sender", "§12.1.8")
    if sender.sender_type is SenderType.NEW_MEMBER_PROPOSAL and not isinstance(proposal, Add):
        raise ValidationError("proposal-new-member", "§6.1")
    match proposal:
        case Add():
            check_key_package(where.suite, proposal.key_package, where.now)
            leaf = proposal.key_package.leaf_node
            where.identity.check(leaf.credential, leaf.signature_key)
        case Update():
            _check_update(proposal, sender, where)
        case Remove():
            if where.tree.leaf(proposal.removed) is None:
                raise ValidationError("remove-blank", "§12.1.3")
        case PreSharedKey():
            _check_psk(proposal.psk, where)
        case ReInit():
            if proposal.version < MLS10:
                raise ValidationError("reinit-version", "§12.1.5")
            check_unique(proposal.extensions)
        case GroupContextExtensions():
            _check_extensions(proposal.extensions, where)
        case ExternalInit():
            if where.committer is not None:
                raise ValidationError("external-init-regular", "§12.1.6")


def check_sendable(proposal: Proposal) -> None:
    """What we do not propose though nobody would refuse it by itself (§13.5).

    Raises UsageError("sender-grease").
    """
    if isinstance(proposal, GroupContextExtensions | ReInit):
        check_no_grease(extension.extension_type for extension in proposal.extensions)


def _check_update(proposal: Update, sender: Sender, where: ListContext) -> None:
    if sender.sender_type is not SenderType.MEMBER:
        raise ValidationError("update-sender", "§12.1.2")
    old = where.tree.leaf(sender.index)
    if old is None:
        raise ValidationError("sender-blank", "§6.3.2")
    group_id = where.group_context.group_id
    check_update_leaf(where.suite, proposal.leaf_node, group_id, sender.index)
    check_successor(old, proposal.leaf_node, where.identity)


def check_successor(old: LeafNode, new: LeafNode, identity: IdentityCheck) -> None:
    """Check that a member may replace its leaf by another (§7.3, §5.3.1)."""
    if old.encryption_key == new.encryption_key:
        raise ValidationError("leaf-key-reused", "§7.3")
    if old.credential != new.credential or old.signature_key != new.signature_key:
        identity.check(new.credential, new.signature_key)
        if not identity.same_identity(old.credential, new.credential):
            raise ValidationError("credential-successor", "§5.3.1")


def _check_psk(psk: PreSharedKeyID, where: ListContext) -> None:
    if len(psk.psk_nonce) != where.suite.hash_size:
        raise ValidationError("psk-nonce", "§12.1.4")
    special = psk.usage in (ResumptionPSKUsage.REINIT, ResumptionPSKUsage.BRANCH)
    if special and not where.continues:
        raise ValidationError("psk-usage", "§12.1.4")


def _check_extensions(extensions: Sequence[Extension], where: ListContext) -> None:
    """Only the shape here; whether all members support them is known after the list is applied."""
    check_unique(extensions)
    check_external_senders(extensions, where.identity)


def check_list(listed: Sequence[ListedProposal], where: ListContext) -> None:
    """Check that the proposals go together (§12.2), each being valid by itself."""
    if where.committer is None:
        _check_external_list(listed)
    else:
        _check_regular_list(listed, where.committer)
    _check_leaves_changed_once(listed)
    _check_adds(listed, where.tree)
    psks = [item.proposal.psk for item in listed if isinstance(item.proposal, PreSharedKey)]
    if len(set(psks)) != len(psks):
        raise ValidationError("psk-duplicate", "§12.2")


def _check_regular_list(listed: Sequence[ListedProposal], committer: int) -> None:
    kinds = [type(item.proposal) for item in listed]
    if ExternalInit in kinds:
        raise ValidationError("external-init-regular", "§12.2")
    if kinds.count(GroupContextExtensions) > 1:
        raise ValidationError("extensions-twice", "§12.2")
    if ReInit in kinds and len(kinds) > 1:
        raise ValidationError("reinit-alone", "§12.2")
    for item in listed:
        match item.proposal:
            case Update() if item.sender == Sender(SenderType.MEMBER, committer):
                raise ValidationError("update-by-committer", "§12.2")
            case Remove(removed) if removed == committer:
                raise ValidationError("remove-committer", "§12.2")


def _check_external_list(listed: Sequence[ListedProposal]) -> None:
    kinds = [type(item.proposal) for item in listed]
    if any(item.reference is not None for item in listed):
        raise ValidationError("external-commit-reference", "§12.4.3.2")
    if kinds.count(ExternalInit) != 1:
        raise ValidationError("external-commit-init", "§12.2")
    if kinds.count(Remove) > 1:
        raise ValidationError("external-commit-remove", "§12.2")
    if not set(kinds) <= {ExternalInit, Remove, PreSharedKey}:
        raise ValidationError("external-commit-proposal", "§12.2")


def _check_leaves_changed_once(listed: Sequence[ListedProposal]) -> None:
    changed: set[int] = set()
    for item in listed:
        match item.proposal:
            case Update():
                leaf = item.sender.index
            case Remove(removed):
                leaf = removed
            case _:
                continue
        if leaf in changed:
            raise ValidationError("leaf-changed-twice", "§12.2")
        changed.add(leaf)


def _check_adds(listed: Sequence[ListedProposal], tree: RatchetTree) -> None:
    adds = [item.proposal.key_package for item in listed if isinstance(item.proposal, Add)]
    if not adds:
        return
    keys = [package.leaf_node.signature_key for package in adds]
    if len(set(keys)) != len(keys):
        raise ValidationError("add-twice", "§12.2")
    removed = [item.proposal.removed for item in listed if isinstance(item.proposal, Remove)]
    leaving = {leaf.signature_key for leaf in map(tree.leaf, removed) if leaf is not None}
    if any(key in tree.index.signature_keys and key not in leaving for key in keys):
        raise ValidationError("add-member", "§12.2")


def apply_list(listed: Sequence[ListedProposal], where: ListContext) -> AppliedList:
    """Apply a list that `check_list` accepted, in the order of §12.3."""
    tree, extensions = where.tree, where.group_context.extensions
    for item in listed:
        if isinstance(item.proposal, GroupContextExtensions):
            extensions = item.proposal.extensions
    updates = [
        (item.sender.index, item.proposal.leaf_node)
        for item in listed
        if isinstance(item.proposal, Update)
    ]
    updated = [leaf for leaf, _ in updates]
    removed = [
        _member_at(tree, item.proposal.removed)
        for item in listed
        if isinstance(item.proposal, Remove)
    ]
    packages = [item.proposal.key_package for item in listed if isinstance(item.proposal, Add)]
    tree, places = tree.changed(
        updates,
        [member.leaf for member in removed],
        [package.leaf_node for package in packages],
    )
    added = [(int(leaf), package) for leaf, package in zip(places, packages, strict=True)]
    proposals = [item.proposal for item in listed]
    return AppliedList(
        tree=tree,
        extensions=extensions,
        added=tuple(added),
        removed=tuple(removed),
        updated=tuple(updated),
        psks=tuple(p.psk for p in proposals if isinstance(p, PreSharedKey)),
        external_init=next((p for p in proposals if isinstance(p, ExternalInit)), None),
        reinit=next((p for p in proposals if isinstance(p, ReInit)), None),
        path_required=not proposals or any(isinstance(p, PATH_REQUIRED) for p in proposals),
    )


def check_applied(
    applied: AppliedList, tree: RatchetTree, where: ListContext, path_leaf: int | None
) -> None:
    """Check the tree that a commit leads to: support for the group and each other, unique keys.

    Args:
        applied: the outcome of the list.
        tree: the tree after the path, if there is one.
        where: what the list was judged against.
        path_leaf: the leaf that the path replaced, or None.

    """
    changed = [leaf for leaf, _ in applied.added] + list(applied.updated)
    # Where a path brings but a new encryption key, it was compared with the whole tree already.
    if path_leaf is not None and (
        changed or not _says_the_same(where.tree.leaf(path_leaf), tree.leaf(path_leaf))
    ):
        changed.append(path_leaf)
    new_extensions = applied.extensions != where.group_context.extensions
    if not changed and not new_extensions:
        return
    if new_extensions:
        check_supports_group(applied.extensions, [leaf for _, leaf in tree.leaves()])
    else:
        new = [leaf for leaf in map(tree.leaf, changed) if leaf is not None]
        check_supports_group(applied.extensions, new)
    if changed:
        check_credential_types(tree.index)
        check_unique_keys(tree.index)


def _says_the_same(old: LeafNode | None, new: LeafNode | None) -> bool:
    return old is not None and new is not None and old.content == new.content


def _member_at(tree: RatchetTree, leaf: int) -> Member:
    node = tree.leaf(leaf)
    if node is None:
        raise ValidationError("remove-blank", "§12.1.3")
    return Member.at(leaf, node)


def _check_together(
    listed: Sequence[ListedProposal], new: Sequence[ListedProposal], where: ListContext
) -> None:
    for item in new:
        if isinstance(item.proposal, Add):
            # What a client sends must be in time when it is sent (§7.3).
            check_lifetime(item.proposal.key_package.leaf_node.lifetime, where.now)
    check_list(listed, where)
    applied = apply_list(listed, where)
    check_applied(applied, applied.tree, where, None)


def _claims(item: ListedProposal) -> set[Hashable]:
    """What no other proposal of a list may be about: a leaf, a key, the group's extensions."""
    match item.proposal:
        case Update():
            return {("leaf", item.sender.index)}
        case Remove(removed):
            return {("leaf", removed)}
        case Add(package):
            return {("key", package.leaf_node.signature_key)}
        case PreSharedKey(psk):
            return {psk}
        case other:
            return {other.proposal_type}


def _those_that_fit(
    fixed: Sequence[ListedProposal], wanted: Sequence[ListedProposal], where: ListContext
) -> list[ListedProposal]:
    """As many as go together, in this order, at the cost of a bounded number of checks.

    All at once when nothing is wrong with them, else by halves. Whoever sends many bad proposals
    may thereby spoil those that rank after them, but not Removes, nor the commit.
    """
    chosen: list[ListedProposal] = []
    waiting = [list(wanted)]
    for _ in range(MOST_CHECKS):
        if not waiting:
            break
        some = waiting.pop()
        try:
            _check_together((*fixed, *chosen, *some), some, where)
        except ValidationError:
            middle = len(some) // 2
            if middle:
                waiting += (some[middle:], some[:middle])
        else:
            chosen += some
    return chosen


def choose_pending(
    fixed: Sequence[ListedProposal],
    pending: Sequence[ListedProposal],
    where: ListContext,
    available: Callable[[PreSharedKeyID], bool] = lambda psk: True,
) -> tuple[ListedProposal, ...]:
    """Those pending proposals that go together with the fixed ones and each other (§12.2).

    One that leads to an invalid tree, whose key package has expired, or whose pre-shared key is not
    `available`, is left out: no member can stop the others' commits by proposing.

    Removes come before Updates of the same leaf, later Updates before earlier ones, and a ReInit
    is left for a later epoch when there is anything else.
    """

    def rank(item: ListedProposal) -> int:
        match item.proposal:
            case Remove():
                return 0
            case ReInit():
                return 2
            case _:
                return 1

    wanted: list[ListedProposal] = []
    taken = {claim for item in fixed for claim in _claims(item)} | {("leaf", where.committer)}
    for item in sorted(reversed(pending), key=rank):
        claims = _claims(item)
        if not taken.isdisjoint(claims):
            continue
        if isinstance(item.proposal, PreSharedKey) and not available(item.proposal.psk):
            continue
        taken |= claims
        wanted.append(item)
    chosen = _those_that_fit(fixed, wanted, where)
    order = {id(item): position for position, item in enumerate(pending)}
    return tuple(sorted(chosen, key=lambda item: order[id(item)]))
