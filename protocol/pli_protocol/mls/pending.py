"""Proposals seen in an epoch and not committed yet (RFC 9420 §12.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .ciphersuite import CipherSuite, HPKEPrivateKey, KEMKeyPair
from .codec import Reader, Writer
from .commit import Commit, ProposalRef
from .errors import CodecError
from .framing import AuthenticatedContent, Sender
from .proposal import Proposal


# Pli's own:
# struct {
#     ProposalRef reference;
#     AuthenticatedContent signed;
#     optional<KEMKeyPair> leaf_key;
# } PendingProposal;
@dataclass(frozen=True, slots=True)
class PendingProposal:
    """A valid proposal as it was sent; `leaf_key` is the new leaf key of an own Update."""

    signed: AuthenticatedContent
    reference: ProposalRef
    leaf_key: KEMKeyPair | None = None

    @classmethod
    def of(
        cls, suite: CipherSuite, signed: AuthenticatedContent, leaf_key: KEMKeyPair | None = None
    ) -> PendingProposal:
        """A proposal with the reference that commits use for it."""
        return cls(signed, signed.proposal_ref(suite), leaf_key)

    @property
    def proposal(self) -> Proposal:
        """The proposal itself."""
        content = self.signed.content.content
        if isinstance(content, bytes | Commit):
            raise AssertionError("only proposals become pending")
        return content

    @property
    def sender(self) -> Sender:
        """Who proposed it."""
        return self.signed.content.sender

    def write(self, w: Writer) -> None:
        """Append what is stored of it."""
        w.opaque(self.reference)
        self.signed.write(w)
        w.optional(self.leaf_key, _write_key)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read it back. Raises CodecError."""
        reference, signed = ProposalRef(r.opaque()), AuthenticatedContent.read(r)
        if isinstance(signed.content.content, bytes | Commit):
            raise CodecError("a pending proposal that is none")
        return cls(signed, reference, r.optional(_read_key))


def _write_key(w: Writer, key: KEMKeyPair) -> None:
    w.opaque(key.public)
    w.opaque(key.private)


def _read_key(r: Reader) -> KEMKeyPair:
    return KEMKeyPair(r.opaque(), HPKEPrivateKey(r.opaque()))
