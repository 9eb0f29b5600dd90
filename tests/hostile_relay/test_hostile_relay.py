"""What a relay can do to those who use it: delay and withhold. Not: add, alter, double, reorder."""

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from pli_client.store import log_rows, people
from pli_protocol.mls import X509Credential
from pli_protocol.mls.codec import encode
from pli_protocol.mls.framing import ContentType
from pli_protocol.mls.message import MLSMessage
from pli_protocol.mls.private_message import PrivateMessage
from pli_protocol.relay.frames import (
    Directory,
    KeyPackages,
    RelayFrame,
    Row,
    Rows,
    WelcomeWaiting,
)
from pli_protocol.relay.log import RosterChange, chain_hash

from ..faults.cast import Cast
from ..system.checker import check
from ..system.hostile_member import ghost
from ..system.world import TITLE, World
from .proxy import hostile_relay

pytestmark = pytest.mark.processes


async def test_rows_and_welcomes_that_come_twice_are_shown_once(world: World) -> None:
    doubled: list[type] = []

    def twice(frame: RelayFrame) -> Iterable[RelayFrame]:
        match frame:
            case Row() | WelcomeWaiting():
                doubled.append(type(frame))
                return frame, frame
            case Rows(rid, rows, last):
                return (Rows(rid, tuple(row for row in rows for _ in range(2)), last),)
        return (frame,)

    async with hostile_relay(world) as relay, Cast(world) as cast:
        relay.change = twice
        amelie, bruno, chloe = [await cast.open(who) for who in ("amelie", "bruno", "chloe")]
        conversation = await amelie.conversation(TITLE)
        await cast.say(amelie, conversation, "Un", "Deux", "Trois")
        await amelie.add(conversation, cast.name("chloe"))
        await chloe.conversation(TITLE)
        await cast.say(chloe, conversation, "Quatre")
        await bruno.received("Quatre")
        await cast.settled()
        assert {Row, WelcomeWaiting} <= set(doubled)
    await check(world, cast.acknowledged)


@dataclass
class Disorder:
    """Holds rows back, swaps them, repeats old ones, drops some; by a seed."""

    seed: int
    held: list[RelayFrame] = field(default_factory=list)
    old: list[RelayFrame] = field(default_factory=list)
    dropped: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def __call__(self, frame: RelayFrame) -> Iterable[RelayFrame]:
        if not isinstance(frame, Row):
            yield frame
            return
        self.old.append(frame)
        match self.chance.randrange(6):
            case 0:
                self.dropped += 1
            case 1:
                yield frame
                yield self.chance.choice(self.old)
            case 2:
                yield self.chance.choice(self.old)
                yield frame
            case _:
                yield frame


@pytest.mark.parametrize("seed", range(4))
async def test_rows_that_are_dropped_repeated_and_mixed_up_end_in_one_history(
    world: World, seed: int
) -> None:
    async with hostile_relay(world) as relay, Cast(world) as cast:
        # Each person is disturbed by itself: old rows come from the same connection or another's.
        disorder = Disorder(seed)
        relay.change = disorder
        amelie, bruno, chloe = [await cast.open(who) for who in ("amelie", "bruno", "chloe")]
        conversation = await amelie.conversation(TITLE)
        for number in range(10):
            await cast.say(amelie, conversation, f"Amélie {number}")
            await cast.say(bruno, conversation, f"Bruno {number}")
            if number == 3:
                await amelie.add(conversation, cast.name("chloe"))
            if number == 6:
                await relay.cut()
        assert disorder.dropped > 0
        relay.change = lambda frame: (frame,)
        await relay.cut()
        await chloe.conversation(TITLE)
        await cast.settled()
    await check(world, cast.acknowledged)


@pytest.mark.parametrize("chained", [False, True], ids=["row alone", "row and its chain"])
async def test_a_row_that_the_relay_altered_is_never_shown(world: World, chained: bool) -> None:
    async with hostile_relay(world) as relay, Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        conversation = await amelie.conversation(TITLE)
        await cast.say(amelie, conversation, "Avant")
        await bruno.received("Avant")
        group = await bruno.group(conversation)
        relay.change = Alteration(group.chain, chained)
        await cast.say(amelie, conversation, "5 mg matin et soir")
        aside = await bruno.until(lambda db: log_rows.set_aside(db))
        assert aside[0].seq == group.next_seq
        assert (await bruno.group(conversation)).state == ("active" if chained else "stopped")
        texts = [m.text for m in await (await bruno.client.conversation(TITLE)).page()]
        assert texts[-1] == "Avant"
        assert not [text for text in texts if "mg" in text]


@dataclass
class Alteration:
    """Flips the last byte of every row but the sender's own, and may compute the chain for it."""

    chain: bytes
    chained: bool

    def __call__(self, frame: RelayFrame) -> Iterable[RelayFrame]:
        if not isinstance(frame, Row) or not isinstance(frame.message, bytes):
            return (frame,)
        message = frame.message[:-1] + bytes((frame.message[-1] ^ 1,))
        chain = frame.chain
        if self.chained:
            chain = chain_hash(
                self.chain,
                frame.group,
                frame.position,
                frame.epoch,
                frame.kind,
                frame.sender,
                frame.send_id,
                message,
            )
        return (msgspec.structs.replace(frame, message=message, chain=chain),)


async def test_a_key_package_of_a_ghost_with_a_colleagues_name_adds_nobody(world: World) -> None:
    def ghosts(frame: RelayFrame) -> Iterable[RelayFrame]:
        match frame:
            case KeyPackages(rid, claimed):
                forged = encode(ghost("Chloé Martin", int(time.time())))
                swapped = [msgspec.structs.replace(c, key_package=forged) for c in claimed]
                return (KeyPackages(rid, tuple(swapped)),)
        return (frame,)

    await _adds_nobody(world, ghosts)


