"""Pli's profile of MLS: the suites, lifetimes, extensions, capabilities, padding (docs: design)."""

from typing import Final

from pli_protocol.content import CONVERSATION_EXTENSION
from pli_protocol.mls.ciphersuite import CipherSuite, suite
from pli_protocol.mls.codec import encode
from pli_protocol.mls.credential import CredentialType
from pli_protocol.mls.extension import Extension, ExtensionType, RequiredCapabilities
from pli_protocol.mls.group import Group
from pli_protocol.mls.leaf_node import Capabilities, LeafNode, Lifetime

SUITE: Final = suite(0x004E)
"""The suite of every group that is made here, and of every key package that is offered."""

SUITES: Final = frozenset({SUITE.number, 0x0003})
"""Suites of groups that go on. Those of another suite than SUITE take in nobody new (decision 10)."""

DAY: Final = 86_400
LIFETIME: Final = 90 * DAY
"""Seconds that a leaf may live, from first to last."""

BACKDATED: Final = 3600
"""Seconds by which another clock may be behind ours."""

RENEWED_AFTER: Final = 60 * DAY
"""Seconds after which a leaf gets a fresh key: a month before its end."""

MAX_LEAVES: Final = 4096
"""Leaves, blank ones too, of the widest tree that is joined: a relay lets in 1000 by default."""

LARGEST_PADDED: Final = 46 * 1024

_ALLOWED_EXTENSIONS: Final = frozenset(
    {int(ExtensionType.REQUIRED_CAPABILITIES), CONVERSATION_EXTENSION}
)


class ProfileError(Exception):
    """Valid MLS that Pli does not accept. `rule` is a short stable id."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def lifetime(now: int) -> Lifetime:
    """The lifetime of a leaf made now (Unix seconds)."""
    return Lifetime(now - BACKDATED, now - BACKDATED + LIFETIME)


def capabilities(used: CipherSuite | None = None) -> Capabilities:
    """What every leaf of ours supports: one suite, SUITE unless another is named."""
    return Capabilities(
        cipher_suites=((used or SUITE).number,),
        extensions=(int(ExtensionType.LAST_RESORT), CONVERSATION_EXTENSION),
        credentials=(int(CredentialType.X509),),
    )


def group_extensions(conversation_id: bytes) -> tuple[Extension, ...]:
    """The GroupContext's extensions: required capabilities and the conversation's id, nothing else."""
    required = RequiredCapabilities((CONVERSATION_EXTENSION,), (), (int(CredentialType.X509),))
    return (
        Extension(ExtensionType.REQUIRED_CAPABILITIES, encode(required)),
        Extension(CONVERSATION_EXTENSION, conversation_id),
    )


def check_group(group: Group) -> bytes:
    """The conversation's id of a group of our profile. Raises ProfileError."""
    if group.suite.number not in SUITES:
        raise ProfileError("suite")
    if {e.extension_type for e in group.context.extensions} != _ALLOWED_EXTENSIONS:
        raise ProfileError("group-extensions")
    conversation_id = group.extension(CONVERSATION_EXTENSION)
    expected = None if conversation_id is None else group_extensions(conversation_id)
    if conversation_id is None or len(conversation_id) != 16:
        raise ProfileError("conversation-id")
    if sorted(map(encode, group.context.extensions)) != sorted(map(encode, expected or ())):
        raise ProfileError("group-extensions")
    return conversation_id


def check_leaf_lifetime(leaf: LeafNode) -> None:
    """A leaf that came with a key package lives at most LIFETIME. Raises ProfileError."""
    span = leaf.lifetime
    if span is not None and not 0 <= span.not_after - span.not_before <= LIFETIME:
        raise ProfileError("leaf-lifetime")


def padding(size: int) -> int:
    """Zero bytes that round `size` up to a bucket: powers of two, then 4 KiB, at last 512 bytes."""
    if size <= 4096:
        bucket = max(256, 1 << (size - 1).bit_length()) if size else 256
    elif size <= 40 * 1024:
        bucket = -(-size // 4096) * 4096
    else:
        bucket = max(size, min(-(-size // 512) * 512, LARGEST_PADDED))
    return bucket - size
