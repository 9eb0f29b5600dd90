"""What a group is: the state of one epoch, seen by one member (RFC 9420 §8.1, §11)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from .ciphersuite import CipherSuite, SignatureKeyPair
from .epoch import Member, PastEpoch
from .group_context import GroupContext
from .key_schedule import EpochSecrets, export_secret
from .leaf_node import LeafNode
from .pending import PendingProposal
from .private_tree import PrivateTree
from .proposal import ReInit
from .ratchet_tree import RatchetTree
from .secret_tree import SecretTree


@dataclass(frozen=True, slots=True)
class GroupState:
    """One epoch of a group, seen by one member; what can be done with it is in `Group`.

    Attributes:
        suite: the cipher suite.
        context: the GroupContext, equal at all members.
        tree: the public ratchet tree.
        own_leaf: where we sit.
        reinit: the ReInit that closed the group, or None. A closed group seals, proposes and
            commits nothing any more (§12.4.2).

    """

    suite: CipherSuite
    context: GroupContext
    tree: RatchetTree = field(repr=False)
    own_leaf: int
    signer: SignatureKeyPair = field(repr=False)
    private_tree: PrivateTree = field(repr=False)
    secrets: EpochSecrets = field(repr=False)
    secret_tree: SecretTree = field(repr=False)
    interim_transcript_hash: bytes = field(repr=False)
    confirmation_tag: bytes = field(repr=False)
    proposals: tuple[PendingProposal, ...] = field(default=(), repr=False)
    past: tuple[PastEpoch, ...] = field(default=(), repr=False)
    reinit: ReInit | None = field(default=None, repr=False)

    def with_secret_tree(self, secret_tree: SecretTree) -> Self:
        """The value after a message. Written out, for `replace` takes longer than an AEAD."""
        return type(self)(
            self.suite,
            self.context,
            self.tree,
            self.own_leaf,
            self.signer,
            self.private_tree,
            self.secrets,
            secret_tree,
            self.interim_transcript_hash,
            self.confirmation_tag,
            self.proposals,
            self.past,
            self.reinit,
        )

    @property
    def group_id(self) -> bytes:
        """The group's id."""
        return self.context.group_id

    @property
    def epoch(self) -> int:
        """The number of this epoch."""
        return self.context.epoch

    @property
    def epoch_authenticator(self) -> bytes:
        """Equal at all members of this epoch, and at nobody else's (§8.7)."""
        return bytes(self.secrets.epoch_authenticator)

    @property
    def pending_proposals(self) -> tuple[PendingProposal, ...]:
        """Valid proposals seen in this epoch, in the order of their coming."""
        return self.proposals

    @property
    def own_leaf_node(self) -> LeafNode:
        """Our own leaf."""
        leaf = self.tree.leaf(self.own_leaf)
        if leaf is None:
            raise AssertionError("a group without its own member")
        return leaf

    def members(self) -> tuple[Member, ...]:
        """All members, by leaf."""
        return tuple(Member.at(index, node) for index, node in self.tree.leaves())

    def member(self, leaf: int) -> Member | None:
        """The member at a leaf, or None."""
        node = self.tree.leaf(leaf)
        return None if node is None else Member.at(leaf, node)

    def extension(self, extension_type: int) -> bytes | None:
        """The data of a GroupContext extension, or None."""
        return self.context.extension(extension_type)

    def export_secret(self, label: str | bytes, context: bytes, length: int) -> bytes:
        """A secret of `length` bytes for use outside MLS, equal at all members (§8.5)."""
        return export_secret(self.suite, self.secrets.exporter_secret, label, context, length)

    def resumption_psk(self, group_id: bytes, epoch: int) -> bytes | None:
        """The resumption secret of this group's epoch, while it is kept (§8.6)."""
        if group_id != self.group_id:
            return None
        if epoch == self.epoch:
            return self.secrets.resumption_psk
        for past in self.past:
            if past.context.epoch == epoch:
                return past.resumption_psk
        return None
