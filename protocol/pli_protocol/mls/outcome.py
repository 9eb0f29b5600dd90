"""What the operations on a group give back: the next value, what to send, what to store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .codec import encode
from .commit import ProposalRef
from .epoch import Member
from .framing import Sender
from .proposal import Proposal
from .quick import quick

if TYPE_CHECKING:
    from .group import Group

Changes = Mapping[str, bytes | None]
"""Entries to write (None: to delete) so that the store holds the new value."""


@quick
@dataclass(frozen=True, slots=True)
class Changed:
    """A new value of a group and what to store for it."""

    group: Group
    changes: Changes = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Joined:
    """A group entered through a Welcome; `committer` is the member that let us in."""

    group: Group
    changes: Changes = field(repr=False)
    committer: Member | None


@quick
@dataclass(frozen=True, slots=True)
class ExternalJoin:
    """A group entered through an external commit, which `message` holds (MLSMessage)."""

    group: Group
    message: bytes = field(repr=False)
    changes: Changes = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Sealed:
    """An application message (MLSMessage) and its signed form (AuthenticatedContent)."""

    group: Group
    message: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    changes: Changes = field(repr=False)
    generation: int


@quick
@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal (MLSMessage) that now is pending here too."""

    group: Group
    message: bytes = field(repr=False)
    reference: ProposalRef
    changes: Changes = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class CommitPlan:
    """What a commit is about to change, for whoever writes its authenticated_data."""

    group_id: bytes
    epoch: int
    added: tuple[Member, ...]
    removed: tuple[Member, ...]
    updated: tuple[Member, ...]


@quick
@dataclass(frozen=True, slots=True)
class Committed:
    """A commit that was made, but not taken over.

    Attributes:
        group: the next epoch, to be kept once the log says that the commit won
            (`group.merged(current)`).
        sent: this epoch after the commit was sealed; go on with it meanwhile.
        message: the commit (MLSMessage).
        welcome: the Welcome (MLSMessage) for all added members, or None.
        changes_sent: from the stored value to `sent`.
        changes: from `sent` to `group`.
        plan: what it changes.
        signed: the commit as an AuthenticatedContent.
        tree_in_welcome: whether Welcome and GroupInfo carry the ratchet tree.

    """

    group: Group
    sent: Group
    message: bytes = field(repr=False)
    welcome: bytes | None = field(repr=False)
    changes_sent: Changes = field(repr=False)
    changes: Changes = field(repr=False)
    plan: CommitPlan
    signed: bytes = field(repr=False)
    tree_in_welcome: bool

    @property
    def group_info(self) -> bytes:
        """The next epoch's GroupInfo (MLSMessage) with external_pub; made when asked for."""
        return self.group.group_info(tree=self.tree_in_welcome)

    @property
    def ratchet_tree(self) -> bytes:
        """The next epoch's encoded tree, for joiners when the Welcome is without it."""
        return encode(self.group.tree)


@quick
@dataclass(frozen=True, slots=True)
class ApplicationReceived:
    """A message of a member; `signed` proves it later (`verify_signed`)."""

    group: Group
    changes: Changes = field(repr=False)
    sender: Member
    epoch: int
    generation: int
    data: bytes = field(repr=False)
    authenticated_data: bytes
    signed: bytes = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """A valid proposal; it is pending now. `member` is its sender if that is a member."""

    group: Group
    changes: Changes = field(repr=False)
    sender: Sender
    member: Member | None
    proposal: Proposal
    reference: ProposalRef
    authenticated_data: bytes


@quick
@dataclass(frozen=True, slots=True)
class CommitReceived:
    """The next epoch, begun by `sender`."""

    group: Group
    changes: Changes = field(repr=False)
    sender: Member
    added: tuple[Member, ...]
    removed: tuple[Member, ...]
    updated: tuple[Member, ...]
    authenticated_data: bytes
    signed: bytes
    external: bool


@quick
@dataclass(frozen=True, slots=True)
class Removed:
    """This member was removed; there is no next value, and the group should be deleted."""

    sender: Member
    removed: tuple[Member, ...]
    authenticated_data: bytes
    signed: bytes


Processed = ApplicationReceived | ProposalReceived | CommitReceived | Removed
PlanData = bytes | Callable[[CommitPlan], bytes]
