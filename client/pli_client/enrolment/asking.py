"""Asking the relay: the establishment's certificates, leaving the request, waiting for the answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import msgspec

from pli_protocol.identity import (
    Authority,
    EnrolmentKey,
    IdentityError,
    Invitation,
    Issuer,
    Trust,
    verify_authority,
)
from pli_protocol.identity.enrolment import (
    EnrolmentAnswer,
    EnrolmentError,
    ReplyKey,
    open_answer,
    seal_request,
)
from pli_protocol.relay.frames import (
    FetchEnrolment,
    GetAuthorityChanges,
    GetEstablishment,
    RequestEnrolment,
)

from ..connection import Connection
from ..errors import Offline, RelayRefused
from ..first_done import first_done
from ..vault import Vault, transaction
from .beginning import Asker
from .errors import EstablishmentForged, EstablishmentUnknown

ASK = transaction("enrolment-ask")

LOOK_AGAIN: Final = 10.0
"""Seconds after which the relay is asked again for the answer that it should have pushed."""

Step = Literal["contacting", "asked", "waiting", "enrolled"]


@dataclass(frozen=True, slots=True)
class CheckedEstablishment:
    """What the relay holds of the establishment, checked by the invitation's fingerprint."""

    authority: Authority
    issuers: tuple[Issuer, ...]
    keys: tuple[bytes, ...]
    revocations: bytes | None
    trust: Trust
    changes: tuple[bytes, ...] = ()
    """Of its authority; the newest one signs issuers."""


async def fetch_establishment(relay: Connection, invitation: Invitation) -> CheckedEstablishment:
    """The establishment's certificates, checked by the fingerprint in the code and nothing else."""
    try:
        held = await relay.request(GetEstablishment(0, invitation.establishment))
    except RelayRefused as refused:
        if refused.refusal == "not-found":
            raise EstablishmentUnknown() from None
        raise
    # A list that is too large for a frame is a blob, which only a device that signed in may fetch.
    changes = (await relay.request(GetAuthorityChanges(0, invitation.establishment))).changes
    signed = held.revocations if isinstance(held.revocations, bytes) else None
    try:
        authority = verify_authority(held.authority, fingerprint_start=invitation.establishment)
        trust = Trust(authority.certificate, authority_changes=changes)
        signed = None if signed is None else _counting(trust, signed)
        issuers = tuple(trust.issuer((certificate,)) for certificate in held.issuers)
        issuers = tuple(issuer for issuer in issuers if trust.refuses(issuer) is None)
        checked = [trust.verify_own(key, EnrolmentKey) for key in held.enrolment_keys]
    except IdentityError as error:
        raise EstablishmentForged() from error
    known = {issuer.issuer_id for issuer in issuers}
    keys = tuple(
        key.statement.key
        for key in checked
        if isinstance(key.signer, Issuer) and key.signer.issuer_id in known
    )
    if not keys:
        raise EstablishmentForged()
    return CheckedEstablishment(authority, issuers, keys, signed, trust, changes)


def _counting(trust: Trust, signed: bytes) -> bytes | None:
    """The list, taken; None where its issuer's authority is in wrong hands: it says nothing any more."""
    try:
        trust.accept_revocations(signed)
    except IdentityError as error:
        if error.rule != "revoked":
            raise
        return None
    return signed


async def ask(
    vault: Vault,
    relay: Connection,
    asker: Asker,
    checked: CheckedEstablishment,
    random: Callable[[int], bytes],
) -> Asker:
    """Leave the request; the same bytes at every try."""
    under_way = asker.under_way
    if under_way.sealed is None:
        reply = ReplyKey.from_private(under_way.reply_key)
        sealed = seal_request(
            asker.invitation,
            checked.keys,
            asker.identity,
            reply.public,
            under_way.request_id,
            random,
        )
        under_way = msgspec.structs.replace(under_way, sealed=sealed)
        data = msgspec.msgpack.encode(under_way)
        kept_in = asker.table
        await vault.write(
            lambda db: db.execute(f"UPDATE {kept_in} SET enrolment = ?", (data,)), name=ASK
        )
        asker = replace(asker, under_way=under_way)
    await _leave(relay, asker)
    return asker


async def _leave(relay: Connection, asker: Asker) -> None:
    under_way = asker.under_way
    assert under_way.sealed is not None
    establishment = asker.invitation.establishment
    try:
        await relay.request(
            RequestEnrolment(0, establishment, under_way.request_id, under_way.sealed)
        )
    except RelayRefused as refused:
        if refused.refusal != "conflict":  # it is there already
            raise


async def await_answer(
    relay: Connection,
    asker: Asker,
    arrived: asyncio.Event,
    progress: Callable[[Step], None],
    pause: Callable[[float], Awaitable[None]],
) -> EnrolmentAnswer:
    """Wait for the issuer, also through lost connections: a push, and looking now and then."""
    under_way = asker.under_way
    reply = ReplyKey.from_private(under_way.reply_key)
    told = False
    while True:
        arrived.clear()
        try:
            held = await relay.request(FetchEnrolment(0, under_way.request_id))
        except Offline:
            await relay.online()
            continue
        except RelayRefused as refused:
            if refused.refusal != "not-found":
                raise
            await _leave(relay, asker)  # the relay gave it up: the same request again
            continue
        if held.sealed is not None:
            try:
                return open_answer(held.sealed, under_way.request_id, reply)
            except EnrolmentError:
                raise EstablishmentForged() from None
        if not told:
            progress("waiting")
            told = True
        await first_done(arrived.wait(), pause(LOOK_AGAIN))
