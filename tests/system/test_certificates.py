"""Certificates that follow each other: renewed at two thirds, another name or end, accounts that end."""

import sqlite3
import time

import msgspec
import pytest

from pli_client.connection import Online
from pli_client.engine import committing
from pli_client.engine.engine import Engine
from pli_client.engine.timing import Timing
from pli_client.errors import AccountEnded
from pli_client.issuer import Issuer
from pli_client.store import groups
from pli_client.store.device import read_device

from ..faults.cast import Cast
from .actor import QUICK, Actor
from .revocations import aged
from .test_revocation import refusal_of
from .world import PASSPHRASE, PEOPLE, TITLE, World

pytestmark = pytest.mark.processes

BRUNO = PEOPLE["bruno"].name
DAY = 86400


async def change(world: World, **what: object) -> None:
    """The establishment signs Bruno anew."""
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
        await issuer.change((await issuer.find(BRUNO)).account, **what)  # type: ignore[arg-type]
        await issuer.publish()


async def leaf_certificate(actor: Actor, conversation: bytes, name: str) -> bytes:
    """What somebody's leaf bears in the conversation's group, as this actor sees it."""
    row = await actor.group(conversation)

    def look(work: object) -> bytes:
        group = work.load(row.group_id)  # type: ignore[attr-defined]
        for member in group.members():
            device = work.device(member)  # type: ignore[attr-defined]
            if device.person.name == name:
                return bytes(device.chain[0])
        raise AssertionError(name)

    return await actor.engine.write(look)


@pytest.mark.parametrize(("days", "renewed"), [(260, False), (270, True)])
async def test_a_device_certificate_renews_itself_at_two_thirds(
    world: World, days: int, renewed: bool
) -> None:
    await world.relay.start()
    old = await aged(world, "bruno", days)
    async with Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        await bruno.ready()
        conversation = await amelie.conversation(TITLE)
        await cast.say(bruno, conversation, "Toujours là")
        await amelie.received("Toujours là")
        assert (bruno.engine.own.chain[0] != old) == renewed
        await cast.settled()
        seen = await leaf_certificate(amelie, conversation, BRUNO)
        # Until then the leaf bore the certificate of its enrolment.
        assert seen == bruno.engine.own.chain[0]
        kept = await bruno.vault.read(read_device)
        assert kept is not None
        assert kept.chain == bruno.engine.own.chain


async def test_another_name_reaches_the_device_and_everybody_while_they_are_online(
    world: World,
) -> None:
    await world.relay.start()
    async with Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        conversation = await amelie.conversation(TITLE)
        person = bruno.engine.own.person_id
        await amelie.client.online()
        await bruno.client.online()
        await change(world, name="Bruno Leroy-Petit", profession="Infirmier")
        named = "SELECT name FROM people WHERE person_id = ?"
        for actor in (amelie, bruno):
            await actor.until(
                lambda db: db.execute(named, (person,)).fetchall() == [("Bruno Leroy-Petit",)]
            )
        await cast.say(bruno, conversation, "Nouveau nom")
        await amelie.received("Nouveau nom")
        assert bruno.client.person.name == "Bruno Leroy-Petit"
        assert bruno.engine.own.person_id == person
        await cast.settled()
        assert (
            await leaf_certificate(amelie, conversation, "Bruno Leroy-Petit")
            == (bruno.engine.own.chain[0])
        )


async def test_an_account_that_ended_says_so_and_goes_on_by_itself_once_it_is_extended(
    world: World,
) -> None:
    await world.relay.start()
    end = int(time.time()) + 3600
    await change(world, ends_at=end * 1000)
    async with await Actor.open(world.vault("bruno"), PASSPHRASE) as bruno:
        await bruno.client.online()
        await bruno.until(lambda db: ends_of(db) == end)
    # An hour and a day later, as far as the relay and Bruno can tell.
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
        row = await issuer.find(BRUNO)
        assert issuer.ends(row) == end * 1000
    await world.relay.stop()
    with sqlite3.connect(world.folder / "relay" / "relay.db") as db:
        db.execute("UPDATE accounts SET ends = 1000 WHERE ends IS NOT NULL")
    await world.relay.start()
    later = Timing(**{**fields(QUICK), "clock": lambda: time.time() + 2 * 3600})
    async with await Actor.open(world.vault("bruno"), PASSPHRASE, later) as bruno:
        assert isinstance(await refusal_of(bruno), AccountEnded)
    await change(world, ends_at="never")
    async with await Actor.open(world.vault("bruno"), PASSPHRASE, later) as bruno:
        await bruno.client.online(30)
        assert isinstance(bruno.engine.connection.state, Online)
        await bruno.until(lambda db: ends_of(db) is None)


def fields(timing: Timing) -> dict[str, object]:
    return {name: getattr(timing, name) for name in timing.__dataclass_fields__}


def ends_of(db: object) -> int | None:
    """The end of the account in the vault's own chain."""
    from pli_protocol.identity import Trust

    row = db.execute("SELECT chain, authority FROM device, establishments").fetchone()  # type: ignore[attr-defined]
    chain = msgspec.msgpack.decode(row[0], type=tuple[bytes, bytes, bytes])
    return Trust(row[1]).device(chain, None).person.not_after


async def test_members_remove_who_has_ended_unless_their_clock_is_in_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.relay.start()
    await change(world, ends_at=int(time.time() + 3600) * 1000)
    async with Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        conversation = await amelie.conversation(TITLE)
        await cast.say(bruno, conversation, "Mon dernier mois")
        await amelie.received("Mon dernier mois")
        await cast.settled()
        for actor in (amelie, bruno):
            await actor.close()
        ahead = Timing(**{**fields(QUICK), "clock": lambda: time.time() + 3 * DAY})
        amelie = await cast.open("amelie", ahead)
        await amelie.client.online()
        await cast.say(amelie, conversation, "Mon horloge avance")
        assert amelie.engine.around.clock_doubtful
        assert await in_group(amelie, conversation) == 2
        await amelie.close()
        monkeypatch.setattr(Engine, "_compare_clocks", lambda self, time: None)
        amelie = await cast.open("amelie", ahead)
        await cast.say(amelie, conversation, "Trois jours plus tard")
        assert await in_group(amelie, conversation) == 1
        cast.revoked |= {"bruno"}


async def in_group(actor: Actor, conversation: bytes) -> int:
    row = await actor.group(conversation)
    return len(await actor.engine.read(lambda db: groups.members(db, row.group_id)))


def test_an_end_counts_a_day_later_for_clients() -> None:
    assert committing.CLOCK_TOLERANCE == DAY
