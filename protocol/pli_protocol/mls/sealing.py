"""Sending application messages and GroupInfos (RFC 9420 §6.3, §12.4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codec import encode
from .errors import UsageError
from .extension import Extension, ExtensionType
from .framing import FramedContent, Sender, SenderType, WireFormat, sign_content
from .grease import grease_extension
from .group_entries import key_changes
from .group_info import GroupInfo, external_pub_extension
from .hpke import derive_key_pair
from .message import MLSMessage
from .outcome import Sealed
from .private_message import Padding, protect_private

if TYPE_CHECKING:
    from .ciphersuite import Random, SignatureKeyPair
    from .group import Group


def check_usable(group: Group) -> None:
    """Raise UsageError("sender-closed") when a ReInit closed the group (§12.4.2)."""
    if group.reinit is not None:
        raise UsageError(
            "the group was closed by a ReInit: go on in its successor", "sender-closed", "§12.4.2"
        )


def seal_application(
    group: Group,
    data: bytes,
    *,
    authenticated_data: bytes,
    padding: Padding,
    ahead_of_proposals: bool,
    random: Random,
) -> Sealed:
    """See `Group.seal`."""
    check_usable(group)
    if group.proposals and not ahead_of_proposals:
        raise UsageError(
            "proposals wait: commit before sending", "sender-proposals-pending", "§12.4"
        )
    content = FramedContent(
        group.group_id,
        group.epoch,
        Sender(SenderType.MEMBER, group.own_leaf),
        authenticated_data,
        bytes(data),
    )
    signed = sign_content(
        group.suite, group.signer, WireFormat.PRIVATE_MESSAGE, content, group.context
    )
    sealed = protect_private(
        group.suite,
        signed,
        group.secret_tree,
        group.secrets.sender_data_secret,
        padding=padding,
        random=random,
    )
    return Sealed(
        group=group.with_secret_tree(sealed.secret_tree),
        message=encode(MLSMessage(sealed.message)),
        signed=encode(signed),
        changes=key_changes(group.epoch, sealed.changes),
        generation=sealed.generation,
    )


def build_group_info(
    group: Group, *, tree: bool, external_pub: bool, signer: SignatureKeyPair, random: Random
) -> GroupInfo:
    """The signed GroupInfo of a group's epoch, with GREASE (§13.5)."""
    extensions = []
    if tree:
        extensions.append(Extension(ExtensionType.RATCHET_TREE, encode(group.tree)))
    if external_pub:
        pair = derive_key_pair(group.suite, group.secrets.external_secret)
        extensions.append(external_pub_extension(pair.public))
    extensions.append(grease_extension(random))
    info = GroupInfo(group.context, tuple(extensions), group.confirmation_tag, group.own_leaf)
    return info.signed_by(group.suite, signer)


def make_group_info(group: Group, *, tree: bool, external_pub: bool, random: Random) -> bytes:
    """See `Group.group_info`."""
    info = build_group_info(
        group, tree=tree, external_pub=external_pub, signer=group.signer, random=random
    )
    return encode(MLSMessage(info))
