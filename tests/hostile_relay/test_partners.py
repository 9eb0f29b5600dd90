"""Partners by one's own authority's word: not by the relay's list, nor by a certificate of the right name."""

import os
from collections.abc import Iterable
from dataclasses import replace

import pytest

from pli_client.engine import candidates, parting, partners
from pli_client.engine.profile import SUITE, ProfileError, capabilities, lifetime
from pli_client.engine.receiving import Taken, take
from pli_client.engine.work import Work
from pli_client.issuer import AUTHORITY_FILE, open_authority
from pli_client.store import events, groups
from pli_client.store import partners as partner_store
from pli_protocol.identity import (
    PartnerStatement,
    RevocationEntry,
    RevocationList,
    fingerprint,
    sign,
)
from pli_protocol.mls import KeyPackage, SignatureKeyPair, X509Credential, generate_key_package
from pli_protocol.mls.codec import encode
from pli_protocol.relay.frames import Directory, Partner, Partners, RelayFrame

from ..server.people import TestDevice, TestEstablishment
from ..system.actor import QUICK
from ..system.world import AUTHORITY_PASSPHRASE, World
from .lone import EVERYBODY, Lone, alone, row_after
from .proxy import hostile_relay
from .test_what_one_takes import _adds

PONT = TestEstablishment("SESSAD du Pont")
DAY = 86_400


def statement(world: World, *, until: int, time: int, about: TestEstablishment = PONT) -> bytes:
    """What the world's authority signs."""
    key, own = open_authority(world.folder / "admin" / AUTHORITY_FILE, AUTHORITY_PASSPHRASE)
    print_ = fingerprint(about.authority_key.public)
    return sign(PartnerStatement(own.establishment, about.name, print_, until, time), key)


def listed(signed: bytes, authority: bytes = PONT.authority) -> list[Partner]:
    return [Partner(PONT.id, signed, authority, True, 0)]


async def took(who: Lone, offered: list[Partner]) -> list[str]:
    """What the device makes of a relay's list: the kinds of events, and what it refused."""
    before = await who.read(events.newest)
    await who.write(lambda work: partners._take(work, offered))
    found = await who.read(lambda db: events.after(db, before, 100))
    return [str(body.get("reason") or kind) for _no, _conv, kind, body, _at in found]


async def vouched(who: Lone, now: int | None = None) -> bool:
    return who.engine.around.trust.vouches(PONT.id, now or int(QUICK.clock()))


def package(device: TestDevice) -> KeyPackage:
    """A key package of somebody at the Pont."""
    keys = SignatureKeyPair(device.key.public, device.key.seed)
    credential = X509Credential(device.chain)
    made, _ = generate_key_package(
        SUITE, credential, keys, lifetime=lifetime(int(QUICK.clock())), capabilities=capabilities()
    )
    return made


async def adds(amelie: Lone, bruno: Lone, *devices: TestDevice) -> groups.GroupRow:
    """Bruno adds devices of the Pont, one commit each; Amélie's group after it."""
    group = await bruno.group((await amelie.row()).group_id)
    for device in devices:
        row = await amelie.row()
        made = await _commit(group, package(device))
        group = made.group.merged(made.sent).group
        now = int(QUICK.clock() * 1000)
        frame = row_after(
            row, bruno.own.device_id, "commit", made.message, time=now, send_id=os.urandom(16)
        )
        message = made.message
        assert await amelie.write(lambda work, f=frame, m=message: take(work, f, m)) is Taken.DONE  # type: ignore[misc]
    return await amelie.row()


async def _commit(group: object, added: KeyPackage) -> object:
    from pli_protocol.mls import Add

    from .lone import roster

    return group.commit(  # type: ignore[attr-defined]
        [Add(added)], authenticated_data=roster(added), identity=EVERYBODY, now=None
    )


