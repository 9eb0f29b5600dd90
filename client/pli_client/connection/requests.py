"""Asking the relay: which frame answers which request, known to the type checker."""

from abc import ABC, abstractmethod
from typing import Final, overload

from pli_protocol.relay import frames
from pli_protocol.relay.frames import (
    Accepted,
    Account,
    Acknowledge,
    AcknowledgeWelcome,
    AnswerEnrolment,
    AnswerLinking,
    AskRefusal,
    AskReturn,
    AuthorityChanges,
    BeginSecondFactor,
    BlobPart,
    BringDevices,
    BringRows,
    BringWelcome,
    BroughtAll,
    ClaimKeyPackages,
    CloseAccount,
    CommitReports,
    ConfirmSecondFactor,
    ConfirmToken,
    Consistency,
    CreateGroup,
    Devices,
    Directory,
    Done,
    EnrolmentAnswer,
    Enrolments,
    Establishment,
    Fetch,
    FetchEnrolment,
    FetchLinking,
    GetAccount,
    GetAuthorityChanges,
    GetBlob,
    GetCommitReports,
    GetConsistency,
    GetDevices,
    GetDirectory,
    GetEstablishment,
    GetGroups,
    GetHead,
    GetInclusion,
    GetLinking,
    GetListPart,
    GetPartners,
    GetRevocations,
    GetStatements,
    GetUpload,
    Groups,
    Head,
    Inclusion,
    KeyPackages,
    LeaveGroup,
    Linking,
    LinkingAnswer,
    ListEnrolments,
    ListPart,
    LogHeld,
    OpenAccount,
    Partners,
    PublishAuthorityChange,
    PublishCertificate,
    PublishKeyPackages,
    PublishPartner,
    PublishRevocations,
    PutBlob,
    RecoveryCodes,
    RefusalTold,
    RegisterEstablishment,
    RelayFrame,
    RenewRecoveryCodes,
    ReportCommit,
    RequestEnrolment,
    RequestLinking,
    ResetCredentials,
    Revocations,
    Rows,
    SecondFactor,
    Send,
    SetPassword,
    SignedIn,
    SignIn,
    Statements,
    StepUp,
    Upload,
)

PATIENCE: Final = 30.0
"""Seconds to wait for an answer, unless told otherwise."""

ANSWERS: Final[dict[type[frames.Request], type[RelayFrame]]] = {
    AskRefusal: RefusalTold,
    AskReturn: Accepted,
    BringRows: LogHeld,
    BeginSecondFactor: SecondFactor,
    ClaimKeyPackages: KeyPackages,
    ConfirmSecondFactor: RecoveryCodes,
    CreateGroup: Accepted,
    Fetch: Rows,
    FetchEnrolment: EnrolmentAnswer,
    FetchLinking: LinkingAnswer,
    GetAccount: Account,
    GetBlob: BlobPart,
    GetCommitReports: CommitReports,
    GetDevices: Devices,
    GetConsistency: Consistency,
    GetDirectory: Directory,
    GetEstablishment: Establishment,
    GetGroups: Groups,
    GetHead: Head,
    GetInclusion: Inclusion,
    GetLinking: Linking,
    GetPartners: Partners,
    GetAuthorityChanges: AuthorityChanges,
    GetListPart: ListPart,
    GetRevocations: Revocations,
    GetUpload: Upload,
    GetStatements: Statements,
    ListEnrolments: Enrolments,
    RenewRecoveryCodes: RecoveryCodes,
    Send: Accepted,
    SignIn: SignedIn,
}
"""The class of the answer to each class of request; Done where none is named."""

Unanswered = Acknowledge | AcknowledgeWelcome | ReportCommit
"""Frames that the relay does not answer."""

Plain = (
    ConfirmToken
    | RegisterEstablishment
    | RequestEnrolment
    | AnswerEnrolment
    | PublishCertificate
    | PublishAuthorityChange
    | PublishRevocations
    | PublishKeyPackages
    | PublishPartner
    | LeaveGroup
    | PutBlob
    | BringDevices
    | BringWelcome
    | BroughtAll
    | OpenAccount
    | RequestLinking
    | AnswerLinking
    | StepUp
    | SetPassword
    | ResetCredentials
    | CloseAccount
)
"""Requests that are answered by Done."""


