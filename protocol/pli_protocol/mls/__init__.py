"""Messaging Layer Security (RFC 9420), sans-IO: `Group` is one epoch of one member, a value.

Every operation returns the next value, what to send, and what to store; see `Group`.
"""

from .ciphersuite import (
    MLS10,
    SUITES,
    CipherSuite,
    HPKEPrivateKey,
    KEMKeyPair,
    SignatureKeyPair,
    SignaturePrivateKey,
    suite,
)
from .codec import Reader, Writer, decode, encode
from .commit import Commit, ProposalRef
from .credential import BasicCredential, Credential, UnknownCredential, X509Credential
from .epoch import PAST_EPOCHS, Member
from .errors import (
    CodecError,
    CryptoError,
    GenerationError,
    MLSError,
    UnknownGroupError,
    UnsupportedError,
    UsageError,
    ValidationError,
    WrongEpochError,
)
from .extension import Extension, ExtensionType, RequiredCapabilities
from .external_proposal import propose_from_outside, propose_own_add
from .external_senders import ExternalSender, external_senders_extension
from .framing import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    Sender,
    SenderType,
    WireFormat,
    verify_signed,
)
from .group import Group
from .group_context import GroupContext
from .group_info import GroupInfo
from .group_support import (
    check_best_suite,
    required_capabilities,
    required_capabilities_extension,
)
from .identity import ACCEPT_BASIC, IdentityCheck
from .key_package import KeyPackage, KeyPackageSecrets, generate_key_package
from .leaf_node import Capabilities, LeafNode, Lifetime
from .message import Header, MLSMessage, peek
from .outcome import (
    ApplicationReceived,
    Changed,
    Changes,
    CommitPlan,
    CommitReceived,
    Committed,
    ExternalJoin,
    Joined,
    Processed,
    ProposalReceived,
    Proposed,
    Removed,
    Sealed,
)
from .pending import PendingProposal
from .private_message import Padding, PrivateMessage
from .proposal import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from .psk import PreSharedKeyID, PskLookup, PSKType, ResumptionPSKUsage
from .public_message import PublicMessage
from .ratchet_tree import RatchetTree
from .secret_tree import MAX_FORWARD, MAX_SKIPPED
from .welcome import Welcome

__all__ = [
    "ACCEPT_BASIC",
    "Add",
    "ApplicationReceived",
    "AuthenticatedContent",
    "BasicCredential",
    "Capabilities",
    "Changed",
    "Changes",
    "CipherSuite",
    "CodecError",
    "Commit",
    "CommitPlan",
    "CommitReceived",
    "Committed",
    "ContentType",
    "Credential",
    "CryptoError",
    "Extension",
    "ExtensionType",
    "ExternalInit",
    "ExternalJoin",
    "ExternalSender",
    "FramedContent",
    "GenerationError",
    "Group",
    "GroupContext",
    "GroupContextExtensions",
    "GroupInfo",
    "HPKEPrivateKey",
    "Header",
    "IdentityCheck",
    "Joined",
    "KEMKeyPair",
    "KeyPackage",
    "KeyPackageSecrets",
    "LeafNode",
    "Lifetime",
    "MAX_FORWARD",
    "MAX_SKIPPED",
    "MLS10",
    "MLSError",
    "MLSMessage",
    "Member",
    "PAST_EPOCHS",
    "PSKType",
    "Padding",
    "PendingProposal",
    "PreSharedKey",
    "PreSharedKeyID",
    "PrivateMessage",
    "Processed",
    "Proposal",
    "ProposalReceived",
    "ProposalRef",
    "Proposed",
    "PskLookup",
    "PublicMessage",
    "RatchetTree",
    "ReInit",
    "Reader",
    "Remove",
    "Removed",
    "RequiredCapabilities",
    "ResumptionPSKUsage",
    "SUITES",
    "Sealed",
    "Sender",
    "SenderType",
    "SignatureKeyPair",
    "SignaturePrivateKey",
    "UnknownCredential",
    "UnknownGroupError",
    "UnsupportedError",
    "Update",
    "UsageError",
    "ValidationError",
    "Welcome",
    "WireFormat",
    "Writer",
    "WrongEpochError",
    "X509Credential",
    "check_best_suite",
    "decode",
    "encode",
    "external_senders_extension",
    "generate_key_package",
    "peek",
    "propose_from_outside",
    "propose_own_add",
    "required_capabilities",
    "required_capabilities_extension",
    "suite",
    "verify_signed",
]
