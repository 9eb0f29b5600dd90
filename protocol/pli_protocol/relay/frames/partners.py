"""Partners: establishments that see each other, since both authorities have signed it."""

from typing import Annotated

from msgspec import Meta, Struct

from .values import Certificate, Frame, Id16, Number, Request, Rid

PartnerSigned = Annotated[bytes, Meta(min_length=1, max_length=1024)]
"""A signed PartnerStatement (identity.statements)."""


class PublishPartner(Request, frozen=True):
    """Issuer: what its authority signed of a partner, with the certificate of the partner's authority.

    A later statement about the same partner takes the place of the one before; one that has ended
    ends the partnership.
    """

    statement: PartnerSigned
    authority: Certificate


class GetPartners(Request, frozen=True):
    """The partner statements of one's own establishment, a frame full, after this establishment."""

    after: Id16 | None = None


class Partner(Struct, frozen=True, forbid_unknown_fields=True):
    """One's own authority's statement about a partner. The relay's word counts for routing only."""

    establishment: Id16
    statement: PartnerSigned
    authority: Certificate
    open: bool
    """Both statements hold by the relay's clock: the partner's people can be asked for."""
    revocations: Number
    """Number of the partner's newest revocation list; 0: none, or not open."""


class Partners(Frame, frozen=True):
    """`after` is set when there is more."""

    rid: Rid
    partners: tuple[Partner, ...]
    after: Id16 | None = None


class PartnersChanged(Frame, frozen=True):
    """Push: a statement of one's own establishment, or a partner's about it, is new."""


FromClient = PublishPartner | GetPartners
FromRelay = Partners | PartnersChanged
