"""From one value of a group to the next epoch's: what both sides of a commit share (§12.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .ciphersuite import CipherSuite, SignatureKeyPair
from .epoch import PAST_EPOCHS, BegunEpoch, Member, PastEpoch
from .errors import ValidationError
from .group_context import GroupContext
from .private_tree import PrivateTree
from .proposal_list import AppliedList
from .psk import PreSharedKeyID, PskLookup, PSKType, find_psk
from .ratchet_tree import RatchetTree
from .secret_tree import SecretTree

if TYPE_CHECKING:
    from .group import Group

LAST_EPOCH = 2**64 - 1


def provisional_context(
    old: GroupContext, applied: AppliedList, tree: RatchetTree, suite: CipherSuite
) -> GroupContext:
    """The new context but for the transcript: path secrets are encrypted under it (§12.4.1)."""
    if old.epoch == LAST_EPOCH:
        raise ValidationError("epoch-last", "§12")
    return GroupContext(
        old.cipher_suite,
        old.group_id,
        old.epoch + 1,
        tree.tree_hash(suite),
        old.confirmed_transcript_hash,
        applied.extensions,
    )


def look_up_psks(
    group: Group, psk_ids: Sequence[PreSharedKeyID], psks: PskLookup
) -> list[tuple[PreSharedKeyID, bytes]]:
    """The pre-shared keys of a commit; resumption secrets of this group are our own to know.

    Raises ValidationError("psk-unknown").
    """
    values = []
    for psk in psk_ids:
        own = None
        if psk.psktype is PSKType.RESUMPTION:
            own = group.resumption_psk(psk.psk_group_id, psk.psk_epoch)
        values.append((psk, own if own is not None else find_psk(psks, psk)))
    return values


def first_group(
    suite: CipherSuite,
    begun: BegunEpoch,
    tree: RatchetTree,
    own_leaf: int,
    private_tree: PrivateTree,
    signer: SignatureKeyPair,
) -> Group:
    """The value of somebody who enters with this epoch."""
    from .group import Group

    return Group(
        suite=suite,
        context=begun.context,
        tree=tree,
        own_leaf=own_leaf,
        signer=signer,
        private_tree=private_tree,
        secrets=begun.secrets,
        secret_tree=begun.secret_tree,
        interim_transcript_hash=begun.interim_transcript_hash,
        confirmation_tag=begun.confirmation_tag,
    )


def next_group(
    group: Group,
    secret_tree: SecretTree,
    applied: AppliedList,
    committer: int,
    begun: BegunEpoch,
    tree: RatchetTree,
    private_tree: PrivateTree,
    signer: SignatureKeyPair | None = None,
    now: int | None = None,
) -> Group:
    """The value of the next epoch; the old one becomes a past epoch in it, which ended `now`."""
    changed = {member.leaf for member in applied.removed} | {committer, *applied.updated}
    changed |= {leaf for leaf, _ in applied.added}
    old_keys, _ = secret_tree.without_leaf(group.own_leaf)
    past = PastEpoch(
        context=group.context,
        sender_data_secret=group.secrets.sender_data_secret,
        resumption_psk=group.secrets.resumption_psk,
        secret_tree=old_keys,
        replaced={leaf: group.member(leaf) for leaf in sorted(changed)},
        ended=now,
    )
    kept = tuple(earlier for earlier in group.past if earlier.is_kept(now))
    return type(group)(
        suite=group.suite,
        context=begun.context,
        tree=tree,
        own_leaf=group.own_leaf,
        signer=signer or group.signer,
        private_tree=private_tree,
        secrets=begun.secrets,
        secret_tree=begun.secret_tree,
        interim_transcript_hash=begun.interim_transcript_hash,
        confirmation_tag=begun.confirmation_tag,
        past=(*kept, past)[-PAST_EPOCHS:],
        reinit=applied.reinit,
    )


def members_at(tree: RatchetTree, leaves: Sequence[int]) -> tuple[Member, ...]:
    """The members at these leaves, all of which must be taken."""
    members = []
    for leaf in leaves:
        node = tree.leaf(leaf)
        if node is None:
            raise ValidationError("sender-blank", "§6.3.2")
        members.append(Member.at(leaf, node))
    return tuple(members)
