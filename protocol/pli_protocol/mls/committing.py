"""Making commits, and the Welcomes that go with them (RFC 9420 §12.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .ciphersuite import Random, SignatureKeyPair
from .codec import encode
from .commit import Commit
from .credential import Credential
from .epoch import BegunEpoch, begin_epoch
from .errors import UsageError, ValidationError
from .extension import Extension
from .framing import FramedContent, Sender, SenderType, WireFormat, sign_content, with_tag
from .grease import greased, ungreased
from .group_entries import changes_between
from .identity import IdentityCheck
from .join import check_predecessor
from .key_package import check_own_content
from .leaf_node import Capabilities, LeafContent
from .message import MLSMessage
from .outcome import CommitPlan, Committed, PlanData
from .private_message import Padding
from .proposal import Proposal
from .proposal_list import (
    AppliedList,
    ListContext,
    ListedProposal,
    apply_list,
    check_applied,
    check_list,
    check_proposal,
    check_sendable,
    check_successor,
    choose_pending,
)
from .proposing import send_handshake
from .psk import PreSharedKeyID, PskLookup, PSKType, find_psk
from .ratchet_tree import RatchetTree
from .sealing import build_group_info, check_usable
from .transition import look_up_psks, members_at, next_group, provisional_context
from .update_path import CreatedPath, create_update_path
from .welcome import NewMember, create_welcome

if TYPE_CHECKING:
    from .group import Group


@dataclass(frozen=True, slots=True)
class LeafChange:
    """New content for the committer's leaf; None keeps what is there."""

    signer: SignatureKeyPair | None = None
    credential: Credential | None = None
    capabilities: Capabilities | None = None
    extensions: Sequence[Extension] | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything is to change."""
        return any(
            part is not None
            for part in (self.signer, self.credential, self.capabilities, self.extensions)
        )


def create_commit(
    group: Group,
    proposals: Sequence[Proposal],
    *,
    include_pending: bool,
    path: bool | None,
    wire_format: WireFormat,
    authenticated_data: PlanData,
    padding: Padding,
    psks: PskLookup,
    leaf: LeafChange,
    tree_in_welcome: bool,
    predecessor: Group | None,
    identity: IdentityCheck,
    now: int | None,
    random: Random,
) -> Committed:
    """See `Group.commit`."""
    check_usable(group)
    where = ListContext(
        group.suite,
        group.context,
        group.tree,
        group.own_leaf,
        identity,
        now,
        continues=predecessor is not None and group.epoch == 0,
    )
    if predecessor is not None:
        psks = _resumptions(predecessor, psks)
    listed = _list(group, proposals, include_pending, where, psks)
    applied = apply_list(listed, where)
    psk_values = look_up_psks(group, applied.psks, psks)

    created = None
    tree, commit_secret = applied.tree, group.suite.zero
    private_tree = group.private_tree.pruned(applied.tree)
    if _with_path(path, applied, leaf):
        created = _create_path(group, applied, leaf, random)
        tree, private_tree, commit_secret = created.tree, created.private, created.commit_secret
        check_successor(group.own_leaf_node, created.path.leaf_node, identity)
    check_applied(applied, tree, where, group.own_leaf if created is not None else None)
    provisional = provisional_context(group.context, applied, tree, group.suite)
    check_predecessor(provisional, applied.psks, tree, predecessor, identity)

    plan = _plan(group, applied, tree)
    commit = Commit(
        tuple(item.reference or item.proposal for item in listed),
        created.path if created is not None else None,
    )
    data = authenticated_data(plan) if callable(authenticated_data) else authenticated_data
    sender = Sender(SenderType.MEMBER, group.own_leaf)
    content = FramedContent(group.group_id, group.epoch, sender, data, commit)
    signed = sign_content(group.suite, group.signer, wire_format, content, group.context)
    begun = begin_epoch(
        group.suite,
        signed=signed,
        interim_before=group.interim_transcript_hash,
        provisional=provisional,
        init_secret=group.secrets.init_secret,
        commit_secret=commit_secret,
        psks=psk_values,
        leaf_count=tree.leaf_count,
    )
    signed = with_tag(signed, begun.confirmation_tag)
    message, secret_tree, changes = send_handshake(group, signed, padding=padding, random=random)
    sent = group.with_secret_tree(secret_tree)
    following = next_group(
        group,
        secret_tree,
        applied,
        group.own_leaf,
        begun,
        tree,
        private_tree,
        leaf.signer,
        now,
    )
    return Committed(
        group=following,
        sent=sent,
        message=message,
        welcome=_welcome(following, begun, applied, created, tree_in_welcome, random),
        changes_sent=changes,
        changes=changes_between(sent, following),
        plan=plan,
        signed=encode(signed),
        tree_in_welcome=tree_in_welcome,
    )


def _list(
    group: Group,
    proposals: Sequence[Proposal],
    include_pending: bool,
    where: ListContext,
    psks: PskLookup,
) -> tuple[ListedProposal, ...]:
    """The proposals to commit: those by value, then the pending ones that go with them."""
    sender = Sender(SenderType.MEMBER, group.own_leaf)
    for proposal in proposals:
        check_sendable(proposal)
        check_proposal(proposal, sender, where)

    def available(psk: PreSharedKeyID) -> bool:
        try:
            look_up_psks(group, [psk], psks)
        except ValidationError:
            return False
        return True

    fixed = tuple(ListedProposal(proposal, sender) for proposal in proposals)
    pending = [ListedProposal(p.proposal, p.sender, p.reference) for p in group.proposals]
    chosen = choose_pending(fixed, pending, where, available) if include_pending else ()
    check_list((*chosen, *fixed), where)
    return (*chosen, *fixed)


def _with_path(path: bool | None, applied: AppliedList, leaf: LeafChange) -> bool:
    if path is False and (applied.path_required or leaf.wanted):
        raise UsageError("this commit needs a path", "sender-path", "§12.4")
    if path is None and applied.reinit is not None and not leaf.wanted:
        return False
    return path is not False


def _create_path(
    group: Group, applied: AppliedList, leaf: LeafChange, random: Random
) -> CreatedPath:
    old = applied.tree.leaf(group.own_leaf)
    if old is None:
        raise UsageError("a member cannot commit its own removal (§12.2)")
    signer = leaf.signer or group.signer
    content = LeafContent(
        signature_key=signer.public,
        credential=leaf.credential or old.credential,
        capabilities=leaf.capabilities or old.capabilities,
        extensions=old.extensions if leaf.extensions is None else tuple(leaf.extensions),
    )
    if content != old.content:
        check_own_content(ungreased(content))
        content = greased(content, random)
    return create_update_path(
        group.suite,
        applied.tree,
        group.own_leaf,
        content,
        signer,
        group_id=group.group_id,
        context=lambda tree: provisional_context(group.context, applied, tree, group.suite).encoded,
        added=[index for index, _ in applied.added],
        random=random,
    )


def _resumptions(predecessor: Group, psks: PskLookup) -> PskLookup:
    """Also look among the secrets of the group that this one continues."""

    def find(psk: PreSharedKeyID) -> bytes | None:
        if psk.psktype is PSKType.RESUMPTION:
            return predecessor.resumption_psk(psk.psk_group_id, psk.psk_epoch)
        return find_psk(psks, psk)

    return find


def _plan(group: Group, applied: AppliedList, tree: RatchetTree) -> CommitPlan:
    return CommitPlan(
        group_id=group.group_id,
        epoch=group.epoch,
        added=members_at(tree, [leaf for leaf, _ in applied.added]),
        removed=applied.removed,
        updated=members_at(tree, applied.updated),
    )


def _welcome(
    group: Group,
    begun: BegunEpoch,
    applied: AppliedList,
    created: CreatedPath | None,
    tree_in_welcome: bool,
    random: Random,
) -> bytes | None:
    if not applied.added:
        return None
    info = build_group_info(
        group, tree=tree_in_welcome, external_pub=False, signer=group.signer, random=random
    )
    members = [
        NewMember(package, None if created is None else created.path_secret_for(leaf))
        for leaf, package in applied.added
    ]
    welcome = create_welcome(
        group.suite,
        info,
        begun.joiner_secret,
        begun.psk_secret,
        applied.psks,
        members,
        random,
    )
    return encode(MLSMessage(welcome))
