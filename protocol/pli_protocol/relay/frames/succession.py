"""What follows a certificate: statements beside the list, why a device is refused, newer certificates."""

from typing import Annotated

from msgspec import Meta, Struct

from .values import (
    Certificate,
    Chain,
    Frame,
    Id16,
    Inline,
    Number,
    Request,
    Rid,
    Signature,
)

LIST_PART = 48 * 1024
"""Bytes of the largest part of a revocation list in one frame."""


class NumberedStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """A signed statement, and its place among those of its establishment."""

    number: Number
    statement: Inline


class GetStatements(Request, frozen=True):
    """What persons and issuers stated beside the list, after a number, in one's own establishment or a
    partner's."""

    after: Number = 0
    establishment: Id16 | None = None


class Statements(Frame, frozen=True):
    """A frame full, in order; `more`: ask again after the last of them."""

    rid: Rid
    statements: tuple[NumberedStatement, ...]
    more: bool = False


class StatementsChanged(Frame, frozen=True):
    """Push: there is a statement of this number."""

    establishment: Id16
    number: Number


class AskRefusal(Request, frozen=True):
    """Before sign-in: what is there about this device, that it may be refused?

    `signature` is the device's over `refusal_challenge(relay, challenge)`: who has not its key learns
    nothing of it.
    """

    chain: Annotated[tuple[Certificate, ...], Meta(min_length=3, max_length=3)]
    signature: Signature


class RefusalTold(Frame, frozen=True):
    """Signed statements only: the client checks all of it by its own trust.

    `statement` is the person's own about this device, `person` the newest chain (person, issuer) of
    its account under its key.
    """

    rid: Rid
    statement: Inline | None = None
    person: Chain | None = None


class GetListPart(Request, frozen=True):
    """Before sign-in: the newest revocation list of an establishment, from an offset, of any size."""

    establishment: Id16
    offset: Number = 0


class ListPart(Frame, frozen=True):
    """`size` bytes in all, 0 where there is no list yet; another `number` than before: begin again."""

    rid: Rid
    number: Number
    size: Number
    data: Annotated[bytes, Meta(max_length=LIST_PART)] = b""


class PublishAuthorityChange(Request, frozen=True):
    """Issuer: another authority follows the establishment's newest one (identity.succession)."""

    change: Inline


class GetAuthorityChanges(Request, frozen=True):
    """Every authority that followed the first one, for who is to check an establishment by the first."""

    establishment: Id16


class AuthorityChanges(Frame, frozen=True):
    """In their order."""

    rid: Rid
    changes: Annotated[tuple[Inline, ...], Meta(max_length=8)] = ()


FromClient = PublishAuthorityChange | GetAuthorityChanges | GetStatements | AskRefusal | GetListPart
FromRelay = AuthorityChanges | Statements | StatementsChanged | RefusalTold | ListPart
