"""Nobody is added whom a person did not name: not by the relay's key packages, not by old requests."""

import pytest

from pli_client.engine import candidates, committing, founding, returning
from pli_client.engine.profile import SUITE, ProfileError, capabilities, lifetime
from pli_client.engine.work import Work
from pli_client.store import conversations, groups, mls_state
from pli_client.vault import Database
from pli_protocol.identity import ReturnRequest, SigningKey, make_device, sign
from pli_protocol.mls import SignatureKeyPair, X509Credential, generate_key_package
from pli_protocol.mls.codec import encode
from pli_protocol.relay.log import RosterChange
from pli_protocol.secret import Secret

from ..system.world import World
from .lone import Lone, alone, row_after


async def _claimed(*people: Lone) -> list[list[bytes]]:
    """What the relay answers to a claim, these people's key packages in it."""
    return [[who.own.account, who.own.device_id, encode(await who.key_package())] for who in people]


async def _pending(who: Lone, group_id: bytes) -> RosterChange:
    pending = await who.read(lambda db: mls_state.pending(db, group_id))
    assert pending is not None
    return RosterChange.decode(pending.roster)


async def test_a_relay_that_answers_with_somebody_elses_key_package_too_adds_nobody_by_it(
    world: World,
) -> None:
    async with alone(world, "amelie", "chloe", "dui") as (amelie, chloe, dui):
        row = await amelie.row()
        claimed = await _claimed(chloe, dui)
        body = {"accounts": [chloe.own.account], "claimed": claimed}

        def step(work: Work) -> bool:
            conversations.add_intent(work.db, row.conversation_id, "add", dict(body), work.now)
            return committing.make(work, row, ())

        assert await amelie.write(step)
        assert (await _pending(amelie, row.group_id)).added == (chloe.own.device_id,)


async def test_a_relay_cannot_put_a_guest_into_a_new_conversation(world: World) -> None:
    async with alone(world, "amelie", "chloe", "dui") as (amelie, chloe, dui):
        claimed = await _claimed(chloe, dui)

        def step(work: Work) -> bytes:
            conversation = founding.start(work, "À deux", [chloe.own.account], "team")
            (intent,) = conversations.intents(work.db, conversation)
            candidates.keep_claimed(work, conversation, intent.id, claimed)  # type: ignore[arg-type]
            (intent,) = conversations.intents(work.db, conversation)
            assert founding.create(work, intent)
            found = groups.current(work.db, conversation)
            assert found is not None
            return found.group_id

        group_id = await amelie.write(step)
        assert (await _pending(amelie, group_id)).added == (chloe.own.device_id,)


async def test_another_person_under_the_same_account_is_not_the_one_who_was_named(
    world: World,
) -> None:
    """A person is the pair of authority and identity key; the account alone proves nothing."""
    async with alone(world, "amelie", "chloe") as (amelie, chloe):
        row = await amelie.row()
        body = {
            "accounts": [chloe.own.account],
            "persons": [b"somebody else..."],
            "claimed": await _claimed(chloe),
        }

        def step(work: Work) -> bool:
            conversations.add_intent(work.db, row.conversation_id, "add", dict(body), work.now)
            return committing.make(work, row, ())

        assert not await amelie.write(step)


async def _asks(amelie: Lone, who: Lone, row: groups.GroupRow) -> bytes:
    """A request to return of somebody, due now at Amélie."""
    package = encode(await who.key_package())

    def step(work: Work) -> None:
        wanted = groups.ReturnRow(who.own.device_id, who.own.person_id, package, 9, work.now)
        groups.add_return(work.db, row.group_id, wanted, "damaged")

    await amelie.write(step)
    return package


async def test_a_request_of_somebody_who_was_removed_meanwhile_brings_nobody_back(
    world: World,
) -> None:
    async with alone(world, "amelie", "chloe") as (amelie, chloe):
        row = await amelie.row()
        await _asks(amelie, chloe, row)  # Chloé is no member (any more)
        assert not await amelie.write(lambda work: committing.make(work, row, ()))
        assert await amelie.read(lambda db: groups.returns(db, row.group_id)) == []


async def test_who_is_being_removed_does_not_return_by_the_same_commit(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        await _asks(amelie, bruno, row)
        person = bruno.own.person_id

        def step(work: Work) -> bool:
            body: dict[str, object] = {"person": person}
            conversations.add_intent(work.db, row.conversation_id, "remove", body, work.now)
            return committing.make(work, row, ())

        assert await amelie.write(step)
        assert await _pending(amelie, row.group_id) == RosterChange((), (bruno.own.device_id,))


async def test_a_device_asks_for_itself_and_for_no_other(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        now = int(bruno.engine.timing.clock())

        def keys(db: Database) -> bytes:
            found = db.execute("SELECT identity_key FROM device").fetchone()
            assert found is not None
            return bytes(found[0])

        identity = SigningKey.from_seed(Secret(await bruno.read(keys)))
        other = SigningKey.generate()
        _, person, issuer = bruno.own.chain
        chain = (make_device(identity, person, other.public, now=now), person, issuer)
        package, _ = generate_key_package(
            SUITE,
            X509Credential(chain),
            SignatureKeyPair(other.public, other.seed),
            lifetime=lifetime(now),
            capabilities=capabilities(),
        )
        request = ReturnRequest(row.group_id, bruno.own.device_id, encode(package), "x", None, now)
        data = sign(request, bruno.own.key, bruno.own.chain)
        frame = row_after(row, bruno.own.device_id, "return", data)
        with pytest.raises(ProfileError, match="return-key-package"):
            await amelie.write(lambda work: returning.asked(work, row, frame, data))
