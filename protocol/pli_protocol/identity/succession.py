"""An authority follows another: one body, several signatures, checked as a whole.

On the wire a change is a MessagePack array of two or three signed AuthorityChange statements with the same
body. The last is signed by the new authority, which so vouches for whom it follows; the others by the
authority of before (one), or by two issuers that count (two).
"""

from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from . import chain as chains
from .chain import Authority, Issuer
from .errors import StatementError
from .statements import AuthorityChange, Checked, SignedStatement, verify_statement

MAX_CHANGE = 6 * 1024
"""Bytes of the largest change."""

Parts = Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_CHANGE)], ...], Meta(max_length=3)]


def encode_change(parts: Sequence[bytes]) -> bytes:
    """The change of these signed statements, in this order."""
    return msgspec.msgpack.encode(tuple(parts))


def decode_change(data: bytes) -> tuple[bytes, ...]:
    """Its signed statements; nothing is checked but the form. Raises StatementError."""
    if len(data) > MAX_CHANGE:
        raise StatementError("size", "the change is too large")
    try:
        parts = msgspec.msgpack.decode(data, type=Parts)
    except (msgspec.DecodeError, RecursionError):
        raise StatementError("form", "not a change of authority") from None
    if encode_change(parts) != data or not parts:
        raise StatementError("form", "not the one encoding of a change of authority")
    return parts


def body_of(part: bytes) -> tuple[bytes, AuthorityChange]:
    """The body's bytes and content of one signed statement, unchecked. Raises StatementError."""
    try:
        signed = msgspec.msgpack.decode(part, type=SignedStatement)
        return signed.body, msgspec.msgpack.decode(signed.body, type=AuthorityChange)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise StatementError("form", "not a change of authority") from None


def verify_change(
    data: bytes, before: Authority, issuer_of: Callable[[bytes], Checked[AuthorityChange]]
) -> tuple[AuthorityChange, Authority]:
    """Check a change of the authority `before`; (the statement, the authority that follows).

    Args:
        issuer_of: checks a statement that an issuer signed, and that the issuer counts; raises
            IdentityError.

    Raises:
        StatementError: rule "bodies" (they differ), "binding" (another establishment, authority or
            name), "signers" (not signed by the authority of before or by two issuers).
        IdentityError: a certificate or a signature does not check.
    """
    *old, acceptance = decode_change(data)
    body, change = body_of(acceptance)
    if any(body_of(part)[0] != body for part in old):
        raise StatementError("bodies", "the signatures are over different statements")
    establishment = before.establishment
    following = chains.verify_authority(change.authority, lineage=establishment)
    _check_binding(change, before, following)
    signer = verify_statement(
        acceptance, AuthorityChange, following.certificate, lineage=establishment
    ).signer
    if not isinstance(signer, Authority):
        raise StatementError("signers", "the new authority has not signed last")
    _check_signers(old, before, issuer_of)
    return change, following


def _check_binding(change: AuthorityChange, before: Authority, following: Authority) -> None:
    if change.establishment != before.establishment or change.previous != before.fingerprint:
        raise StatementError("binding", "the change is of another authority")
    if following.fingerprint == before.fingerprint or following.name != before.name:
        raise StatementError("binding", "not another authority of the same establishment")


def _check_signers(
    parts: Sequence[bytes],
    before: Authority,
    issuer_of: Callable[[bytes], Checked[AuthorityChange]],
) -> None:
    if len(parts) == 1:
        checked = verify_statement(
            parts[0], AuthorityChange, before.certificate, lineage=before.establishment
        )
        if isinstance(checked.signer, Authority):
            return
        raise StatementError("signers", "one issuer alone replaces no authority")
    signers = [issuer_of(part).signer for part in parts]
    issuers = {signer.issuer_id for signer in signers if isinstance(signer, Issuer)}
    if len(parts) != 2 or len(issuers) != 2:
        raise StatementError("signers", "two different issuers were expected")
