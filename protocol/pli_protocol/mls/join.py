"""Joining through a Welcome (RFC 9420 §12.4.3.1)."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from .ciphersuite import MLS10, CipherSuite, SignatureKeyPair
from .codec import Reader, decode
from .epoch import Member, new_secret_tree
from .errors import CodecError, UsageError, ValidationError
from .extension import ExtensionType, check_unique
from .external_senders import check_external_senders
from .group_context import GroupContext
from .group_info import GroupInfo
from .group_support import check_credential_types, check_supports_group
from .identity import IdentityCheck, all_among
from .key_package import KeyPackage, KeyPackageSecrets
from .key_schedule import derive_epoch, derive_epoch_secret
from .message import MLSMessage
from .outcome import Joined
from .private_tree import PrivateTree
from .psk import PreSharedKeyID, PskLookup, PSKType, ResumptionPSKUsage, find_psk, psk_secret
from .ratchet_tree import RatchetTree
from .transcript_hash import confirmation_tag, interim_transcript_hash
from .tree_check import check_tree
from .welcome import GroupSecrets, Welcome, open_group_info, open_group_secrets

if TYPE_CHECKING:
    from .group import Group


def join_group(
    welcome: bytes,
    key_package: KeyPackage,
    secrets: KeyPackageSecrets,
    signer: SignatureKeyPair,
    *,
    tree: bytes | None,
    psks: PskLookup,
    predecessor: Group | None,
    groups: Collection[bytes],
    max_leaves: int,
    identity: IdentityCheck,
    now: int | None,
) -> Joined:
    """See `Group.join`."""
    from .ciphersuite import suite as suite_of
    from .group import Group

    body = decode(MLSMessage, welcome).body
    if not isinstance(body, Welcome):
        raise ValidationError("message-kind", "§6")
    if body.cipher_suite != key_package.cipher_suite:
        raise ValidationError("welcome-suite", "§12.4.3.1")
    suite = suite_of(body.cipher_suite)
    if signer.public != key_package.leaf_node.signature_key:
        raise UsageError(
            "the signature key is not that of the key package", "sender-signature-key", "§6.1"
        )
    reference = key_package.reference(suite)
    group_secrets = open_group_secrets(suite, body, reference, secrets.init_key)
    psk = _psk_secret(suite, group_secrets, psks, predecessor)
    info = open_group_info(suite, body, group_secrets.joiner_secret, psk)
    ratchet_tree = tree_of(info, tree, max_leaves)
    check_group_info(suite, info, ratchet_tree, identity, groups, now)
    check_predecessor(info.group_context, group_secrets.psks, ratchet_tree, predecessor, identity)

    own_leaf = ratchet_tree.find_leaf(key_package.leaf_node)
    if own_leaf is None:
        raise ValidationError("welcome-leaf", "§12.4.3.1")
    context = info.group_context
    private_tree = PrivateTree.joined(
        suite,
        ratchet_tree,
        own_leaf,
        secrets.leaf_key,
        info.signer,
        group_secrets.path_secret,
    )
    epoch, encryption_secret = derive_epoch(
        suite, derive_epoch_secret(suite, group_secrets.joiner_secret, psk, context)
    )
    confirmed = context.confirmed_transcript_hash
    tag = confirmation_tag(suite, epoch.confirmation_key, confirmed)
    if not hmac.compare_digest(tag, info.confirmation_tag):
        raise ValidationError("confirmation-tag", "§12.4.3.1")
    group = Group(
        suite=suite,
        context=context,
        tree=ratchet_tree,
        own_leaf=own_leaf,
        signer=signer,
        private_tree=private_tree,
        secrets=epoch,
        secret_tree=new_secret_tree(suite, encryption_secret, ratchet_tree.leaf_count),
        interim_transcript_hash=interim_transcript_hash(suite, confirmed, tag),
        confirmation_tag=tag,
    )
    return Joined(group, group.entries(), group.member(info.signer))


def tree_of(info: GroupInfo, tree: bytes | None, max_leaves: int) -> RatchetTree:
    """The ratchet tree, from the GroupInfo or from beside it.

    Raises ValidationError: "tree-missing", or "tree-encoding" when it does not decode or is wider
    than `max_leaves`.
    """
    data = info.extension(ExtensionType.RATCHET_TREE)
    if data is None:
        data = tree
    if data is None:
        raise ValidationError("tree-missing", "§12.4.3.3")
    try:
        r = Reader(data)
        read = RatchetTree.read(r, max_leaves)
        r.finish()
        return read
    except CodecError as error:
        raise ValidationError("tree-encoding", "§12.4.3.3") from error


def check_group_info(
    suite: CipherSuite,
    info: GroupInfo,
    tree: RatchetTree,
    identity: IdentityCheck,
    groups: Collection[bytes],
    now: int | None,
) -> None:
    """What every joiner checks of a GroupInfo and its tree (§12.4.3, §12.4.3.1)."""
    if info.group_context.group_id in groups:
        raise ValidationError("group-known", "§12.4.3")
    if info.group_context.cipher_suite != suite.number:
        raise ValidationError("group-info-suite", "§12.4.3.1")
    signer = tree.leaf(info.signer)
    if signer is None:
        raise ValidationError("group-info-signer", "§12.4.3.1")
    info.verify(suite, signer.signature_key)
    if tree.tree_hash(suite) != info.group_context.tree_hash:
        raise ValidationError("tree-hash", "§12.4.3.1")
    check_tree(suite, tree, info.group_context.group_id, now)
    leaves = [leaf for _, leaf in tree.leaves()]
    check_unique(info.extensions)
    check_unique(info.group_context.extensions)
    check_supports_group(info.group_context.extensions, leaves)
    check_credential_types(tree.index)
    check_external_senders(info.group_context.extensions, identity)
    for leaf in leaves:
        # An expired lifetime does not put a member out of the group (§7.3).
        identity.check(leaf.credential, leaf.signature_key)


def _psk_secret(
    suite: CipherSuite, secrets: GroupSecrets, psks: PskLookup, predecessor: Group | None
) -> bytes:
    special_psk(secrets.psks)
    values = []
    for psk in secrets.psks:
        if len(psk.psk_nonce) != suite.hash_size:
            raise ValidationError("psk-nonce", "§8.4")
        values.append((psk, _value(psk, psks, predecessor)))
    return psk_secret(suite, values)


def _value(psk: PreSharedKeyID, psks: PskLookup, predecessor: Group | None) -> bytes:
    if predecessor is not None and psk.psktype is PSKType.RESUMPTION:
        known = predecessor.resumption_psk(psk.psk_group_id, psk.psk_epoch)
        if known is not None:
            return known
    return find_psk(psks, psk)


def special_psk(psks: Sequence[PreSharedKeyID]) -> PreSharedKeyID | None:
    """The pre-shared key that ties a group to the one it continues or branches from, if any.

    Raises ValidationError("psk-usage") when there is more than one.
    """
    special = [psk for psk in psks if psk.usage not in (None, ResumptionPSKUsage.APPLICATION)]
    if len(special) > 1:
        raise ValidationError("psk-usage", "§12.4.3.1")
    return special[0] if special else None


def check_predecessor(
    context: GroupContext,
    psks: Sequence[PreSharedKeyID],
    tree: RatchetTree,
    predecessor: Group | None,
    identity: IdentityCheck,
) -> None:
    """A group that continues another must be what its ReInit said, with all its members (§11.2).

    Its maker checks it as well as whoever joins.
    """
    special = special_psk(psks)
    if special is None:
        return
    if context.epoch != 1:
        raise ValidationError("successor-epoch", "§12.4.3.1")
    if predecessor is None or predecessor.group_id != special.psk_group_id:
        raise ValidationError("predecessor-unknown", "§12.4.3.1")
    old = [member.credential for member in predecessor.members()]
    new = [Member.at(index, leaf).credential for index, leaf in tree.leaves()]
    if special.usage is ResumptionPSKUsage.BRANCH:
        if context.cipher_suite != predecessor.suite.number:
            raise ValidationError("branch-parameters", "§11.3")
        if not all_among(identity, new, old, newer=True):
            raise ValidationError("branch-members", "§11.3")
        return
    reinit = predecessor.reinit
    if reinit is None or special.psk_epoch != predecessor.epoch:
        raise ValidationError("reinit-missing", "§12.4.3.1")
    wanted = (reinit.version, reinit.group_id, reinit.cipher_suite, reinit.extensions)
    if (MLS10, context.group_id, context.cipher_suite, context.extensions) != wanted:
        raise ValidationError("reinit-parameters", "§12.4.3.1")
    if not all_among(identity, old, new, newer=False):
        raise ValidationError("reinit-members", "§12.4.3.1")
