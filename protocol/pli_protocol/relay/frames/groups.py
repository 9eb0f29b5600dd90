"""Groups and their logs."""

from typing import Annotated

from msgspec import Meta, Struct

from .values import (
    WINDOW,
    Acknowledgement,
    CommitReport,
    Frame,
    GroupId,
    Id16,
    Id32,
    Inline,
    Number,
    Origin,
    Payload,
    Position,
    Request,
    Rid,
    Short,
    Time,
)


class CreateGroup(Request, frozen=True):
    """Open a group's log with its first commit (epoch 0 to 1) as seq 1, atomically.

    `predecessor`: the group that this one re-founds; the relay takes one successor per predecessor,
    from a device on the predecessor's roster, with nobody on the new roster whose account was not on
    the old one. The commit's AAD (roster.RosterChange) names the first roster besides the creator.
    """

    group: GroupId
    send_id: Id16
    commit: Payload
    welcome: Payload | None = None
    predecessor: GroupId | None = None


class Send(Request, frozen=True):
    """Append an MLSMessage (PrivateMessage) to its group's log.

    Group, epoch and content type are read from the message. `send_id` makes it idempotent: sending
    again gives the same answer. `previous` is the device's send before it in this group, None for the
    first since it joined. `welcome` goes with a commit that adds devices.
    """

    send_id: Id16
    previous: Id16 | None
    message: Payload
    welcome: Payload | None = None


class Accepted(Frame, frozen=True):
    """The row is on disk. `chain` is the log's hash chain at this row (log.chain_hash)."""

    rid: Rid
    position: Position
    chain: Id32
    time: Time


class Row(Frame, frozen=True):
    """Push, or inside Rows: one row of a group's log."""

    group: GroupId
    position: Position
    epoch: Number
    kind: Short
    """application, proposal, commit (from the MLS content type), or return (a ReturnRequest)."""
    sender: Id16
    send_id: Id16
    time: Time
    message: Payload
    chain: Id32
    first: Origin | None = None
    """Of a row that was brought to a restored relay."""


class Fetch(Request, frozen=True):
    """Rows of a group after a seq, oldest first; at most a frame full."""

    group: GroupId
    after: Number
    limit: Annotated[int, Meta(ge=1, le=WINDOW)] = WINDOW


class Rows(Frame, frozen=True):
    rid: Rid
    rows: tuple[Row, ...]
    last: Number
    """The newest seq of the log."""


class Acknowledge(Frame, frozen=True):
    """Not answered. Rows up to these positions are durable on this device."""

    groups: Annotated[tuple[Acknowledgement, ...], Meta(min_length=1, max_length=WINDOW)]


class WelcomeWaiting(Frame, frozen=True):
    """Push: this device was added to a group. Acknowledged by AcknowledgeWelcome.

    Rows of the group after `position` follow; `chain` is the log's chain at `position`.
    """

    item: Id16
    group: GroupId
    welcome: Payload
    position: Position
    chain: Id32
    sender: Id16
    time: Time
    predecessor: GroupId | None = None
    first: Origin | None = None
    """Where the commit stood first, when it was brought to a restored relay."""


class AcknowledgeWelcome(Frame, frozen=True):
    """Not answered. The Welcome was used (or found useless) and may go."""

    item: Id16


class ReportCommit(Frame, frozen=True):
    """Not answered. What this device did with the commit at `seq`."""

    group: GroupId
    seq: Number
    applied: bool
    reason: Short = ""


class GetCommitReports(Request, frozen=True):
    group: GroupId
    seq: Number


class CommitReports(Frame, frozen=True):
    rid: Rid
    reports: tuple[CommitReport, ...]


class AskReturn(Request, frozen=True):
    """This device lost its state: append its signed ReturnRequest to the log (kind `return`).

    Answered by Accepted. Allowed to any device whose account is on the roster.
    """

    group: GroupId
    send_id: Id16
    request: Inline


class LeaveGroup(Request, frozen=True):
    """The person leaves: no more deliveries to any of its devices. Carries the signed statement."""

    group: GroupId
    statement: Inline


class GetGroups(Request, frozen=True):
    """The groups on whose roster this device's account is (to come back after loss of state)."""


class GroupState(Struct, frozen=True, forbid_unknown_fields=True):
    group: GroupId
    epoch: Number
    last: Number
    member: bool
    """This very device is on the roster (not only another of the account)."""
    successor: GroupId | None = None


class Groups(Frame, frozen=True):
    rid: Rid
    groups: tuple[GroupState, ...]


class GroupRefounded(Frame, frozen=True):
    """Push: the group was re-founded as `successor`; nothing more is accepted in it."""

    group: GroupId
    successor: GroupId


FromClient = (
    CreateGroup
    | Send
    | Fetch
    | Acknowledge
    | AcknowledgeWelcome
    | ReportCommit
    | GetCommitReports
    | AskReturn
    | LeaveGroup
    | GetGroups
)
FromRelay = Accepted | Row | Rows | WelcomeWaiting | CommitReports | Groups | GroupRefounded