async def test_a_statement_that_somebody_else_signed_makes_no_partner(world: World) -> None:
    async with alone(world, "amelie") as (amelie,):
        own = amelie.engine.around.trust.own.establishment
        now = int(QUICK.clock())
        by_the_partner = sign(
            PartnerStatement(
                own, PONT.name, fingerprint(PONT.authority_key.public), now + DAY, now
            ),
            PONT.authority_key,
        )
        assert await took(amelie, listed(by_the_partner)) == ["signature"]
        genuine = statement(world, until=now + DAY, time=now)
        longer = genuine.replace((now + DAY).to_bytes(4, "big"), (now + 9 * DAY).to_bytes(4, "big"))
        assert longer != genuine
        assert await took(amelie, listed(longer)) == ["signature"]
        assert not await vouched(amelie)
        assert await amelie.read(partner_store.all_partners) == []


async def test_another_certificate_under_the_partners_name_makes_no_partner(world: World) -> None:
    async with alone(world, "amelie") as (amelie,):
        now = int(QUICK.clock())
        genuine = statement(world, until=now + DAY, time=now)
        impostor = TestEstablishment(PONT.name)
        assert await took(amelie, listed(genuine, impostor.authority)) == ["fingerprint"]
        assert not await vouched(amelie)
        assert await took(amelie, listed(genuine)) == ["partner"]
        assert await vouched(amelie)


async def test_a_statement_of_before_does_not_bring_a_partnership_back(world: World) -> None:
    async with alone(world, "amelie") as (amelie,):
        now = int(QUICK.clock())
        first = statement(world, until=now + DAY, time=now)
        ended = statement(world, until=now + 1, time=now + 1)
        await took(amelie, listed(first))
        await took(amelie, listed(ended))
        assert await took(amelie, listed(first)) == []
        assert not await vouched(amelie, now + 2)
        (row,) = await amelie.read(partner_store.all_partners)
        assert row.ends_at == (now + 1) * 1000
        # It holds in the vault as well.
        again = await amelie.read(
            lambda db: db.execute(
                "SELECT partner_statement FROM establishments WHERE own = 0"
            ).fetchone()
        )
        assert again is not None
        assert again[0] == ended


async def test_people_whom_the_relay_routes_without_a_partnership_are_not_let_in(
    world: World,
) -> None:
    """A member adds somebody of an establishment that one's own authority has not signed."""
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        stranger = package(PONT.person().device())
        commit = await _adds(bruno, row.group_id, stranger)
        now = int(QUICK.clock() * 1000)
        frame = row_after(row, bruno.own.device_id, "commit", commit, time=now)
        assert await amelie.write(lambda work: take(work, frame, commit)) is Taken.DONE
        assert (await amelie.row()).state == "refused"


