"""Enrolment: sealed letters between an asker and the issuer."""

from .values import Certificate, Frame, Id16, Inline, PendingEnrolment, Request, Rid


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
    """Issuer: the sealed answer, and the person's certificate when one was signed.

    `replacement` is the issuer's statement where the account had another key before.
    """

    request_id: Id16
    sealed: Inline
    person: Certificate | None = None
    replacement: Inline | None = None


class PublishCertificate(Request, frozen=True):
    """Issuer: a newer certificate of a person that it signed, for the same account and key."""

    person: Certificate


FromClient = (
    RequestEnrolment | FetchEnrolment | ListEnrolments | AnswerEnrolment | PublishCertificate
)
FromRelay = EnrolmentAnswer | Enrolments | EnrolmentWaiting
