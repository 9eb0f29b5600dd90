"""A Welcome is taken from whom, and for what, Pli says; never twice, never back to an older epoch."""

from dataclasses import replace

import pytest

from pli_client.engine import joining, key_package_stock, sending
from pli_client.engine.work import Work
from pli_client.store import conversations, groups
from pli_protocol.content import Post, TextPart
from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.codec import decode, encode
from pli_protocol.mls.extension import Extension
from pli_protocol.mls.key_package import KeyPackage
from pli_protocol.mls.message import MLSMessage
from pli_protocol.mls.welcome import EncryptedGroupSecrets, Welcome

from ..system.world import World
from .lone import Lone, alone, blob, welcome_frame


async def _offer(who: Lone, *arguments: object, **options: object) -> joining.Outcome:
    frame = welcome_frame(*arguments, **options)  # type: ignore[arg-type]
    data = frame.welcome
    assert isinstance(data, bytes)
    return await who.write(lambda work: joining.welcome(work, frame, data))


async def test_somebody_outside_cannot_replace_a_group_by_one_of_the_same_name(
    world: World,
) -> None:
    """Chloé is no member; with the relay's help she could name her group as the members' is named."""
    async with alone(world, "amelie", "chloe") as (amelie, chloe):
        row = await amelie.row()
        before = await amelie.entries(row.group_id)
        _, welcome = await chloe.opens(
            row.conversation_id, await amelie.key_package(), group_id=row.group_id, epochs=5
        )
        outcome = await _offer(amelie, row.group_id, welcome, chloe.own.device_id, seq=99)
        assert outcome.refused is not None
        assert await amelie.entries(row.group_id) == before
        assert (await amelie.row()).state == "active"


