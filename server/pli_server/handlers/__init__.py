"""What the relay does for each frame: a table of frame class, who may send it, and the function.

A handler checks authorisation first, then works. It returns the answer, or None when the answer comes
later or there is none; it raises Refusal. It may be a coroutine function: then the connection's next
frame waits for it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from pli_protocol.relay import frames as f

from ..relay import Relay
from ..session import ACCOUNT, DEVICE, GREETED, GREETING, ISSUER, Session
from . import (
    accounts,
    audit,
    authorities,
    blobs,
    closing,
    enrolment,
    establishments,
    groups,
    key_packages,
    linking,
    partners,
    reading,
    repair,
    sending,
    signing_in,
    succession,
)

Answer = f.RelayFrame | None


class Handler(NamedTuple):
    """Who may send a frame, and what answers it."""

    states: frozenset[str]
    function: Callable[[Relay, Session, Any], Answer | Awaitable[Answer]]


_ANYBODY = frozenset({GREETED, DEVICE, ISSUER})
_SIGNED = frozenset({DEVICE, ISSUER})
_DEVICE = frozenset({DEVICE})
_ISSUER = frozenset({ISSUER})
_ACCOUNT = frozenset({ACCOUNT})

HANDLERS: Final[dict[type, Handler]] = {
    f.Hello: Handler(frozenset({GREETING}), signing_in.hello),
    f.SignIn: Handler(frozenset({GREETED}), signing_in.sign_in),
    f.ConfirmToken: Handler(_SIGNED, signing_in.confirm_token),
    f.RegisterEstablishment: Handler(frozenset({GREETED}), establishments.register),
    f.GetEstablishment: Handler(_ANYBODY, establishments.get_establishment),
    f.RequestEnrolment: Handler(frozenset({GREETED}), enrolment.request_enrolment),
    f.FetchEnrolment: Handler(frozenset({GREETED}), enrolment.fetch_enrolment),
    f.ListEnrolments: Handler(_ISSUER, enrolment.list_enrolments),
    f.AnswerEnrolment: Handler(_ISSUER, enrolment.answer_enrolment),
    f.PublishCertificate: Handler(_ISSUER, enrolment.publish_certificate),
    f.PublishRevocations: Handler(_SIGNED, establishments.publish_revocations),
    f.GetRevocations: Handler(_SIGNED, establishments.get_revocations),
    f.GetDirectory: Handler(_SIGNED, establishments.get_directory),
    f.PublishPartner: Handler(_ISSUER, partners.publish),
    f.GetPartners: Handler(_SIGNED, partners.get_partners),
    f.PublishAuthorityChange: Handler(_ISSUER, authorities.publish_authority_change),
    f.GetAuthorityChanges: Handler(_ANYBODY, authorities.get_authority_changes),
    f.GetStatements: Handler(_SIGNED, succession.get_statements),
    f.AskRefusal: Handler(frozenset({GREETED}), succession.ask_refusal),
    f.GetListPart: Handler(frozenset({GREETED}), succession.get_list_part),
    f.PublishKeyPackages: Handler(_DEVICE, key_packages.publish),
    f.ClaimKeyPackages: Handler(_DEVICE, key_packages.claim),
    f.CreateGroup: Handler(_DEVICE, sending.create_group),
    f.Send: Handler(_DEVICE, sending.send),
    f.Fetch: Handler(_DEVICE, reading.fetch),
    f.Acknowledge: Handler(_DEVICE, reading.acknowledge),
    f.AcknowledgeWelcome: Handler(_DEVICE, reading.acknowledge_welcome),
    f.ReportCommit: Handler(_DEVICE, reading.report_commit),
    f.GetCommitReports: Handler(_DEVICE, reading.get_commit_reports),
    f.AskReturn: Handler(_DEVICE, sending.ask_return),
    f.LeaveGroup: Handler(_DEVICE, groups.leave_group),
    f.GetGroups: Handler(_DEVICE, groups.get_groups),
    f.BringDevices: Handler(_DEVICE, repair.bring_devices),
    f.BringRows: Handler(_DEVICE, repair.bring_rows),
    f.BringWelcome: Handler(_DEVICE, repair.bring_welcome_of),
    f.BroughtAll: Handler(_DEVICE, repair.brought_all),
    f.PutBlob: Handler(_SIGNED, blobs.put_blob),
    f.GetUpload: Handler(_SIGNED, blobs.get_upload),
    f.GetBlob: Handler(_SIGNED, blobs.get_blob),
    f.RequestLinking: Handler(_ACCOUNT, linking.request_linking),
    f.FetchLinking: Handler(_ACCOUNT, linking.fetch_linking),
    f.GetLinking: Handler(_DEVICE, linking.get_linking),
    f.AnswerLinking: Handler(_DEVICE, linking.answer_linking),
    f.OpenAccount: Handler(frozenset({GREETED}), accounts.open_account),
    f.StepUp: Handler(_SIGNED, accounts.step_up),
    f.SetPassword: Handler(_SIGNED, accounts.set_password),
    f.BeginSecondFactor: Handler(_SIGNED, accounts.begin_second_factor),
    f.ConfirmSecondFactor: Handler(_SIGNED, accounts.confirm_second_factor),
    f.RenewRecoveryCodes: Handler(_SIGNED, accounts.renew_recovery_codes),
    f.GetAccount: Handler(_SIGNED, accounts.get_account),
    f.ResetCredentials: Handler(_ISSUER, accounts.reset_credentials),
    f.GetDevices: Handler(_SIGNED, accounts.get_devices),
    f.CloseAccount: Handler(_SIGNED, closing.close_account),
    f.GetHead: Handler(_SIGNED, audit.get_head),
    f.GetConsistency: Handler(_SIGNED, audit.get_consistency),
    f.GetInclusion: Handler(_DEVICE, audit.get_inclusion),
}

UNANSWERED: Final = (f.Acknowledge, f.AcknowledgeWelcome, f.ReportCommit)
"""Frames without a rid: what is wrong with them is not answered either."""
