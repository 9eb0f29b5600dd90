"""The enrolled device: looks at what asks, compares the code, signs, and adds the new one everywhere."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pli_protocol.identity import IdentityError, InvitationError, make_device
from pli_protocol.identity.errors import LinkingError
from pli_protocol.identity.keys import is_public_key
from pli_protocol.identity.linking import (
    LASTS,
    Letter,
    LinkingRequest,
    is_code_of,
    request_id,
    seal_letter,
)
from pli_protocol.relay.frames import AnswerLinking, GetDevices, GetLinking
from pli_protocol.relay.log import device_id

from ..errors import RelayRefused
from ..store import conversations
from ..store import linking as store
from ..store.device import accepted_authority_changes
from ..vault import Database, transaction
from .errors import LinkingOver, NothingToLink, WrongLinkingCode

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.work import Work

APPROVE: Final = transaction("linking-approve")
ADD: Final = transaction("linking-add")

CLOCKS_DIFFER: Final = 600
"""Seconds by which the two devices' clocks may disagree. The relay and the code hold the two minutes."""

LONGEST_LIST: Final = 16 * 1024
"""Bytes of a revocation list that goes along; a longer one is fetched at the first sign-in."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A device that asks. What the relay gave; only its code tells whose it is."""

    request: bytes
    made_at: int
    """Unix seconds by the new device's clock."""


async def waiting(engine: "Engine") -> Waiting:
    """What asks to be linked. Raises NothingToLink, and LinkingOver for one that is old."""
    held = (await engine.connection.request(GetLinking(0))).request
    if held is None:
        raise NothingToLink()
    own = engine.own.device.person
    try:
        request = LinkingRequest.decode(held)
    except LinkingError:
        raise WrongLinkingCode() from None
    if (request.establishment, request.account) != (own.establishment, own.account):
        raise WrongLinkingCode()
    if abs(engine.timing.clock() - request.made_at) > LASTS + CLOCKS_DIFFER:
        raise LinkingOver()
    return Waiting(held, request.made_at)


async def approve(engine: "Engine", found: Waiting, typed: str, name: str) -> bytes:
    """Sign the device that showed this code and give it what it needs; its id.

    Args:
        typed: The code as the new device shows it.
        name: What the person calls the new device; it stays in vaults.

    Raises:
        WrongLinkingCode: nothing was signed. LinkingOver: it came too late.
    """
    request = LinkingRequest.decode(found.request)
    try:
        right = is_code_of(typed, found.request) and is_public_key(request.device_key)
    except InvitationError:
        right = False
    if not right:
        raise WrongLinkingCode()
    letter = await engine.read(lambda db: _letter(db, engine, request, name))
    try:
        sealed = seal_letter(letter, found.request, engine.around.random)
    except (LinkingError, IdentityError):
        raise WrongLinkingCode() from None
    linked = device_id(request.device_key)
    await engine.write(
        lambda work: store.write_linked(work.db, linked, name, "approved", work.now), name=APPROVE
    )
    try:
        await engine.connection.request(AnswerLinking(0, request_id(found.request), sealed))
    except RelayRefused as refused:
        if refused.refusal in ("not-found", "conflict"):
            raise LinkingOver() from None
        raise
    return linked


def _letter(db: Database, engine: "Engine", request: LinkingRequest, name: str) -> Letter:
    row = engine.row
    now = int(engine.timing.clock())
    certificate = make_device(row.identity, row.chain[1], request.device_key, now=now)
    issuers = db.execute(
        "SELECT certificate FROM issuers WHERE establishment = ? LIMIT 8",
        (engine.own.device.person.establishment,),
    ).fetchall()
    newest = db.execute(
        """SELECT statement FROM revocation_lists WHERE establishment = ?
           ORDER BY number DESC LIMIT 1""",
        (engine.own.device.person.establishment,),
    ).fetchone()
    known = None if newest is None or len(newest[0]) > LONGEST_LIST else newest[0]
    return Letter(
        1,
        (certificate, row.chain[1], row.chain[2]),
        bytes(row.identity.seed),
        row.authority,
        tuple(issuer[0] for issuer in issuers),
        known,
        row.relay_name,
        row.ca,
        name,
        tuple(accepted_authority_changes(db)),
    )


async def add_when_ready(engine: "Engine") -> bool:
    """Ask every conversation to add the devices that were linked, once they have key packages.

    False: one of them has none yet; it is looked for again at the next sign-in.
    """
    open_ones = [d for d in await engine.read(store.linked) if d.state == "approved"]
    if not open_ones:
        return True
    states = (await engine.connection.request(GetDevices(0))).devices
    ready = {state.device for state in states if state.stocked and state.revoked is None}
    for linked in open_ones:
        if linked.device_id in ready:
            await engine.write(lambda work, d=linked.device_id: _add(work, d), name=ADD)  # type: ignore[misc]
    return all(linked.device_id in ready for linked in open_ones)


def _add(work: "Work", linked: bytes) -> None:
    """One intent for each conversation, in the transaction that says so: none is forgotten or doubled."""
    own = work.own
    body = {"accounts": [own.account], "persons": [own.person_id], "device": linked}
    for row in conversations.list_all(work.db, services=True):
        if row.state in ("starting", "active"):
            conversations.add_intent(work.db, row.id, "add", dict(body), work.now)
            work.wake(row.id)
    store.set_known(work.db, linked)
