"""External proposals, from their senders' side (RFC 9420 §12.1.8): who is not in the group.

They travel as PublicMessages. Who sends them needs to know the group's id and epoch, nothing else.
"""

from __future__ import annotations

from .ciphersuite import CipherSuite, SignatureKeyPair
from .ciphersuite import suite as suite_of
from .codec import encode
from .errors import UsageError, ValidationError
from .framing import FramedContent, Sender, SenderType, WireFormat, sign_content
from .key_package import KeyPackage
from .message import MLSMessage
from .proposal import ALLOWED_EXTERNAL, Add, Proposal
from .proposal_list import check_sendable
from .public_message import PublicMessage


def propose_from_outside(
    suite: CipherSuite,
    group_id: bytes,
    epoch: int,
    proposal: Proposal,
    signer: SignatureKeyPair,
    *,
    sender_index: int,
    authenticated_data: bytes = b"",
) -> bytes:
    """A proposal (MLSMessage) of one of the group's external_senders.

    Args:
        suite: the group's cipher suite.
        signer: the key that external_senders names.
        sender_index: its place in that list.

    Raises:
        ValidationError: "proposal-external-sender" for a proposal that only members may make.
        UsageError: "sender-grease".
    """
    if not isinstance(proposal, ALLOWED_EXTERNAL):
        raise ValidationError("proposal-external-sender", "§12.1.8")
    check_sendable(proposal)
    sender = Sender(SenderType.EXTERNAL, sender_index)
    content = FramedContent(group_id, epoch, sender, authenticated_data, proposal)
    return _public(suite, content, signer)


def propose_own_add(
    key_package: KeyPackage,
    signer: SignatureKeyPair,
    *,
    group_id: bytes,
    epoch: int,
    authenticated_data: bytes = b"",
) -> bytes:
    """A newcomer's proposal (MLSMessage) to be added itself.

    Raises:
        UsageError: the signature key is not that of the key package.
    """
    if signer.public != key_package.leaf_node.signature_key:
        raise UsageError(
            "the signature key is not that of the key package", "sender-signature-key", "§6.1"
        )
    sender = Sender(SenderType.NEW_MEMBER_PROPOSAL)
    content = FramedContent(group_id, epoch, sender, authenticated_data, Add(key_package))
    return _public(suite_of(key_package.cipher_suite), content, signer)


def _public(suite: CipherSuite, content: FramedContent, signer: SignatureKeyPair) -> bytes:
    signed = sign_content(suite, signer, WireFormat.PUBLIC_MESSAGE, content, None)
    return encode(MLSMessage(PublicMessage(content, signed.auth)))
