"""The frames between client and relay, one class each (docs/protocol/relay.md).

A frame is a MessagePack map whose key `t` names its class. A *request* carries `rid`, chosen by the
client and unique among its open requests; the relay answers it once, with `Done`, a frame of its own
class, or `Refused` with the same `rid`. A *push* comes without being asked and has no `rid`.

Sizes are bounds on what is accepted. Times are milliseconds since 1970 by the relay's clock.
"""

from . import (
    accounts,
    answers,
    audit,
    blobs,
    enrolment,
    establishments,
    groups,
    key_packages,
    linking,
    partners,
    repair,
    sign_in,
    succession,
)
from .accounts import (
    RECOVERY_CODES,
    Account,
    BeginSecondFactor,
    CloseAccount,
    ConfirmSecondFactor,
    Devices,
    DeviceState,
    GetAccount,
    GetDevices,
    OpenAccount,
    RecoveryCodes,
    RenewRecoveryCodes,
    ResetCredentials,
    SecondFactor,
    SetPassword,
    StepUp,
)
from .answers import Done, Refused
from .audit import Consistency, GetConsistency, GetHead, GetInclusion, Head, Inclusion, RowProof
from .blobs import BlobPart, GetBlob, GetUpload, PutBlob, Upload
from .enrolment import (
    AnswerEnrolment,
    EnrolmentAnswer,
    Enrolments,
    EnrolmentWaiting,
    FetchEnrolment,
    ListEnrolments,
    PublishCertificate,
    RequestEnrolment,
)
from .establishments import (
    Directory,
    DirectoryChanged,
    Establishment,
    GetDirectory,
    GetEstablishment,
    GetRevocations,
    PublishRevocations,
    RegisterEstablishment,
    Revocations,
    RevocationsChanged,
)
from .groups import (
    Accepted,
    Acknowledge,
    AcknowledgeWelcome,
    AskReturn,
    CommitReports,
    CreateGroup,
    Fetch,
    GetCommitReports,
    GetGroups,
    GroupRefounded,
    Groups,
    GroupState,
    LeaveGroup,
    ReportCommit,
    Row,
    Rows,
    Send,
    WelcomeWaiting,
)
from .key_packages import ClaimKeyPackages, KeyPackages, PublishKeyPackages
from .linking import (
    AnswerLinking,
    FetchLinking,
    GetLinking,
    Linking,
    LinkingAnswer,
    RequestLinking,
)
from .partners import GetPartners, Partner, Partners, PartnersChanged, PublishPartner
from .repair import BringDevices, BringRows, BringWelcome, BroughtAll, BroughtRow, LogHeld
from .sign_in import ConfirmToken, Hello, SignedIn, SignIn, Welcomed
from .succession import (
    LIST_PART,
    AskRefusal,
    AuthorityChanges,
    GetAuthorityChanges,
    GetListPart,
    GetStatements,
    ListPart,
    NumberedStatement,
    PublishAuthorityChange,
    RefusalTold,
    Statements,
    StatementsChanged,
)
from .values import (
    BLOB_PART,
    MAX_FRAME,
    MAX_INLINE,
    PROTOCOL_VERSIONS,
    WINDOW,
    Acknowledgement,
    BlobRef,
    Certificate,
    Chain,
    ClaimedKeyPackage,
    CommitReport,
    Frame,
    GroupId,
    Id16,
    Id32,
    Inline,
    Number,
    Origin,
    Payload,
    PendingEnrolment,
    Position,
    Request,
    Rid,
    Short,
    Signature,
    Time,
)

ClientFrame = (
    sign_in.FromClient
    | establishments.FromClient
    | succession.FromClient
    | enrolment.FromClient
    | key_packages.FromClient
    | groups.FromClient
    | blobs.FromClient
    | audit.FromClient
    | partners.FromClient
    | accounts.FromClient
    | linking.FromClient
    | repair.FromClient
)
RelayFrame = (
    sign_in.FromRelay
    | establishments.FromRelay
    | succession.FromRelay
    | enrolment.FromRelay
    | key_packages.FromRelay
    | groups.FromRelay
    | blobs.FromRelay
    | audit.FromRelay
    | partners.FromRelay
    | accounts.FromRelay
    | linking.FromRelay
    | repair.FromRelay
    | answers.FromRelay
)

__all__ = [
    "Accepted",
    "Account",
    "Acknowledge",
    "AcknowledgeWelcome",
    "Acknowledgement",
    "AnswerEnrolment",
    "AnswerLinking",
    "AskRefusal",
    "AskReturn",
    "AuthorityChanges",
    "BLOB_PART",
    "BeginSecondFactor",
    "BlobPart",
    "BlobRef",
    "BringDevices",
    "BringRows",
    "BringWelcome",
    "BroughtAll",
    "BroughtRow",
    "Certificate",
    "Chain",
    "ClaimKeyPackages",
    "ClaimedKeyPackage",
    "ClientFrame",
    "CloseAccount",
    "CommitReport",
    "CommitReports",
    "ConfirmSecondFactor",
    "ConfirmToken",
    "Consistency",
    "CreateGroup",
    "DeviceState",
    "Devices",
    "Directory",
    "DirectoryChanged",
    "Done",
    "EnrolmentAnswer",
    "EnrolmentWaiting",
    "Enrolments",
    "Establishment",
    "Fetch",
    "FetchEnrolment",
    "FetchLinking",
    "Frame",
    "GetAccount",
    "GetAuthorityChanges",
    "GetBlob",
    "GetCommitReports",
    "GetConsistency",
    "GetDevices",
    "GetDirectory",
    "GetEstablishment",
    "GetGroups",
    "GetHead",
    "GetInclusion",
    "GetLinking",
    "GetListPart",
    "GetPartners",
    "GetRevocations",
    "GetStatements",
    "GetUpload",
    "GroupId",
    "GroupRefounded",
    "GroupState",
    "Groups",
    "Head",
    "Hello",
    "Id16",
    "Id32",
    "Inclusion",
    "Inline",
    "KeyPackages",
    "LIST_PART",
    "LeaveGroup",
    "Linking",
    "LinkingAnswer",
    "ListEnrolments",
    "ListPart",
    "LogHeld",
    "MAX_FRAME",
    "MAX_INLINE",
    "Number",
    "NumberedStatement",
    "OpenAccount",
    "Origin",
    "PROTOCOL_VERSIONS",
    "Partner",
    "Partners",
    "PartnersChanged",
    "Payload",
    "PendingEnrolment",
    "Position",
    "PublishAuthorityChange",
    "PublishCertificate",
    "PublishKeyPackages",
    "PublishPartner",
    "PublishRevocations",
    "PutBlob",
    "RECOVERY_CODES",
    "RecoveryCodes",
    "RefusalTold",
    "Refused",
    "RegisterEstablishment",
    "RelayFrame",
    "RenewRecoveryCodes",
    "ReportCommit",
    "Request",
    "RequestEnrolment",
    "RequestLinking",
    "ResetCredentials",
    "Revocations",
    "RevocationsChanged",
    "Rid",
    "Row",
    "RowProof",
    "Rows",
    "SecondFactor",
    "Send",
    "SetPassword",
    "Short",
    "SignIn",
    "Signature",
    "SignedIn",
    "Statements",
    "StatementsChanged",
    "StepUp",
    "Time",
    "Upload",
    "WINDOW",
    "WelcomeWaiting",
    "Welcomed",
]
