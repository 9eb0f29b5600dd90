"""Receiving: which epoch, which sender, is the signature valid (RFC 9420 §6, §12.4.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .codec import decode, encode
from .commit import Commit
from .commit_processing import process_commit
from .epoch import Member, PastEpoch
from .errors import UnknownGroupError, ValidationError, WrongEpochError
from .external_senders import external_sender
from .framing import AuthenticatedContent, ContentType, SenderType
from .group_entries import key_changes, proposal_entry
from .identity import IdentityCheck
from .message import MLSMessage
from .outcome import ApplicationReceived, Processed, ProposalReceived
from .pending import PendingProposal
from .private_message import PrivateMessage, open_sender_data, unprotect_private
from .proposal import Add, Proposal
from .proposal_list import ListContext, check_proposal
from .psk import PskLookup
from .public_message import PublicMessage, unprotect_public

if TYPE_CHECKING:
    from .group import Group


def process(
    group: Group, message: bytes, *, identity: IdentityCheck, now: int | None, psks: PskLookup
) -> Processed:
    """See `Group.process`."""
    body = decode(MLSMessage, message).body
    if not isinstance(body, PublicMessage | PrivateMessage):
        raise ValidationError("message-kind", "§6")
    framed = body.content if isinstance(body, PublicMessage) else body
    if framed.group_id != group.group_id:
        raise UnknownGroupError("group-unknown", "§6")
    if framed.epoch != group.epoch:
        if isinstance(body, PrivateMessage) and body.content_type is ContentType.APPLICATION:
            return _open_late(group, body, now)
        raise WrongEpochError("epoch-wrong", "§12.4.2")
    opened = group
    changes: dict[str, bytes | None] = {}
    if isinstance(body, PublicMessage):
        signed = _open_public(group, body)
    elif body.content_type is ContentType.APPLICATION:
        return _open_application(group, body)
    else:
        opened, changes, signed = _open_handshake(group, body)
    content = signed.content.content
    if group.reinit is not None:
        # Another epoch would open the group again for those who followed.
        raise ValidationError("group-closed", "§12.4.2")
    if isinstance(content, Commit):
        return process_commit(
            opened, changes, signed, content, identity=identity, now=now, psks=psks
        )
    if isinstance(content, bytes):
        raise AssertionError("application data was handled above")
    return _receive_proposal(opened, signed, content, changes, identity, now)


def _open_application(group: Group, message: PrivateMessage) -> ApplicationReceived:
    sender = open_sender_data(group.suite, message, group.secrets.sender_data_secret)
    member = _other_member(group, sender.leaf_index)
    opened = unprotect_private(group.suite, message, sender, group.secret_tree)
    opened.signed.verify(group.suite, member.signature_key, group.context)
    return _received(
        group.with_secret_tree(opened.secret_tree),
        opened.signed,
        member,
        opened.generation,
        key_changes(group.epoch, opened.changes),
    )


def _open_late(group: Group, message: PrivateMessage, now: int | None) -> ApplicationReceived:
    """Open an application message of a past epoch whose keys are still kept (§15.3)."""
    position = next(
        (
            at
            for at, past in enumerate(group.past)
            if past.context.epoch == message.epoch and past.is_kept(now)
        ),
        None,
    )
    if position is None:
        raise WrongEpochError("epoch-wrong", "§15.3")
    past = group.past[position]
    sender = open_sender_data(group.suite, message, past.sender_data_secret)
    member = _past_member(group, position, sender.leaf_index)
    opened = unprotect_private(group.suite, message, sender, past.secret_tree)
    opened.signed.verify(group.suite, member.signature_key, past.context)
    after = replace(past, secret_tree=opened.secret_tree)
    return _received(
        replace(group, past=_with_past(group.past, position, after)),
        opened.signed,
        member,
        opened.generation,
        key_changes(message.epoch, opened.changes),
    )


def _with_past(
    past: tuple[PastEpoch, ...], position: int, value: PastEpoch
) -> tuple[PastEpoch, ...]:
    return (*past[:position], value, *past[position + 1 :])


def _received(
    group: Group,
    signed: AuthenticatedContent,
    member: Member,
    generation: int,
    changes: dict[str, bytes | None],
) -> ApplicationReceived:
    data = signed.content.content
    if not isinstance(data, bytes):
        raise AssertionError("the content type was checked")
    return ApplicationReceived(
        group=group,
        changes=changes,
        sender=member,
        epoch=signed.content.epoch,
        generation=generation,
        data=data,
        authenticated_data=signed.content.authenticated_data,
        signed=encode(signed),
    )


def _other_member(group: Group, leaf: int) -> Member:
    """The member at a leaf, who must not be ourselves (we do not open what we sealed)."""
    if leaf == group.own_leaf:
        raise ValidationError("own-message", "§6")
    member = group.member(leaf)
    if member is None:
        raise ValidationError("sender-blank", "§6.3.2")
    return member


def _past_member(group: Group, position: int, leaf: int) -> Member:
    """Who sat at a leaf in a past epoch: the first change after it tells, else the tree of now."""
    for past in group.past[position:]:
        if leaf in past.replaced:
            member = past.replaced[leaf]
            break
    else:
        member = group.member(leaf)
    if member is None:
        raise ValidationError("sender-blank", "§6.3.2")
    return member


def _open_handshake(
    group: Group, message: PrivateMessage
) -> tuple[Group, dict[str, bytes | None], AuthenticatedContent]:
    sender = open_sender_data(group.suite, message, group.secrets.sender_data_secret)
    member = _other_member(group, sender.leaf_index)
    opened = unprotect_private(group.suite, message, sender, group.secret_tree)
    opened.signed.verify(group.suite, member.signature_key, group.context)
    changes = key_changes(group.epoch, opened.changes)
    return group.with_secret_tree(opened.secret_tree), changes, opened.signed


def _open_public(group: Group, message: PublicMessage) -> AuthenticatedContent:
    signed = unprotect_public(group.suite, message, group.context, group.secrets.membership_key)
    signed.verify(group.suite, _public_signature_key(group, signed), group.context)
    return signed


def _public_signature_key(group: Group, signed: AuthenticatedContent) -> bytes:
    """The key that must have signed a PublicMessage, by its kind of sender (§6.1)."""
    sender, content = signed.content.sender, signed.content.content
    match sender.sender_type:
        case SenderType.MEMBER:
            return _other_member(group, sender.index).signature_key
        case SenderType.EXTERNAL:
            if isinstance(content, bytes | Commit):
                raise ValidationError("proposal-external-sender", "§6.1")
            return external_sender(group.context.extensions, sender.index).signature_key
        case SenderType.NEW_MEMBER_PROPOSAL:
            if not isinstance(content, Add):
                raise ValidationError("proposal-new-member", "§6.1")
            return content.key_package.leaf_node.signature_key
        case SenderType.NEW_MEMBER_COMMIT:
            if not isinstance(content, Commit):
                raise ValidationError("external-commit-content", "§6.1")
            if content.path is None:
                raise ValidationError("external-commit-path", "§12.4.3.2")
            return content.path.leaf_node.signature_key


def _receive_proposal(
    group: Group,
    signed: AuthenticatedContent,
    proposal: Proposal,
    changes: dict[str, bytes | None],
    identity: IdentityCheck,
    now: int | None,
) -> ProposalReceived:
    sender = signed.content.sender
    where = ListContext(group.suite, group.context, group.tree, group.own_leaf, identity, now)
    check_proposal(proposal, sender, where)
    pending = PendingProposal.of(group.suite, signed)
    if all(known.reference != pending.reference for known in group.proposals):
        name, entry = proposal_entry(group.epoch, len(group.proposals), pending)
        changes[name] = entry
        group = replace(group, proposals=(*group.proposals, pending))
    member = group.member(sender.index) if sender.sender_type is SenderType.MEMBER else None
    return ProposalReceived(
        group=group,
        changes=changes,
        sender=sender,
        member=member,
        proposal=proposal,
        reference=pending.reference,
        authenticated_data=signed.content.authenticated_data,
    )
