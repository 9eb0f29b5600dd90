"""Commit: the message that begins the next epoch (RFC 9420 §12.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .codec import Reader, Writer
from .errors import CodecError
from .proposal import Proposal, read_proposal, write_proposal
from .quick import quick
from .update_path import UpdatePath


class ProposalRef(bytes):
    """The hash of the AuthenticatedContent in which a proposal was sent (§5.2)."""

    __slots__ = ()


# enum {
#   reserved(0),
#   proposal(1),
#   reference(2),
#   (255)
# } ProposalOrRefType;
#
# struct {
#   ProposalOrRefType type;
#   select (ProposalOrRef.type) {
#     case proposal:  Proposal proposal;
#     case reference: ProposalRef reference;
#   };
# } ProposalOrRef;
ProposalOrRef = Proposal | ProposalRef


def _write_proposal_or_ref(w: Writer, value: ProposalOrRef) -> None:
    if isinstance(value, ProposalRef):
        w.u8(2)
        w.opaque(value)
    else:
        w.u8(1)
        write_proposal(w, value)


def _read_proposal_or_ref(r: Reader) -> ProposalOrRef:
    kind = r.u8()
    if kind == 1:
        return read_proposal(r)
    if kind == 2:
        return ProposalRef(r.opaque())
    raise CodecError(f"unknown ProposalOrRefType {kind}", "enum", "§12.4")


# struct {
#     ProposalOrRef proposals<V>;
#     optional<UpdatePath> path;
# } Commit;
@quick
@dataclass(frozen=True, slots=True)
class Commit:
    """Proposals by value or by reference, and the committer's new path."""

    proposals: tuple[ProposalOrRef, ...]
    path: UpdatePath | None = None

    def write(self, w: Writer) -> None:
        """Append the struct of §12.4."""
        w.vector(self.proposals, _write_proposal_or_ref)
        w.optional(self.path, lambda w, path: path.write(w))

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §12.4."""
        return cls(r.vector(_read_proposal_or_ref), r.optional(UpdatePath.read))