class Requests(ABC):
    """What can be asked of a relay. `rid` in a request is filled in; give 0."""

    @overload
    async def request(self, frame: SignIn, *, timeout: float = ...) -> SignedIn: ...
    @overload
    async def request(self, frame: GetEstablishment, *, timeout: float = ...) -> Establishment: ...
    @overload
    async def request(self, frame: FetchEnrolment, *, timeout: float = ...) -> EnrolmentAnswer: ...
    @overload
    async def request(self, frame: ListEnrolments, *, timeout: float = ...) -> Enrolments: ...
    @overload
    async def request(self, frame: GetRevocations, *, timeout: float = ...) -> Revocations: ...
    @overload
    async def request(self, frame: GetStatements, *, timeout: float = ...) -> Statements: ...
    @overload
    async def request(self, frame: AskRefusal, *, timeout: float = ...) -> RefusalTold: ...
    @overload
    async def request(
        self, frame: GetAuthorityChanges, *, timeout: float = ...
    ) -> AuthorityChanges: ...
    @overload
    async def request(self, frame: GetListPart, *, timeout: float = ...) -> ListPart: ...
    @overload
    async def request(self, frame: GetDirectory, *, timeout: float = ...) -> Directory: ...
    @overload
    async def request(self, frame: ClaimKeyPackages, *, timeout: float = ...) -> KeyPackages: ...
    @overload
    async def request(
        self, frame: CreateGroup | Send | AskReturn, *, timeout: float = ...
    ) -> Accepted: ...
    @overload
    async def request(self, frame: Fetch, *, timeout: float = ...) -> Rows: ...
    @overload
    async def request(self, frame: GetCommitReports, *, timeout: float = ...) -> CommitReports: ...
    @overload
    async def request(self, frame: GetGroups, *, timeout: float = ...) -> Groups: ...
    @overload
    async def request(self, frame: GetHead, *, timeout: float = ...) -> Head: ...
    @overload
    async def request(self, frame: GetConsistency, *, timeout: float = ...) -> Consistency: ...
    @overload
    async def request(self, frame: GetInclusion, *, timeout: float = ...) -> Inclusion: ...
    @overload
    async def request(self, frame: GetPartners, *, timeout: float = ...) -> Partners: ...
    @overload
    async def request(self, frame: GetUpload, *, timeout: float = ...) -> Upload: ...
    @overload
    async def request(self, frame: GetBlob, *, timeout: float = ...) -> BlobPart: ...
    @overload
    async def request(self, frame: BeginSecondFactor, *, timeout: float = ...) -> SecondFactor: ...
    @overload
    async def request(
        self, frame: ConfirmSecondFactor | RenewRecoveryCodes, *, timeout: float = ...
    ) -> RecoveryCodes: ...
    @overload
    async def request(self, frame: GetAccount, *, timeout: float = ...) -> Account: ...
    @overload
    async def request(self, frame: FetchLinking, *, timeout: float = ...) -> LinkingAnswer: ...
    @overload
    async def request(self, frame: GetLinking, *, timeout: float = ...) -> Linking: ...
    @overload
    async def request(self, frame: GetDevices, *, timeout: float = ...) -> Devices: ...
    @overload
    async def request(self, frame: BringRows, *, timeout: float = ...) -> LogHeld: ...
    @overload
    async def request(self, frame: Plain, *, timeout: float = ...) -> Done: ...

    async def request(self, frame: frames.Request, *, timeout: float = PATIENCE) -> RelayFrame:
        """Ask, and wait for the answer. May be cancelled: the answer is then dropped when it comes.

        Raises:
            RelayRefused: the relay said no.
            RequestTimedOut: no answer within `timeout` seconds; it may have been done.
            Offline: not connected, or no longer; in the second case it may have been done.
            RelayError: what stopped the connection for good.
        """
        return await self._ask(frame, timeout)

    @abstractmethod
    async def _ask(self, frame: frames.Request, timeout: float) -> RelayFrame: ...

    @abstractmethod
    async def send(self, frame: Unanswered) -> None:
        """Send a frame that is not answered. Raises Offline; a lost one is not noticed."""
