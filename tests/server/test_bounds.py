"""For every request: what bounds what it makes grow. A new one must say so here."""

import msgspec
import pytest

from pli_protocol.relay import frames as f
from pli_server.handlers import HANDLERS
from pli_server.settings import Accounts, Limits

READS = "reads only"
OWN = "changes what is there: one value per account, device or group"
ISSUER = (
    "an issuer's own: it says who belongs to its establishment, which its host let in by a code"
)

BOUNDS: dict[type, str | tuple[str, ...]] = {
    f.Hello: ("unsigned_requests", "unsigned_per_address"),
    f.SignIn: ("devices_per_account", "accounts_per_establishment"),
    f.ConfirmToken: OWN,
    f.RegisterEstablishment: "a one-time code of the host's",
    f.GetEstablishment: READS,
    f.RequestEnrolment: ("enrolments_waiting", "enrolments_per_address", "enrolment_bytes"),
    f.FetchEnrolment: READS,
    f.ListEnrolments: READS,
    f.AnswerEnrolment: ("enrolments_answered", "accounts_per_establishment"),
    f.PublishCertificate: OWN,
    f.PublishRevocations: ("own_revocations", "blob_bytes_per_account"),
    f.GetRevocations: READS,
    f.GetDirectory: READS,
    f.PublishPartner: ("partners_per_establishment",),
    f.GetPartners: READS,
    f.PublishAuthorityChange: "eight in an establishment's life (`MAX_CHANGES`)",
    f.GetAuthorityChanges: READS,
    f.GetStatements: READS,
    f.AskRefusal: READS,
    f.GetListPart: READS,
    f.PublishKeyPackages: ("key_packages_per_device",),
    f.ClaimKeyPackages: ("claims_per_hour", "claims_per_target_hour"),
    f.CreateGroup: ("groups_per_account", "messages_per_day", "welcomes_waiting"),
    f.Send: (
        *("messages_per_day", "message_bytes_per_day", "bytes_per_establishment"),
        *("members_per_group", "handshake_bytes", "welcomes_waiting"),
    ),
    f.Fetch: READS,
    f.Acknowledge: OWN,
    f.AcknowledgeWelcome: OWN,
    f.ReportCommit: "one per device and commit, of which there are `messages_per_day`",
    f.GetCommitReports: READS,
    f.AskReturn: ("returns_per_day", "messages_per_day"),
    f.LeaveGroup: OWN,
    f.GetGroups: READS,
    f.BringDevices: ("devices_per_account", "accounts_per_establishment"),
    f.BringRows: ("messages_per_day", "bytes_per_establishment"),
    f.BringWelcome: ("welcomes_waiting", "message_bytes_per_day"),
    f.BroughtAll: OWN,
    f.PutBlob: (
        *("blob_bytes", "blob_bytes_per_account", "open_uploads_per_account"),
        "bytes_per_establishment",
    ),
    f.GetUpload: READS,
    f.GetBlob: READS,
    f.RequestLinking: ("linkings_per_day",),
    f.FetchLinking: READS,
    f.GetLinking: READS,
    f.AnswerLinking: ("devices_per_account",),
    f.OpenAccount: ("attempts", "attempts_kept", "password_checks_waiting"),
    f.StepUp: ("attempts", "password_checks_waiting"),
    f.SetPassword: ("password_checks_waiting",),
    f.BeginSecondFactor: OWN,
    f.ConfirmSecondFactor: ("attempts",),
    f.RenewRecoveryCodes: OWN,
    f.GetAccount: READS,
    f.ResetCredentials: ISSUER,
    f.GetDevices: READS,
    f.CloseAccount: OWN,
    f.GetHead: READS,
    f.GetConsistency: READS,
    f.GetInclusion: READS,
}

NAMES = {field.name for section in (Limits, Accounts) for field in msgspec.structs.fields(section)}


@pytest.mark.parametrize("frame", HANDLERS, ids=lambda frame: frame.__name__)
def test_every_request_has_its_bound(frame: type) -> None:
    bound = BOUNDS[frame]
    if isinstance(bound, tuple):
        assert set(bound) <= NAMES


def test_nothing_is_named_that_is_gone() -> None:
    assert set(BOUNDS) <= set(HANDLERS)
