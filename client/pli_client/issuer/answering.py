"""Answering a request to be enrolled: one transaction of the issuer's vault, before anything is sent.

An invitation is good for one identity key. The same request gets the very same answer again, also
after a crash; another request with the same secret and the same key (its answer was lost with the
device's memory) gets the same certificate; any other key is turned away.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from pli_protocol.identity import Replacement, make_person, person_id, sign
from pli_protocol.identity.enrolment import (
    Enrolled,
    EnrolmentError,
    EnrolmentRefused,
    EnrolmentRequest,
    RefusalCode,
    SealedToAnother,
    open_request,
    seal_answer,
)

from ..vault import Database, transaction
from . import tables
from .reports import EnrolmentAnswered
from .tables import AccountRow, InvitationRow, IssuerKeys

ANSWER = transaction("enrolment-answer")

UNREADABLE = b"\0"
"""The answer to what cannot be read: nobody can open it, and the relay stops asking."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to the relay: the sealed answer, and the certificate it may learn of."""

    sealed: bytes
    certificate: bytes | None
    report: EnrolmentAnswered | None
    replacement: bytes | None = None
    """The statement that goes with it, where the account had another key before."""


def answer(
    db: Database,
    keys: IssuerKeys,
    request_id: bytes,
    sealed: bytes,
    now: int,
    random: Callable[[int], bytes] = os.urandom,
    *,
    others: frozenset[bytes] | None = None,
) -> Answer | None:
    """Decide on a request, once; None: it is for another issuer of the establishment.

    Args:
        now: Unix seconds.
        others: The ids of the other issuers' enrolment keys; None: not known. A request for none of
            them would wait for ever, and enough of them keep everybody out.
    """
    given = tables.answer_given(db, request_id)
    if given is not None:
        return Answer(*given, _report_again(db, request_id), _replacement(db, given[1]))
    try:
        request = open_request(sealed, request_id, keys.authority.establishment, keys.enrolment)
    except SealedToAnother as error:
        nobodys = others is not None and not error.key_ids & others
        return Answer(UNREADABLE, None, None) if nobodys else None
    except EnrolmentError:
        return Answer(UNREADABLE, None, None)
    decided = _decide(db, keys, request, request_id, now)
    return _kept(db, request, request_id, sealed, decided, now, random)


def _decide(
    db: Database, keys: IssuerKeys, request: EnrolmentRequest, request_id: bytes, now: int
) -> AccountRow | RefusalCode:
    invitation = tables.invitation_by_secret(db, request.secret)
    if invitation is None:
        return "unknown"
    signed = tables.account(db, invitation.account)
    if signed is not None and signed.person_id != invitation.replaces:
        same = signed.identity_key == request.identity_key and signed.revoked_at is None
        return signed if same else "used"
    if invitation.used_by is not None:
        return "used"
    if now * 1000 > invitation.expires_at:
        return "expired"
    person = person_id(keys.authority.establishment, request.identity_key)
    if tables.account_of_person(db, person) is not None:
        return "used"  # one key, two accounts: never
    row = _signed(keys, invitation, request.identity_key, person, now)
    if invitation.replaces is None:
        tables.insert_account(db, row)
    else:
        tables.replace_account(db, row)
        _replace(db, keys, invitation.replaces, row, now)
    tables.use_invitation(db, invitation.id, request_id)
    return row


def _replace(db: Database, keys: IssuerKeys, replaced: bytes, row: AccountRow, now: int) -> None:
    statement = Replacement(
        keys.authority.establishment, row.account, replaced, row.identity_key, now
    )
    signed = sign(statement, keys.key, (keys.certificate,))
    tables.keep_replacement(db, replaced, row.person_id, row.account, signed, now * 1000)


def _replacement(db: Database, certificate: bytes | None) -> bytes | None:
    return None if certificate is None else tables.replacement_by(db, certificate)


def _signed(
    keys: IssuerKeys, invitation: InvitationRow, identity_key: bytes, person: bytes, now: int
) -> AccountRow:
    """Name, profession, RPPS, kind and end come from the administrator's invitation, nowhere else."""
    ends = invitation.account_ends_at
    certificate = make_person(
        keys.key,
        keys.certificate,
        account=invitation.account,
        name=invitation.name,
        profession=invitation.profession,
        rpps=invitation.rpps,
        kind=invitation.kind,
        identity_key=identity_key,
        not_after=None if ends is None else ends // 1000,
        now=now,
    )
    return AccountRow(
        invitation.account,
        person,
        invitation.name,
        invitation.profession,
        invitation.rpps,
        invitation.kind,
        identity_key,
        certificate,
        now * 1000,
        None,
        None,
    )


def _kept(
    db: Database,
    request: EnrolmentRequest,
    request_id: bytes,
    sealed: bytes,
    decided: AccountRow | RefusalCode,
    now: int,
    random: Callable[[int], bytes],
) -> Answer:
    if isinstance(decided, AccountRow):
        certificate: bytes | None = decided.certificate
        reply: Enrolled | EnrolmentRefused = Enrolled(decided.certificate, _issuer(db))
        report = EnrolmentAnswered(
            request_id, decided.account, decided.name, decided.profession, decided.kind, None
        )
    else:
        certificate, reply = None, EnrolmentRefused(decided)
        report = EnrolmentAnswered(request_id, None, None, None, None, decided)
    try:
        answered = seal_answer(reply, request.reply_key, request_id, random)
    except EnrolmentError:
        answered = UNREADABLE  # a reply key of small order: the asker's own fault
    tables.keep_answer(db, request_id, sealed, answered, certificate, now * 1000)
    return Answer(answered, certificate, report, _replacement(db, certificate))


def _report_again(db: Database, request_id: bytes) -> EnrolmentAnswered | None:
    """What was not reported, since the answer did not reach the relay."""
    row = tables.undelivered_account(db, request_id)
    if row is None:
        return None
    return EnrolmentAnswered(
        request_id, row.account, row.name, row.profession, row.kind, None, again=True
    )


def _issuer(db: Database) -> bytes:
    keys = tables.read_issuer(db)
    assert keys is not None
    return keys.certificate