async def test_somebody_of_a_partner_is_let_in_until_the_partnership_is_over(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        now = int(QUICK.clock())
        await took(amelie, listed(statement(world, until=now + DAY, time=now)))
        guest = PONT.person("Gaston Petit").device()
        row = await adds(amelie, bruno, guest)
        assert row.state == "active"
        members = await amelie.read(lambda db: groups.members(db, row.group_id))
        assert guest.id in {m.device_id for m in members}
        # A row that the relay took when the partnership had been over for long.
        later = replace(QUICK, clock=lambda: QUICK.clock() + 3 * DAY)
        amelie.engine.around = replace(amelie.engine.around, timing=later)
        second = package(PONT.person().device())
        group = await bruno.group(row.group_id)
        made = await _commit(group, second)
        frame = row_after(
            row,
            bruno.own.device_id,
            "commit",
            made.message,  # type: ignore[attr-defined]
            time=(now + 3 * DAY) * 1000,
            send_id=b"z" * 16,
        )
        message = made.message  # type: ignore[attr-defined]
        assert await amelie.write(lambda work: take(work, frame, message)) is Taken.DONE
        assert (await amelie.row()).state == "refused"


async def test_nobody_of_an_ended_partnership_is_added_by_this_device(world: World) -> None:
    async with alone(world, "amelie") as (amelie,):
        now = int(QUICK.clock())
        data = encode(package(PONT.person().device()))
        await took(amelie, listed(statement(world, until=now + DAY, time=now)))
        await amelie.write(lambda work: candidates.check(work, data, None))
        await took(amelie, listed(statement(world, until=now + 1, time=now + 1)))
        later = replace(QUICK, clock=lambda: QUICK.clock() + 2)
        amelie.engine.around = replace(amelie.engine.around, timing=later)
        with pytest.raises(ProfileError, match="not-partner"):
            await amelie.write(lambda work: candidates.check(work, data, None))


async def goes(amelie: Lone, row: groups.GroupRow, now: int | None = None) -> parting.Parting:
    """Who has to go, in Amélie's eyes."""
    if now is not None:
        later = replace(QUICK, clock=lambda: float(now))
        amelie.engine.around = replace(amelie.engine.around, timing=later)

    def step(work: Work) -> parting.Parting:
        group = work.load(row.group_id)
        assert group is not None
        return parting.parting(work, group, groups.members(work.db, row.group_id))

    return await amelie.write(step)


async def test_when_it_is_over_guests_go_from_our_house(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        now = int(QUICK.clock())
        until = now + DAY
        await took(amelie, listed(statement(world, until=until, time=now)))
        guest = PONT.person("Gaston Petit").device()
        row = await adds(amelie, bruno, guest)
        before = await goes(amelie, row)
        assert (before.removed, before.leave) == ((), False)
        assert before.look_again == until + DAY + 1
        # By a date, once a clock that is a day late would agree; by a signed end, at once.
        assert (await goes(amelie, row, until + DAY)).removed == ()
        members = await amelie.read(lambda db: groups.members(db, row.group_id))
        leaf = next(m.leaf for m in members if m.device_id == guest.id)
        assert (await goes(amelie, row, until + DAY + 1)).removed == (leaf,)
        await took(amelie, listed(statement(world, until=now + 1, time=now + 1)))
        assert (await goes(amelie, row, now + 2)).removed == (leaf,)


async def test_when_it_is_over_we_go_from_a_house_that_is_not_ours(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        now = int(QUICK.clock())
        await took(amelie, listed(statement(world, until=now + DAY, time=now)))
        people = [PONT.person(f"Personne {n}").device() for n in range(3)]
        row = await adds(amelie, bruno, *people)
        await took(amelie, listed(statement(world, until=now + 1, time=now + 1)))
        assert await goes(amelie, row, now + 2) == parting.Parting(leave=True)


async def test_a_partner_revokes_its_own_people_and_nobody_of_ours(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        now = int(QUICK.clock())
        await took(amelie, listed(statement(world, until=now + DAY, time=now)))
        trust = amelie.engine.around.trust
        guest = PONT.person().device()
        chain = trust.device(guest.chain, now)
        entries = tuple(
            RevocationEntry("device", device, "lost", now)
            for device in (guest.id, bruno.own.device_id)
        )
        revoked = RevocationList(PONT.id, 1, bytes(32), entries, now)
        trust.accept_revocations(sign(revoked, PONT.issuer_key, (PONT.issuer,)))
        assert trust.refuses(chain) is not None
        assert trust.refuses(bruno.own.device) is None


async def test_a_relay_that_says_open_and_shows_people_shows_nobody(world: World) -> None:
    """No statement, a made-up list, a directory of strangers: nothing of it reaches a person."""
    stranger = PONT.person("Gaston Petit")
    forged = listed(PONT.trusts(PONT))

    def routed(frame: RelayFrame) -> Iterable[RelayFrame]:
        match frame:
            case Partners(rid):
                return (Partners(rid, tuple(forged)),)
            case Directory(rid, found, after):
                chain = (stranger.certificate, PONT.issuer)
                return (Directory(rid, (*found, chain), after),)
        return (frame,)

    from ..system.team import together

    async with hostile_relay(world) as relay:
        relay.change = routed
        async with together(world, "amelie") as (amelie,):
            await amelie.engine.partners.refresh()
            assert await amelie.partners() == []
            names = [person.name for person in await amelie.people(refresh=True)]
            assert "Gaston Petit" not in names