async def test_a_member_cannot_set_another_member_back_to_an_older_epoch(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        before = await amelie.entries(row.group_id)
        _, welcome = await bruno.opens(
            row.conversation_id, await amelie.key_package(), group_id=row.group_id
        )
        assert row.epoch >= 1
        outcome = await _offer(amelie, row.group_id, welcome, bruno.own.device_id, seq=99)
        assert outcome.refused is not None
        assert await amelie.entries(row.group_id) == before


async def test_a_welcome_wrapped_anew_does_not_bring_used_keys_back(world: World) -> None:
    """The list of secrets in a Welcome is not signed: the relay can add to it. A package of last
    resort opens it again, and the ratchet would begin at its first key a second time."""
    async with alone(world, "amelie", "chloe") as (amelie, chloe):
        conversation, group_id = b"c" * 16, b"n" * 32
        package = await amelie.key_package(last_resort=True)
        _, welcome = await chloe.opens(conversation, package)
        first = await _offer(amelie, group_id, welcome, chloe.own.device_id)
        assert first.conversation_id == conversation

        def write(work: Work) -> int:
            sending.queue(work, conversation, Post((TextPart("une fois"),)))
            now = groups.read(work.db, group_id)
            assert now is not None
            return sending.seal_waiting(work, now, 1)

        assert await amelie.write(write) == 1
        before = await amelie.entries(group_id)
        body = decode(MLSMessage, welcome).body
        assert isinstance(body, Welcome)
        extra = EncryptedGroupSecrets(b"?" * 32, body.secrets[0].encrypted_group_secrets)
        again = encode(MLSMessage(replace(body, secrets=(*body.secrets, extra))))
        outcome = await _offer(amelie, group_id, again, chloe.own.device_id, item=b"j" * 16)
        assert outcome.refused is not None
        assert await amelie.entries(group_id) == before


async def test_a_member_cannot_split_a_conversation_past_the_relay(world: World) -> None:
    """The relay takes one successor of a group; a group that names none is no successor."""
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        group, welcome = await bruno.opens(row.conversation_id, await amelie.key_package())
        outcome = await _offer(amelie, group.group_id, welcome, bruno.own.device_id)
        assert outcome.refused == "successor-predecessor"
        assert await amelie.row() == row


async def test_a_successor_that_the_relay_names_is_taken(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        group, welcome = await bruno.opens(row.conversation_id, await amelie.key_package())
        outcome = await _offer(
            amelie, group.group_id, welcome, bruno.own.device_id, predecessor=row.group_id
        )
        assert outcome.refused is None
        assert (await amelie.row()).predecessor == row.group_id


@pytest.mark.parametrize("extensions", [(), (Extension(0xF0C0, b"c" * 15),)])
async def test_a_group_of_another_profile_is_not_entered(
    world: World, extensions: tuple[Extension, ...]
) -> None:
    async with alone(world, "amelie", "chloe") as (amelie, chloe):
        package = await amelie.key_package()
        group, welcome = await chloe.opens(b"c" * 16, package, extensions=extensions)
        outcome = await _offer(amelie, group.group_id, welcome, chloe.own.device_id)
        assert outcome.refused in ("group-extensions", "conversation-id")


async def test_a_welcome_that_cannot_be_fetched_does_not_hold_up_the_queue(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        frame = welcome_frame(b"n" * 32, blob(2**40), bruno.own.device_id)
        await amelie.engine.inflow._notice(frame)
        assert [type(sent).__name__ for sent in amelie.sent][0] == "AcknowledgeWelcome"


async def test_a_conversation_does_not_go_back_to_a_suite_of_before(world: World) -> None:
    """A member could, and then all who record the traffic would have a quantum computer's chance."""
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        old = await amelie.write(lambda work: key_package_stock.make(work, used=suite(0x0003)))
        package = decode(KeyPackage, old.key_package)
        before = await amelie.entries(row.group_id)
        _, welcome = await bruno.opens(row.conversation_id, package, used=suite(0x0003))
        outcome = await _offer(
            amelie, b"n" * 32, welcome, bruno.own.device_id, predecessor=row.group_id
        )
        assert outcome.refused == "suite"
        assert await amelie.entries(row.group_id) == before
        # The same under today's suite is a successor like any other.
        _, welcome = await bruno.opens(row.conversation_id, await amelie.key_package())
        outcome = await _offer(
            amelie,
            b"n" * 32,
            welcome,
            bruno.own.device_id,
            predecessor=row.group_id,
            item=b"j" * 16,
        )
        assert outcome.refused is None


async def test_a_new_conversation_of_the_suite_before_is_entered_with_a_key_package_of_then(
    world: World,
) -> None:
    """Somebody who has not updated claimed it before this device did."""
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        old = await amelie.write(lambda work: key_package_stock.make(work, used=suite(0x0003)))
        package = decode(KeyPackage, old.key_package)
        _, welcome = await bruno.opens(b"c" * 16, package, used=suite(0x0003))
        outcome = await _offer(amelie, b"n" * 32, welcome, bruno.own.device_id)
        assert outcome == joining.Outcome(b"c" * 16)
        assert (await amelie.group(b"n" * 32)).suite.number == 0x0003


async def test_a_group_of_a_suite_that_pli_never_used_is_refused(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        other = await amelie.write(lambda work: key_package_stock.make(work, used=suite(0x0001)))
        package = decode(KeyPackage, other.key_package)
        _, welcome = await bruno.opens(b"c" * 16, package, used=suite(0x0001))
        outcome = await _offer(amelie, b"n" * 32, welcome, bruno.own.device_id)
        assert outcome.refused == "suite"


@pytest.mark.parametrize("state", ["active", "lost", "removed", "left"])
async def test_a_group_does_not_go_back_to_a_suite_of_before_under_its_own_name(
    world: World, state: str
) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()

        def out(work: Work) -> None:
            groups.set_state(work.db, row.group_id, state)
            if state != "active":
                work.forget(row.group_id)
            if state in ("removed", "left"):
                conversations.set_state(work.db, row.conversation_id, state)

        await amelie.write(out)
        old = await amelie.write(lambda work: key_package_stock.make(work, used=suite(0x0003)))
        _, welcome = await bruno.opens(
            row.conversation_id,
            decode(KeyPackage, old.key_package),
            used=suite(0x0003),
            group_id=row.group_id,
            epochs=row.epoch + 3,
        )
        outcome = await _offer(amelie, row.group_id, welcome, bruno.own.device_id, seq=99)
        assert outcome.refused == "suite"
        assert (await amelie.row()).state == state
