"""Epochs: how the next one begins, and what is kept of past ones (RFC 9420 §8, §12.4, §15.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..secret import Secret
from .ciphersuite import CipherSuite
from .credential import Credential
from .framing import AuthenticatedContent
from .group_context import GroupContext
from .key_schedule import (
    EncryptionSecret,
    EpochSecrets,
    JoinerSecret,
    derive_epoch,
    derive_epoch_secret,
    derive_joiner_secret,
)
from .leaf_node import LeafNode
from .psk import PreSharedKeyID, psk_secret
from .quick import quick
from .secret_tree import SecretTree
from .transcript_hash import confirmation_tag, confirmed_transcript_hash, interim_transcript_hash

PAST_EPOCHS = 5
"""Past epochs whose late messages are still opened."""
PAST_SECONDS = 86_400
"""How long after its end an epoch's late messages are still opened, where a time is given."""


@quick
@dataclass(frozen=True, slots=True)
class Member:
    """Who sits at a leaf."""

    leaf: int
    credential: Credential
    signature_key: bytes

    @classmethod
    def at(cls, leaf: int, node: LeafNode) -> Member:
        """The member that a leaf node describes."""
        return cls(leaf, node.credential, node.signature_key)


@quick
@dataclass(frozen=True, slots=True)
class PastEpoch:
    """What opens late messages of an epoch that is over.

    `replaced` holds who sat at the leaves that the commit ending it changed (None: nobody), so
    that a late message is verified with the key its sender had then, though it was removed since.
    `ended` is when that commit was made or received, in Unix seconds, None where no time was given.
    """

    context: GroupContext
    sender_data_secret: Secret
    resumption_psk: Secret
    secret_tree: SecretTree
    replaced: Mapping[int, Member | None]
    ended: int | None = None

    def is_kept(self, now: int | None) -> bool:
        """Whether late messages of this epoch are still opened at `now` (§15.3)."""
        return now is None or self.ended is None or now - self.ended <= PAST_SECONDS


@quick
@dataclass(frozen=True, slots=True)
class BegunEpoch:
    """The key material of a new epoch; `joiner_secret` and `psk_secret` go into Welcomes only."""

    context: GroupContext
    interim_transcript_hash: bytes
    confirmation_tag: bytes
    secrets: EpochSecrets
    secret_tree: SecretTree
    joiner_secret: JoinerSecret
    psk_secret: Secret


def begin_epoch(
    suite: CipherSuite,
    *,
    signed: AuthenticatedContent,
    interim_before: bytes,
    provisional: GroupContext,
    init_secret: bytes,
    commit_secret: bytes,
    psks: Sequence[tuple[PreSharedKeyID, bytes]],
    leaf_count: int,
) -> BegunEpoch:
    """Derive the epoch that a commit begins.

    Args:
        suite: the group's cipher suite.
        signed: the commit as it was signed; its confirmation tag is not looked at.
        interim_before: interim transcript hash of the epoch in which it was sent.
        provisional: the new GroupContext but for the transcript hash.
        init_secret: that of the old epoch, or the external one.
        commit_secret: from the path, or Nh zero bytes.
        psks: the pre-shared keys in the order of the commit.
        leaf_count: width of the new ratchet tree.

    """
    confirmed = confirmed_transcript_hash(
        suite, interim_before, signed.wire_format, signed.content, signed.auth.signature
    )
    context = provisional.with_transcript(confirmed)
    joiner = derive_joiner_secret(suite, init_secret, commit_secret, context)
    psk = psk_secret(suite, psks)
    secrets, encryption = derive_epoch(suite, derive_epoch_secret(suite, joiner, psk, context))
    tag = confirmation_tag(suite, secrets.confirmation_key, confirmed)
    return BegunEpoch(
        context=context,
        interim_transcript_hash=interim_transcript_hash(suite, confirmed, tag),
        confirmation_tag=tag,
        secrets=secrets,
        secret_tree=new_secret_tree(suite, encryption, leaf_count),
        joiner_secret=joiner,
        psk_secret=psk,
    )


def new_secret_tree(
    suite: CipherSuite, encryption_secret: EncryptionSecret, leaf_count: int
) -> SecretTree:
    """The secret tree over a ratchet tree of this width."""
    return SecretTree.create(encryption_secret, leaf_count).divided(suite)
