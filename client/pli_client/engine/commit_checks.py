"""What Pli demands of a commit beyond the RFC: its AAD is its change, its profile, whom it adds."""

from collections.abc import Sequence

from pli_protocol.identity import IdentityError
from pli_protocol.mls.codec import decode
from pli_protocol.mls.commit import Commit, ProposalRef
from pli_protocol.mls.epoch import Member
from pli_protocol.mls.framing import AuthenticatedContent
from pli_protocol.mls.group import Group
from pli_protocol.mls.outcome import CommitPlan, CommitReceived
from pli_protocol.mls.proposal import Add, Proposal, Remove, Update
from pli_protocol.relay.log import RosterChange, device_id

from .profile import ProfileError, check_group, check_leaf_lifetime
from .work import Work

ALLOWED = (Add, Update, Remove)
"""Proposals that the messenger knows; the library has the others too."""


def roster_change(added: Sequence[Member], removed: Sequence[Member]) -> RosterChange:
    """The one right AAD of a commit that adds and removes these."""
    return RosterChange(
        tuple(sorted(device_id(member.signature_key) for member in added)),
        tuple(sorted(device_id(member.signature_key) for member in removed)),
    )


def plan_data(plan: CommitPlan) -> bytes:
    """The AAD for a commit of ours."""
    return roster_change(plan.added, plan.removed).encode()


def check_roster(data: bytes, added: Sequence[Member], removed: Sequence[Member]) -> RosterChange:
    """The AAD must be exactly the change. Raises ProfileError("roster")."""
    expected = roster_change(added, removed)
    try:
        found = RosterChange.decode(data)
    except ValueError:
        raise ProfileError("roster") from None
    if found != expected:
        raise ProfileError("roster")
    return found


def check_proposal_kind(proposal: Proposal) -> None:
    """Raises ProfileError("proposal-kind")."""
    if not isinstance(proposal, ALLOWED):
        raise ProfileError("proposal-kind")


def check_commit(work: Work, received: CommitReceived, at: int) -> RosterChange:
    """Check a commit, taken by the relay at `at` (Unix seconds), that MLS found valid.

    Raises ProfileError, ValidationError.
    """
    if received.external:
        raise ProfileError("external-commit")
    for proposal in _by_value(received.signed):
        check_proposal_kind(proposal)
    change = check_roster(received.authenticated_data, received.added, received.removed)
    check_group(received.group)
    for member in received.added:
        check_added(work, received.group, member, at)
    return change


def check_added(work: Work, group: Group, member: Member, at: int) -> None:
    """Whoever is added has a chain and a leaf of our profile. Raises ProfileError.

    A device that was revoked is not refused here, lest all who read the commit after the revocation
    lose their state (decision 8): its leaf is removed before the next message of ours.
    """
    device = work.device(member)
    try:
        work.trust.device(device.chain, at)
    except IdentityError as error:
        raise ProfileError(f"added-{error.rule}") from error
    leaf = group.tree.leaf(member.leaf)
    if leaf is None:
        raise ProfileError("added-blank")
    check_leaf_lifetime(leaf)


def _by_value(signed: bytes) -> tuple[Proposal, ...]:
    content = decode(AuthenticatedContent, signed).content.content
    if not isinstance(content, Commit):
        raise ProfileError("commit")
    return tuple(item for item in content.proposals if not isinstance(item, ProposalRef))
