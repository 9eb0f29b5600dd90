"""Sending proposals (RFC 9420 §12.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .ciphersuite import KEMKeyPair, Random
from .codec import encode
from .credential import Credential
from .errors import UsageError
from .extension import Extension
from .framing import (
    AuthenticatedContent,
    FramedContent,
    Sender,
    SenderType,
    WireFormat,
    sign_content,
)
from .grease import greased, ungreased
from .group_entries import key_changes, proposal_entry
from .identity import ACCEPT_ALL, IdentityCheck
from .key_package import check_own_content
from .leaf_node import Capabilities, LeafContent, sign_leaf
from .message import MLSMessage
from .outcome import Proposed
from .pending import PendingProposal
from .private_message import Padding, protect_private
from .proposal import ExternalInit, Proposal, Update
from .proposal_list import ListContext, check_proposal, check_sendable
from .public_message import protect_public
from .sealing import check_usable
from .secret_tree import Entries, SecretTree

if TYPE_CHECKING:
    from .group import Group


def send_handshake(
    group: Group,
    signed: AuthenticatedContent,
    *,
    padding: Padding,
    random: Random,
) -> tuple[bytes, SecretTree, Entries]:
    """Protect a signed proposal or commit: the MLSMessage, the secret tree after it, changes."""
    if signed.wire_format is WireFormat.PUBLIC_MESSAGE:
        key = group.secrets.membership_key
        public = protect_public(group.suite, signed, group.context, key)
        return encode(MLSMessage(public)), group.secret_tree, {}
    sealed = protect_private(
        group.suite,
        signed,
        group.secret_tree,
        group.secrets.sender_data_secret,
        padding=padding,
        random=random,
    )
    changes = key_changes(group.epoch, sealed.changes)
    return encode(MLSMessage(sealed.message)), sealed.secret_tree, changes


def propose(
    group: Group,
    proposal: Proposal,
    *,
    wire_format: WireFormat,
    authenticated_data: bytes,
    padding: Padding,
    identity: IdentityCheck | None,
    now: int | None,
    random: Random,
    leaf_key: KEMKeyPair | None = None,
) -> Proposed:
    """See `Group.propose`."""
    check_usable(group)
    if isinstance(proposal, ExternalInit):
        raise UsageError(
            "an ExternalInit stands in an external commit only", "sender-external-init", "§12.1.6"
        )
    if isinstance(proposal, Update) and leaf_key is None:
        raise UsageError("use propose_update: the private key of the new leaf is needed")
    check_sendable(proposal)
    sender = Sender(SenderType.MEMBER, group.own_leaf)
    check = identity or ACCEPT_ALL
    where = ListContext(group.suite, group.context, group.tree, group.own_leaf, check, now)
    check_proposal(proposal, sender, where)
    content = FramedContent(group.group_id, group.epoch, sender, authenticated_data, proposal)
    signed = sign_content(group.suite, group.signer, wire_format, content, group.context)
    message, secret_tree, changes = send_handshake(group, signed, padding=padding, random=random)
    pending = PendingProposal.of(group.suite, signed, leaf_key)
    name, entry = proposal_entry(group.epoch, len(group.proposals), pending)
    changes[name] = entry
    return Proposed(
        group=replace(group, secret_tree=secret_tree, proposals=(*group.proposals, pending)),
        message=message,
        reference=pending.reference,
        changes=changes,
    )


def propose_update(
    group: Group,
    *,
    credential: Credential | None,
    capabilities: Capabilities | None,
    leaf_extensions: Sequence[Extension] | None,
    wire_format: WireFormat,
    authenticated_data: bytes,
    padding: Padding,
    random: Random,
) -> Proposed:
    """See `Group.propose_update`."""
    old = group.own_leaf_node
    content = LeafContent(
        signature_key=group.signer.public,
        credential=credential or old.credential,
        capabilities=capabilities or old.capabilities,
        extensions=old.extensions if leaf_extensions is None else tuple(leaf_extensions),
    )
    if content != old.content:
        check_own_content(ungreased(content))
        content = greased(content, random)
    key = group.suite.generate_kem_key(random)
    leaf = sign_leaf(
        group.suite, group.signer, content, key.public, None, group.group_id, group.own_leaf
    )
    return propose(
        group,
        Update(leaf),
        wire_format=wire_format,
        authenticated_data=authenticated_data,
        padding=padding,
        identity=None,
        now=None,
        random=random,
        leaf_key=key,
    )
