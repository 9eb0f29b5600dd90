"""Establishments: registration, revocations, directory."""

from typing import Annotated

from msgspec import Meta

from .values import (
    Certificate,
    Chain,
    Frame,
    Id16,
    Inline,
    Number,
    Payload,
    Request,
    Rid,
    Short,
    Signature,
)


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
    """Ask for an establishment's certificates by the authority's fingerprint (first 16 bytes).

    Before sign-in anybody's, afterwards one's own and its partners'.
    """

    establishment: Id16


class Establishment(Frame, frozen=True):
    """What is public of an establishment. The client checks all of it by the fingerprint."""

    rid: Rid
    authority: Certificate
    issuers: Annotated[tuple[Certificate, ...], Meta(max_length=8)]
    enrolment_keys: Annotated[tuple[Inline, ...], Meta(max_length=8)]
    revocations: Payload | None = None


class PublishRevocations(Request, frozen=True):
    """Issuer, or a device for a statement about its own person: the newest list or the statement."""

    statement: Payload


class GetRevocations(Request, frozen=True):
    """The newest list of one's own establishment, or of a partner."""

    establishment: Id16


class Revocations(Frame, frozen=True):
    rid: Rid
    statement: Payload | None = None


class RevocationsChanged(Frame, frozen=True):
    """Push: a newer revocation list than the one you were told of."""

    establishment: Id16
    number: Number


class DirectoryChanged(Frame, frozen=True):
    """Push: somebody of this establishment has a newer certificate."""

    establishment: Id16


class GetDirectory(Request, frozen=True):
    """The people of one's own establishment, or of a partner (without its bots), in pages."""

    after: Id16 | None = None
    establishment: Id16 | None = None
    """The partner; None: one's own."""


class Directory(Frame, frozen=True):
    """Chains (person, issuer), at most a frame full, ordered by account; `after` asks for the rest."""

    rid: Rid
    people: tuple[Chain, ...]
    after: Id16 | None = None


FromClient = (
    RegisterEstablishment | GetEstablishment | PublishRevocations | GetRevocations | GetDirectory
)
FromRelay = Establishment | Revocations | RevocationsChanged | Directory | DirectoryChanged
