"""Group: one epoch of one member, as a value (RFC 9420 §11, §12).

Every operation returns the next value and what must be stored for it; the old value stays valid
and a failed operation changes nothing. The operations stand in modules of their own: `create`,
`join`, `external_join`, `sealing`, `proposing`, `committing`, `processing`. Those that make the first
value of a group import this class late.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .ciphersuite import CipherSuite, Random, SignatureKeyPair
from .committing import LeafChange, create_commit
from .create import create_group
from .credential import Credential
from .epoch import PAST_EPOCHS
from .errors import UsageError
from .extension import Extension
from .external_join import join_by_commit
from .framing import WireFormat
from .group_entries import changes_between, entries_of
from .group_state import GroupState
from .identity import IdentityCheck
from .join import join_group
from .key_package import KeyPackage, KeyPackageSecrets
from .leaf_node import Capabilities, Lifetime
from .outcome import (
    Changed,
    Committed,
    ExternalJoin,
    Joined,
    PlanData,
    Processed,
    Proposed,
    Sealed,
)
from .private_message import Padding
from .processing import process
from .proposal import Proposal
from .proposing import propose, propose_update
from .psk import PreSharedKeyID, PskLookup
from .quick import quick
from .ratchet_tree import MAX_LEAVES
from .sealing import make_group_info, seal_application


@quick
@dataclass(frozen=True, slots=True)
class Group(GroupState):
    """One epoch of a group, seen by one member. Make it with `create`, `join`, `join_external`."""

    # Storing

    def entries(self) -> dict[str, bytes]:
        """Everything to store, by name; the signature key is not among it."""
        return entries_of(self)

    @classmethod
    def from_entries(cls, entries: Mapping[str, bytes], signer: SignatureKeyPair) -> Group:
        """Read `entries` back.

        Raises:
            CodecError: they are damaged, incomplete, or of a version that this library cannot read.
            UsageError: `signer` is not the signature key of the own leaf.

        """
        from .group_reading import group_from

        return group_from(entries, signer)

    def forget_past(self, keep: int = 0, *, now: int | None = None) -> Changed:
        """Drop the keys of all past epochs but the last `keep`, and those too old at `now`."""
        kept = self.past[-keep:] if keep else ()
        group = replace(self, past=tuple(past for past in kept if past.is_kept(now)))
        return Changed(group, changes_between(self, group))

    def merged(self, current: Group) -> Changed:
        """Take over this value, which an own commit made, once the log says that it won.

        Args:
            current: the latest value of the epoch before: messages received since the commit was
                made have used up keys, which must not come back.

        Returns:
            The group to go on with; its changes are from the entries of `current`.

        """
        if current.group_id != self.group_id or current.epoch + 1 != self.epoch or not self.past:
            raise UsageError("these are not two following epochs of one group")
        last = self.past[-1]
        secret_tree, _ = current.secret_tree.without_leaf(current.own_leaf)
        earlier = current.past[-(PAST_EPOCHS - 1) :]
        kept = tuple(
            past
            for past in earlier
            if past.context.epoch >= self._oldest_past and past.is_kept(last.ended)
        )
        group = replace(self, past=(*kept, replace(last, secret_tree=secret_tree)))
        return Changed(group, changes_between(current, group))

    def following(self, changes: Mapping[str, bytes | None]) -> Group:
        """The next epoch of an own commit, of which `Committed.changes` were stored.

        As `Committed.group`, to be taken over with `merged` once the log says that the commit won;
        messages received since it was made do not matter. A commit that changed the signature key
        needs the new one: `replace(self, signer=…)` first.

        Raises:
            CodecError: they are damaged, or not those of a commit made in this epoch.

        """
        from .group_reading import group_after

        return group_after(self, changes)

    @property
    def _oldest_past(self) -> int:
        return self.past[0].context.epoch if self.past else self.epoch

    # Beginning

    @classmethod
    def create(
        cls,
        suite: CipherSuite,
        group_id: bytes,
        credential: Credential,
        signer: SignatureKeyPair,
        *,
        lifetime: Lifetime,
        capabilities: Capabilities | None = None,
        extensions: Sequence[Extension] = (),
        leaf_extensions: Sequence[Extension] = (),
        random: Random = os.urandom,
    ) -> Changed:
        """A new group with one member, in epoch 0 (§11)."""
        return create_group(
            suite,
            group_id,
            credential,
            signer,
            lifetime=lifetime,
            capabilities=capabilities,
            extensions=extensions,
            leaf_extensions=leaf_extensions,
            random=random,
        )

    @classmethod
    def join(
        cls,
        welcome: bytes,
        key_package: KeyPackage,
        secrets: KeyPackageSecrets,
        signer: SignatureKeyPair,
        *,
        tree: bytes | None = None,
        psks: PskLookup | None = None,
        predecessor: Group | None = None,
        groups: Collection[bytes] = (),
        max_leaves: int = MAX_LEAVES,
        identity: IdentityCheck,
        now: int | None,
    ) -> Joined:
        """Enter a group through a Welcome (MLSMessage) (§12.4.3.1).

        Args:
            welcome: the MLSMessage with the Welcome.
            key_package: that of ours which the Welcome is for.
            secrets: its private keys; delete them afterwards, unless it is one of last resort.
            signer: our signature key.
            tree: the ratchet tree, when the Welcome does not carry it.
            psks: pre-shared keys that the Welcome may name.
            predecessor: the group that this one continues, when the Welcome says so (ReInit).
            groups: ids of the groups that we are in; a Welcome to one of them is refused.
            max_leaves: how wide the ratchet tree may be, with its blank leaves.
            identity: decides about the members' credentials.
            now: Unix seconds, or None not to check lifetimes.

        Raises:
            CodecError, ValidationError: the Welcome is not valid, or not for us.

        """
        return join_group(
            welcome,
            key_package,
            secrets,
            signer,
            tree=tree,
            psks=psks or {},
            predecessor=predecessor,
            groups=groups,
            max_leaves=max_leaves,
            identity=identity,
            now=now,
        )

    @classmethod
    def join_external(
        cls,
        group_info: bytes,
        credential: Credential,
        signer: SignatureKeyPair,
        *,
        tree: bytes | None = None,
        resync: bool = False,
        psks: PskLookup | None = None,
        psk_ids: Sequence[bytes | PreSharedKeyID] = (),
        groups: Collection[bytes] = (),
        max_leaves: int = MAX_LEAVES,
        capabilities: Capabilities | None = None,
        leaf_extensions: Sequence[Extension] = (),
        authenticated_data: bytes = b"",
        identity: IdentityCheck,
        now: int | None,
        random: Random = os.urandom,
    ) -> ExternalJoin:
        """Enter a group by an external commit (§12.4.3.2).

        Args:
            group_info: an MLSMessage with a GroupInfo that has external_pub.
            credential: ours.
            signer: our signature key.
            tree: the ratchet tree, when the GroupInfo does not carry it.
            resync: also remove our former leaf (the one with our signature key or identity).
            psks: pre-shared keys at hand.
            psk_ids: pre-shared keys to mix in, external ones by their id.
            groups: ids of the groups that we are in (not of one that we come back to).
            max_leaves: how wide the ratchet tree may be, with its blank leaves.
            capabilities: what we support; a default otherwise.
            leaf_extensions: extensions of our leaf.
            authenticated_data: goes with the commit, readable by anyone.
            identity: decides about the members' credentials.
            now: Unix seconds, or None not to check lifetimes.
            random: source of randomness.

        """
        return join_by_commit(
            group_info,
            credential,
            signer,
            tree=tree,
            resync=resync,
            psks=psks or {},
            psk_ids=psk_ids,
            groups=groups,
            max_leaves=max_leaves,
            capabilities=capabilities,
            leaf_extensions=leaf_extensions,
            authenticated_data=authenticated_data,
            identity=identity,
            now=now,
            random=random,
        )

    # Sending

    def seal(
        self,
        data: bytes,
        *,
        authenticated_data: bytes = b"",
        padding: Padding = 0,
        ahead_of_proposals: bool = False,
        random: Random = os.urandom,
    ) -> Sealed:
        """Encrypt an application message (§6.3).

        Args:
            data: the content in bytes.
            authenticated_data: goes along unencrypted, but authenticated.
            padding: zero bytes to add, or a function from the unpadded size to their number.
            ahead_of_proposals: also while proposals wait, which the RFC wants committed first
                (§12.4): for a caller that sees to that commit itself.
            random: source of randomness.

        Raises:
            UsageError: the group is closed, proposals wait, or the ratchet is used up.

        """
        return seal_application(
            self,
            data,
            authenticated_data=authenticated_data,
            padding=padding,
            ahead_of_proposals=ahead_of_proposals,
            random=random,
        )

    def propose(
        self,
        proposal: Proposal,
        *,
        wire_format: WireFormat = WireFormat.PRIVATE_MESSAGE,
        authenticated_data: bytes = b"",
        padding: Padding = 0,
        identity: IdentityCheck | None = None,
        now: int | None = None,
        random: Random = os.urandom,
    ) -> Proposed:
        """Propose a change to the group (§12.1); for one's own leaf use `propose_update`.

        Args:
            identity: decides about whom we propose to add; None when that was done before.
            now: Unix seconds, or None not to check the lifetime of a key package.
        """
        return propose(
            self,
            proposal,
            wire_format=wire_format,
            authenticated_data=authenticated_data,
            padding=padding,
            identity=identity,
            now=now,
            random=random,
        )

    def propose_update(
        self,
        *,
        credential: Credential | None = None,
        capabilities: Capabilities | None = None,
        leaf_extensions: Sequence[Extension] | None = None,
        wire_format: WireFormat = WireFormat.PRIVATE_MESSAGE,
        authenticated_data: bytes = b"",
        padding: Padding = 0,
        random: Random = os.urandom,
    ) -> Proposed:
        """Propose a fresh key for one's own leaf, and what else is given (§12.1.2)."""
        return propose_update(
            self,
            credential=credential,
            capabilities=capabilities,
            leaf_extensions=leaf_extensions,
            wire_format=wire_format,
            authenticated_data=authenticated_data,
            padding=padding,
            random=random,
        )

    def commit(
        self,
        proposals: Sequence[Proposal] = (),
        *,
        include_pending: bool = True,
        path: bool | None = None,
        wire_format: WireFormat = WireFormat.PRIVATE_MESSAGE,
        authenticated_data: PlanData = b"",
        padding: Padding = 0,
        psks: PskLookup | None = None,
        signer: SignatureKeyPair | None = None,
        credential: Credential | None = None,
        capabilities: Capabilities | None = None,
        leaf_extensions: Sequence[Extension] | None = None,
        tree_in_welcome: bool = True,
        predecessor: Group | None = None,
        identity: IdentityCheck,
        now: int | None,
        random: Random = os.urandom,
    ) -> Committed:
        """Make a commit; nothing is taken over yet (§12.4.1).

        Args:
            proposals: changes to commit by value; a faulty one fails the commit.
            include_pending: also those pending proposals that go together with them.
            path: True: with a path; False: without one (a UsageError where one is required);
                None: with a path, as the RFC advises, but for a ReInit.
            wire_format: how the commit travels.
            authenticated_data: goes along unencrypted; or a function of what the commit changes.
            padding: zero bytes to add to a PrivateMessage.
            psks: pre-shared keys at hand.
            signer: a new signature key for our leaf.
            credential, capabilities, leaf_extensions: new content for our leaf.
            tree_in_welcome: whether Welcome and GroupInfo carry the ratchet tree.
            predecessor: the closed group that this one continues (ReInit).
            identity: decides about new members' credentials.
            now: Unix seconds, or None not to check lifetimes.
            random: source of randomness.

        Raises:
            UsageError: the group is closed, or a path is required.
            ValidationError: a proposal is not valid, or they do not go together.

        """
        return create_commit(
            self,
            tuple(proposals),
            include_pending=include_pending,
            path=path,
            wire_format=wire_format,
            authenticated_data=authenticated_data,
            padding=padding,
            psks=psks or {},
            leaf=LeafChange(signer, credential, capabilities, leaf_extensions),
            tree_in_welcome=tree_in_welcome,
            predecessor=predecessor,
            identity=identity,
            now=now,
            random=random,
        )

    def group_info(
        self, *, tree: bool = True, external_pub: bool = True, random: Random = os.urandom
    ) -> bytes:
        """An MLSMessage with this epoch's GroupInfo, for external joins (§12.4.3)."""
        return make_group_info(self, tree=tree, external_pub=external_pub, random=random)

    # Receiving

    def process(
        self,
        message: bytes,
        *,
        identity: IdentityCheck,
        now: int | None,
        psks: PskLookup | None = None,
    ) -> Processed:
        """Open a message (MLSMessage): application data, a proposal, or a commit.

        Application messages of the last epochs are opened as well, while their keys are kept.

        Args:
            message: the MLSMessage, a PublicMessage or a PrivateMessage.
            identity: decides about new credentials.
            now: Unix seconds, or None not to check lifetimes.
            psks: pre-shared keys that a commit may name.

        Raises:
            CodecError: the bytes are no such message.
            UnknownGroupError, WrongEpochError, GenerationError: it cannot be opened here.
            ValidationError: the sender broke a rule; `rule` names it.

        """
        return process(self, message, identity=identity, now=now, psks=psks or {})
