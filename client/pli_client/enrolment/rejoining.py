"""A device at hand takes a new identity: its person's key was replaced, or its own was revoked.

The new keys and the request lie beside the old ones until the issuer has signed; then one transaction
puts them in their place, so that a crash leaves the one or the other. The history stays. The groups of
before do not: their leaves are the old key's, and members add who follows, as anybody new.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from pli_protocol.identity import Device, IdentityError, Invitation, SigningKey, Trust, make_device
from pli_protocol.identity.enrolment import EnrolmentRefused, ReplyKey

from ..engine.errors import NotEnrolled
from ..engine.sending import fail_all
from ..engine.timing import Timing
from ..engine.work import Own, Surroundings, Work
from ..store import conversations, groups
from ..store.device import DeviceRow, add_revocations, read_device, read_trust
from ..store.people import remember_person
from ..vault import Database, Vault, transaction
from .asking import CheckedEstablishment, Step
from .beginning import Asker, UnderWay
from .errors import BadInvitation, EstablishmentForged, InvitationRefused, NotYourAccount
from .joining import answered

BEGIN = transaction("rejoin-begin")
FINISH = transaction("rejoin-finish")


@dataclass(frozen=True, slots=True)
class Rejoined:
    """The device under its new key, and the titles of the conversations that it is out of now."""

    device: Device
    conversations: tuple[str, ...]


async def rejoin(
    vault: Vault,
    invitation: Invitation | None = None,
    *,
    progress: Callable[[Step], None] = lambda _: None,
    patience: float | None = None,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Rejoined:
    """Give this vault's device a new identity by an invitation for the same account.

    Args:
        invitation: None: go on with the one begun before.

    Raises:
        NotEnrolled: nobody has joined with this vault. NotYourAccount: an invitation for somebody else.
        What enrolment.enrol raises.
    """
    row, asker = await vault.write(lambda db: _begin(db, invitation, random), name=BEGIN)
    checked, answer = await answered(vault, asker, progress, patience, random, pause)
    if isinstance(answer, EnrolmentRefused):
        await vault.write(_forget, name=FINISH, scrub=True)
        raise InvitationRefused(answer.code)
    trust = await vault.read(lambda db: read_trust(db, row.authority))
    device = _signed(trust, checked, asker, (answer.person, answer.issuer), int(clock()))
    if device.person.account != row.account:
        await vault.write(_forget, name=FINISH, scrub=True)
        raise NotYourAccount()
    around = Surroundings(Own(device, asker.device), trust, Timing(clock=clock), random)
    titles = await vault.write(
        lambda db: _put_in_place(Work(db, around, {}), asker, checked), name=FINISH, scrub=True
    )
    progress("enrolled")
    return Rejoined(device, titles)


def _begin(
    db: Database, invitation: Invitation | None, random: Callable[[int], bytes]
) -> tuple[DeviceRow, Asker]:
    """The keys and the request's id, durable before the first byte is sent."""
    row = read_device(db)
    if row is None:
        raise NotEnrolled()
    kept = db.execute("SELECT identity_key, signature_key, enrolment FROM rejoining").fetchone()
    begun = None if kept is None else msgspec.msgpack.decode(kept[2], type=UnderWay)
    if kept is None or begun is None or (invitation and begun.code != invitation.text()):
        if invitation is None:
            raise BadInvitation("empty")
        if invitation.establishment != _establishment(row):
            raise NotYourAccount()
        reply = bytes(ReplyKey.generate(random).private)
        begun = UnderWay(1, invitation.text(), random(16), reply)
        kept = (random(32), random(32), msgspec.msgpack.encode(begun))
        db.execute("DELETE FROM rejoining")
        db.execute(
            """INSERT INTO rejoining (one, identity_key, signature_key, enrolment)
               VALUES (1, ?, ?, ?)""",
            kept,
        )
    identity, device = SigningKey.from_seed(kept[0]), SigningKey.from_seed(kept[1])
    return row, Asker(identity, device, begun, row.relay_name, row.ca, row.proxy, "rejoining")


def _establishment(row: DeviceRow) -> bytes:
    return Trust(row.authority).own.establishment


def _signed(
    trust: Trust,
    checked: CheckedEstablishment,
    asker: Asker,
    chain: tuple[bytes, bytes],
    now: int,
) -> Device:
    """Check what the issuer signed by the vault's own trust, and sign the device with the new key."""
    try:
        if checked.revocations is not None:
            trust.accept_revocations(checked.revocations)
        person = trust.person(chain, now)
        if person.identity_key != asker.identity.public or trust.refuses(person) is not None:
            raise EstablishmentForged()
        certificate = make_device(asker.identity, chain[0], asker.device.public, now=now)
        return trust.device((certificate, *chain), now)
    except IdentityError as error:
        raise EstablishmentForged() from error


def _put_in_place(work: Work, asker: Asker, checked: CheckedEstablishment) -> tuple[str, ...]:
    """The new keys in the place of the old ones; what hung on the old ones ends."""
    device, head = work.own.device, work.trust.head()
    work.db.execute(
        """UPDATE device SET identity_key = ?, signature_key = ?, device_id = ?, chain = ?,
            token = NULL, enrolment = NULL""",
        (
            bytes(asker.identity.seed),
            bytes(asker.device.seed),
            device.device_id,
            msgspec.msgpack.encode(device.chain),
        ),
    )
    if checked.revocations is not None:
        establishment = work.trust.own.establishment
        add_revocations(work.db, establishment, head.number, head.hash, checked.revocations)
    remember_person(work.db, device.person, device.chain[2], work.now)
    _forget(work.db)
    work.db.execute("DELETE FROM key_packages")
    titles = [_leave(work, row) for row in _open_conversations(work)]
    return tuple(title for title in titles if title)


def _open_conversations(work: Work) -> list[conversations.ConversationRow]:
    found = conversations.list_all(work.db, services=True)
    return [row for row in found if row.state in ("starting", "active", "leaving")]


def _leave(work: Work, row: conversations.ConversationRow) -> str:
    """The conversation goes on without the old key; its title, for who adds the new one.

    Empty where it was with a bot alone: another one is begun when something is to be filed.
    """
    for group in groups.of_conversation(work.db, row.id):
        work.db.execute("DELETE FROM pending_commits WHERE group_id = ?", (group.group_id,))
        work.db.execute("DELETE FROM returns WHERE group_id = ?", (group.group_id,))
        work.forget(group.group_id)
        groups.set_state(work.db, group.group_id, "removed", "replaced")
    fail_all(work, row.id, "replaced")
    conversations.set_state(work.db, row.id, "removed")
    work.event(row.id, "rejoined")
    return row.title if row.kind != "service" else ""


def _forget(db: Database) -> None:
    db.execute("DELETE FROM rejoining")
