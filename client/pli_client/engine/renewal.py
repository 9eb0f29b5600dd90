"""Certificates follow each other: this device signs itself anew under its person's newest certificate.

A device certificate lasts 400 days and is renewed at two thirds. A newer certificate of the person
(name, profession, end) comes from the relay and is taken over when one's own trust accepts it: the same
account and key, a later date than the one held, nothing revoked. The leaf follows by a commit in each
group, the key packages at the relay are replaced.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pli_protocol.identity import Device, IdentityError, Person, make_device

from ..store import key_packages, people
from ..store.device import write_chain
from ..vault import transaction
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

RENEW: Final = transaction("renew")


def due(device: Device, now: int) -> bool:
    """Two thirds of the device certificate's time are over (Unix seconds)."""
    return now - device.not_before > (device.not_after - device.not_before) * 2 // 3


async def if_due(engine: Engine) -> bool:
    """Renew the device's certificate where it is old; whether it was."""
    own = engine.own.device
    if not due(own, int(engine.timing.clock())):
        return False
    return await _renew(engine, own.person, own.chain[2])


async def take_over(engine: Engine, chain: tuple[bytes, ...]) -> bool:
    """Take a newer certificate of one's own person that the relay shows; whether it was one.

    What does not check, is not one's own, or is not newer changes nothing.
    """
    own = engine.own.device.person
    with suppress(IdentityError):
        person = engine.around.trust.person(chain, None)
        same = (person.person_id, person.account) == (own.person_id, own.account)
        newer = person.not_before > own.not_before
        if same and newer and engine.around.trust.refuses(person) is None:
            return await _renew(engine, person, chain[1])
    return False


async def _renew(engine: Engine, person: Person, issuer: bytes) -> bool:
    """One transaction keeps the new chain; then it is the one that signs."""
    now = int(engine.timing.clock())
    if person.not_after is not None and now > person.not_after:
        return False
    identity, key = engine.row.identity, engine.own.key
    certificate = make_device(identity, person.certificate, key.public, now=now)
    device = engine.around.trust.device((certificate, person.certificate, issuer), None)

    def step(work: Work) -> None:
        write_chain(work.db, device.chain)
        people.remember_device(work.db, device, work.now)
        key_packages.outdate(work.db)
        work.wake_all()

    await engine.write(step, name=RENEW)
    engine.adopt(device)
    return True
