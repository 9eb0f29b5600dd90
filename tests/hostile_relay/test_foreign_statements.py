"""Statements that are rightly signed, about somebody whom their signer has no say in."""

from pli_client.engine import partners, statements
from pli_client.store import people
from pli_client.store.device import read_trust
from pli_protocol.identity import (
    DeviceRevocation,
    Replacement,
    RevocationEntry,
    RevocationList,
    SigningKey,
    sign,
)
from pli_protocol.relay.frames import Partner

from ..server.people import TestEstablishment
from ..system.actor import QUICK
from ..system.world import World
from .lone import Lone, alone
from .test_partners import statement

PONT = TestEstablishment("SESSAD du Pont")


async def befriend(world: World, who: Lone) -> None:
    now = int(QUICK.clock())
    signed = statement(world, until=now + 86_400, time=now, about=PONT)
    listed = [Partner(PONT.id, signed, PONT.authority, True, 0)]
    await who.write(lambda work: partners._take(work, listed))


async def counts(who: Lone, other: Lone) -> bool:
    """In memory, in the vault, and in what the vault would read at its next start."""
    own = who.engine.around.trust.own.certificate
    trusts = (who.engine.around.trust, await who.read(lambda db: read_trust(db, own)))
    row = await who.read(lambda db: people.read_person(db, other.own.person_id))
    assert row is not None
    answers = {not row.revoked, *(t.refuses(other.own.device) is None for t in trusts)}
    assert len(answers) == 1
    return answers.pop()


async def test_a_partners_issuer_has_no_say_in_people_of_ours(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        await befriend(world, amelie)
        person, now = bruno.own.device.person, int(QUICK.clock())
        entries = tuple(
            RevocationEntry(kind, identifier, "left", now)
            for kind, identifier in (("person", person.person_id), ("device", bruno.own.device_id))
        )
        listed = sign(
            RevocationList(PONT.id, 1, bytes(32), entries, now), PONT.issuer_key, (PONT.issuer,)
        )
        await amelie.write(lambda work: statements.take_list(work, PONT.id, listed, 1))
        key = SigningKey.generate().public
        body = Replacement(PONT.id, person.account, person.person_id, key, now)
        replaced = sign(body, PONT.issuer_key, (PONT.issuer,))
        assert not await amelie.write(lambda work: statements.take_statement(work, replaced))
        assert await counts(amelie, bruno)


async def test_a_colleagues_word_about_ones_device_takes_the_place_of_nothing(
    world: World,
) -> None:
    async with alone(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        now = int(QUICK.clock())

        def word(who: Lone, time: int) -> bytes:
            own = who.own.device.person
            body = DeviceRevocation(
                own.establishment, own.person_id, bruno.own.device_id, "stolen", time
            )
            return sign(body, who.engine.row.identity, who.own.chain[1:])

        trust = amelie.engine.around.trust
        assert await amelie.write(lambda work: statements.take_statement(work, word(bruno, now)))
        await amelie.write(lambda work: statements.take_statement(work, word(chloe, now + 1)))
        again = await amelie.read(lambda db: read_trust(db, trust.own.certificate))
        for known in (trust, again):
            refusal = known.refuses(bruno.own.device)
            assert refusal is not None
            assert refusal.entry.time == now