async def test_a_key_package_of_another_colleague_adds_nobody(world: World) -> None:
    kept: dict[str, bytes] = {}

    def swapped(frame: RelayFrame) -> Iterable[RelayFrame]:
        match frame:
            case KeyPackages(rid, claimed) if "other" in kept:
                return (
                    KeyPackages(
                        rid,
                        tuple(
                            msgspec.structs.replace(c, key_package=kept["other"]) for c in claimed
                        ),
                    ),
                )
            case KeyPackages(claimed=claimed):
                kept["other"] = claimed[0].key_package
        return (frame,)

    await _adds_nobody(world, swapped, claim_first="dui")


async def _adds_nobody(world: World, change: Any, claim_first: str | None = None) -> None:
    async with hostile_relay(world) as relay, Cast(world) as cast:
        relay.change = change
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        conversation = await amelie.conversation(TITLE)
        await amelie.client.online()
        if claim_first is not None:
            other = await amelie.person(cast.name(claim_first))
            await amelie.engine.claim([other.address])
        await amelie.add(conversation, cast.name("chloe"))
        await amelie.until(
            lambda db: db.execute("SELECT 1 FROM intents WHERE state = 'failed'").fetchone()
        )
        await cast.say(amelie, conversation, "Toujours nous deux")
        await bruno.received("Toujours nous deux")
        for actor in (amelie, bruno):
            await actor.members(conversation, cast.name("amelie"), cast.name("bruno"))
        relay.change = lambda frame: (frame,)
        await cast.settled()
    await check(world, cast.acknowledged)


async def test_a_ghost_in_the_directory_is_not_shown(world: World) -> None:
    credential = ghost("Chloé Martin", int(time.time())).leaf_node.credential
    assert isinstance(credential, X509Credential)
    _, person, issuer = credential.certificates

    def haunted(frame: RelayFrame) -> Iterable[RelayFrame]:
        match frame:
            case Directory(rid, found, after):
                return (Directory(rid, (*found, (person, issuer)), after),)
        return (frame,)

    async with hostile_relay(world) as relay, Cast(world) as cast:
        relay.change = haunted
        amelie = await cast.open("amelie")
        await amelie.person(cast.name("david"))
        known = await amelie.engine.read(people.all_people)
        assert [p.name for p in known].count("Chloé Martin") == 1
        own = amelie.engine.own.device.person.establishment
        assert {p.establishment for p in known} == {own}


async def test_an_old_welcome_that_is_replayed_sets_nobody_back(world: World) -> None:
    welcomes: list[WelcomeWaiting] = []

    def replaying(frame: RelayFrame) -> Iterable[RelayFrame]:
        if isinstance(frame, WelcomeWaiting):
            welcomes.append(frame)
        if isinstance(frame, Row) and welcomes and frame.group == welcomes[0].group:
            return frame, welcomes[0]
        return (frame,)

    async with hostile_relay(world) as relay, Cast(world) as cast:
        relay.change = replaying
        bruno, chloe = await cast.open("bruno"), await cast.open("chloe")
        urgent = await bruno.start("Urgence", cast.name("chloe"))
        await chloe.conversation("Urgence")
        await cast.say(bruno, urgent, "Un", "Deux", "Trois")
        await cast.say(chloe, urgent, "Quatre")
        await bruno.add(urgent, cast.name("amelie"))
        await cast.say(bruno, urgent, "Cinq")
        await chloe.received("Cinq")
        await cast.say(chloe, urgent, "Six")
        assert welcomes
        await cast.settled()
    await check(world, cast.acknowledged)


async def test_a_commit_that_the_relay_makes_up_changes_no_members(world: World) -> None:
    """Bruno is shown a commit, as if by Amélie, that removes her, in the place of her message."""
    async with hostile_relay(world) as relay, Cast(world) as cast:
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        conversation = await amelie.conversation(TITLE)
        for actor in (amelie, bruno):
            await actor.settled()
        group = await bruno.group(conversation)
        relay.change = Forgery(group.chain, amelie.engine.own.device_id)
        await amelie.send(conversation, "Ceci n'est pas un changement")
        aside = await bruno.until(lambda db: log_rows.set_aside(db))
        assert [(row.seq, row.kind) for row in aside] == [(group.next_seq, "commit")]
        members = await (await bruno.client.conversation(conversation)).members()
        both = {cast.name("amelie"), cast.name("bruno")}
        assert {member.person.name for member in members} == both
        assert (await bruno.group(conversation)).state == "refused"


@dataclass
class Forgery:
    """Puts a commit of the relay's making where a message of the victim stands, with its chain."""

    chain: bytes
    victim: bytes

    def __call__(self, frame: RelayFrame) -> Iterable[RelayFrame]:
        if not isinstance(frame, Row) or frame.kind != "application":
            return (frame,)
        commit = PrivateMessage(
            frame.group,
            frame.epoch,
            ContentType.COMMIT,
            RosterChange((), (self.victim,)).encode(),
            bytes(44),
            bytes(200),
        )
        message = encode(MLSMessage(commit))
        chain = chain_hash(
            self.chain,
            frame.group,
            frame.position,
            frame.epoch,
            "commit",
            frame.sender,
            frame.send_id,
            message,
        )
        return (msgspec.structs.replace(frame, kind="commit", message=message, chain=chain),)
