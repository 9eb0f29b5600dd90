"""The frames between client and relay, one class each (docs/protocol/relay.md).

A frame is a MessagePack map whose key `t` names its class. A *request* carries `rid`, chosen by the
client and unique among its open requests; the relay answers it once, with `Done`, a frame of its own
class, or `Refused` with the same `rid`. A *push* comes without being asked and has no `rid`.

Sizes are bounds on what is accepted. Times are milliseconds since 1970 by the relay's clock.
"""

from typing import Annotated

from msgspec import Meta, Struct

PROTOCOL_VERSIONS = (1,)
"""The versions of this protocol that this code speaks, newest first."""

MAX_FRAME = 64 * 1024
"""Bytes of the largest frame."""

MAX_INLINE = 48 * 1024
"""Bytes of the largest payload inside a frame; a larger commit or Welcome goes up as a blob first."""

BLOB_PART = 48 * 1024
"""Bytes of the largest part of a blob in one frame."""

WINDOW = 256
"""Rows per device that the relay pushes ahead of the device's acknowledgements."""

Id16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Id32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
GroupId = Annotated[bytes, Meta(min_length=16, max_length=64)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Certificate = Annotated[bytes, Meta(min_length=1, max_length=4096)]
Number = Annotated[int, Meta(ge=0, lt=2**53)]
Time = Annotated[int, Meta(ge=0, lt=2**43)]
"""Milliseconds since 1970, up to the year 2248: every calendar can show it."""
Rid = Annotated[int, Meta(ge=0, lt=2**32)]
Inline = Annotated[bytes, Meta(min_length=1, max_length=MAX_INLINE)]
Short = Annotated[str, Meta(max_length=256)]
Chain = Annotated[tuple[Certificate, ...], Meta(min_length=1, max_length=3)]


class Frame(Struct, frozen=True, forbid_unknown_fields=True, tag_field="t", omit_defaults=True):
    """A frame; its tag on the wire is the class's name."""


class Request(Frame, frozen=True):
    """A frame that the relay answers once."""

    rid: Rid


# --- values inside frames ---------------------------------------------------------------------


class BlobRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A payload that was uploaded as a blob, since it is larger than MAX_INLINE."""

    blob: Id32
    size: Number
    sha256: Id32


Payload = Inline | BlobRef


class Position(Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """A place in a group's log. A relay restored from a backup begins a new timeline."""

    timeline: Number
    seq: Number


class ClaimedKeyPackage(Struct, frozen=True, forbid_unknown_fields=True):
    """A key package handed to the claimant and to nobody else (unless it is a last resort)."""

    account: Id16
    device: Id16
    key_package: Inline
    last_resort: bool = False


class PendingEnrolment(Struct, frozen=True, forbid_unknown_fields=True):
    """A request to be enrolled, sealed to the establishment's issuer."""

    request_id: Id16
    sealed: Inline


class CommitReport(Struct, frozen=True, forbid_unknown_fields=True):
    """What one device said of one commit: applied, or refused for a reason."""

    device: Id16
    applied: bool
    reason: Short = ""


class Acknowledgement(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything of this group up to this seq is durable on the device."""

    group: GroupId
    seq: Number


# --- greeting and sign-in ---------------------------------------------------------------------


class Hello(Frame, frozen=True):
    """Client's first frame: the versions it speaks."""

    versions: Annotated[tuple[Number, ...], Meta(min_length=1, max_length=16)]
    software: Short = ""


class Welcomed(Frame, frozen=True):
    """Relay's first frame: the version chosen, its name, a challenge of 32 random bytes."""

    version: Number
    relay: Short
    challenge: Id32
    time: Time


class SignIn(Request, frozen=True):
    """Prove a device (chain: device, person, issuer) or an issuer (chain: issuer).

    The signature covers `sign_in_challenge(relay, challenge, token)`. `token` is the one kept from
    the last sign-in; None at the first.
    """

    chain: Chain
    signature: Signature
    token: Id16 | None = None

    def __repr__(self) -> str:
        return f"SignIn(rid={self.rid}, …)"


class SignedIn(Frame, frozen=True):
    """Signed in. Store `token` durably, then send ConfirmToken with it; both are valid until then."""

    rid: Rid
    token: Id16
    timeline: Number
    revocations: Number
    """Number of the newest revocation list that the relay holds for the establishment; 0 if none."""
    key_packages: Number
    """Key packages left for this device, without the last-resort one."""
    first: bool = False
    """The relay had never seen this device before."""

    def __repr__(self) -> str:
        return f"SignedIn(rid={self.rid}, timeline={self.timeline}, …)"


class ConfirmToken(Request, frozen=True):
    """The new token is durable: the old one may die."""

    token: Id16

    def __repr__(self) -> str:
        return f"ConfirmToken(rid={self.rid}, …)"


# --- establishments and enrolment -------------------------------------------------------------


class RegisterEstablishment(Request, frozen=True):
    """Open an establishment on this relay with a one-time code given by the host.

    `signature` is the issuer's over `registration_challenge(relay, challenge, code)`.
    """

    code: Short
    authority: Certificate
    issuer: Certificate
    enrolment_key: Inline
    """The statement that names the issuer's HPKE key (identity.statements)."""
    signature: Signature


class GetEstablishment(Request, frozen=True):
    """Ask for an establishment's certificates by the authority's fingerprint (first 16 bytes)."""

    establishment: Id16


class Establishment(Frame, frozen=True):
    """What is public of an establishment. The client checks all of it by the fingerprint."""

    rid: Rid
    authority: Certificate
    issuers: Annotated[tuple[Certificate, ...], Meta(max_length=8)]
    enrolment_keys: Annotated[tuple[Inline, ...], Meta(max_length=8)]
    revocations: Payload | None = None


class RequestEnrolment(Request, frozen=True):
    """Leave a request, sealed to the issuer, under a random id. Needs no sign-in."""

    establishment: Id16
    request_id: Id16
    sealed: Inline


class FetchEnrolment(Request, frozen=True):
    """Ask for the issuer's answer; it is also pushed on the connection that asked last."""

    request_id: Id16


class EnrolmentAnswer(Frame, frozen=True):
    """Answer to FetchEnrolment, or a push with rid None: the sealed answer; None: not yet."""

    request_id: Id16
    sealed: Inline | None = None
    rid: Rid | None = None


class ListEnrolments(Request, frozen=True):
    """Issuer: which requests wait? New ones are pushed as EnrolmentWaiting from now on.

    `after` is the last request of the answer before: what an issuer leaves unanswered (a request
    for another issuer) must not hide what waits behind it.
    """

    after: Id16 | None = None


class Enrolments(Frame, frozen=True):
    rid: Rid
    waiting: tuple[PendingEnrolment, ...]


class EnrolmentWaiting(Frame, frozen=True):
    """Push to the issuer."""

    enrolment: PendingEnrolment


class AnswerEnrolment(Request, frozen=True):
    """Issuer: the sealed answer, and the person's certificate when one was signed."""

    request_id: Id16
    sealed: Inline
    person: Certificate | None = None


class PublishRevocations(Request, frozen=True):
    """Issuer, or a device for a statement about its own person: the newest list or the statement."""

    statement: Payload


class GetRevocations(Request, frozen=True):
    establishment: Id16


class Revocations(Frame, frozen=True):
    rid: Rid
    statement: Payload | None = None


class RevocationsChanged(Frame, frozen=True):
    """Push: a newer revocation list than the one you were told of."""

    establishment: Id16
    number: Number


class GetDirectory(Request, frozen=True):
    """The people of one's own establishment, in pages."""

    after: Id16 | None = None


class Directory(Frame, frozen=True):
    """Chains (person, issuer), at most a frame full, ordered by account; `after` asks for the rest."""

    rid: Rid
    people: tuple[Chain, ...]
    after: Id16 | None = None


# --- key packages -----------------------------------------------------------------------------


class PublishKeyPackages(Request, frozen=True):
    """Add key packages for this device; `last_resort` replaces the one held.

    `replace`: those that nobody claimed yet go, the last resort too: they are of a cipher suite that
    this device offers no more.
    """

    key_packages: Annotated[tuple[Inline, ...], Meta(max_length=32)]
    last_resort: Inline | None = None
    replace: bool = False


class ClaimKeyPackages(Request, frozen=True):
    """One key package of every active device of these accounts, each handed out once."""

    accounts: Annotated[tuple[Id16, ...], Meta(min_length=1, max_length=64)]


class KeyPackages(Frame, frozen=True):
    rid: Rid
    claimed: tuple[ClaimedKeyPackage, ...]


# --- groups and their logs --------------------------------------------------------------------


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


# --- blobs ------------------------------------------------------------------------------------


class PutBlob(Request, frozen=True):
    """One part of a blob. Its id is a capability: 32 random bytes, known to those who were told it.

    Parts come in order from offset 0; a part that is held already is answered Done again.
    """

    blob: Id32
    offset: Number
    size: Number
    """Bytes of the whole blob."""
    data: Annotated[bytes, Meta(min_length=1, max_length=BLOB_PART)]


class GetBlob(Request, frozen=True):
    blob: Id32
    offset: Number


class BlobPart(Frame, frozen=True):
    rid: Rid
    size: Number
    data: Annotated[bytes, Meta(max_length=BLOB_PART)]


# --- answers ----------------------------------------------------------------------------------


class Done(Frame, frozen=True):
    """It was done, and is on disk where it matters."""

    rid: Rid


class Refused(Frame, frozen=True):
    """A request was refused, or (rid None) the connection is about to be closed.

    `code` is one of errors.CODES; `detail` is generic text for strangers; `epoch` is the group's
    current epoch with `stale-epoch`; `retry_after` milliseconds with `try-later`.
    """

    code: Short
    rid: Rid | None = None
    detail: Short = ""
    epoch: Number | None = None
    retry_after: Number | None = None


ClientFrame = (
    Hello
    | SignIn
    | ConfirmToken
    | RegisterEstablishment
    | GetEstablishment
    | RequestEnrolment
    | FetchEnrolment
    | ListEnrolments
    | AnswerEnrolment
    | PublishRevocations
    | GetRevocations
    | GetDirectory
    | PublishKeyPackages
    | ClaimKeyPackages
    | CreateGroup
    | Send
    | Fetch
    | Acknowledge
    | AcknowledgeWelcome
    | ReportCommit
    | GetCommitReports
    | AskReturn
    | LeaveGroup
    | GetGroups
    | PutBlob
    | GetBlob
)

RelayFrame = (
    Welcomed
    | SignedIn
    | Establishment
    | EnrolmentAnswer
    | Enrolments
    | EnrolmentWaiting
    | Revocations
    | RevocationsChanged
    | Directory
    | KeyPackages
    | Accepted
    | Row
    | Rows
    | WelcomeWaiting
    | CommitReports
    | Groups
    | GroupRefounded
    | BlobPart
    | Done
    | Refused
)
