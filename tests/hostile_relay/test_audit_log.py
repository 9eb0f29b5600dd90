"""A relay that rewrites, cuts or forks its audit log, or does not prove it: told, with the evidence kept.

Each of these relays holds the real log key, so every head but one is signed as it should be. Messages go
on in every case.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from pli_client.store import log_heads
from pli_client.vault import Database
from pli_protocol.identity import SigningKey
from pli_protocol.relay.frames import Consistency, GetConsistency, Refused, RelayFrame, SignedIn
from pli_protocol.transparency import (
    Frontier,
    SignedHead,
    TreeHead,
    consistency_path,
    leaf_data,
    leaf_hash,
    root_of,
    sign_head,
    verify_head,
)
from pli_server.audit.acts import read_entry
from pli_server.backup.restoring import begin_timeline

from ..faults.cast import Cast
from ..system.actor import QUICK, Actor
from ..system.checker import check
from ..system.relay_process import HOST
from ..system.world import TITLE, World
from .proxy import HostileRelay, hostile_relay

pytestmark = pytest.mark.processes


def log_key(world: World) -> SigningKey:
    """The relay's own key: a hostile relay has it."""
    return SigningKey.from_seed(bytes.fromhex((world.relay.folder / "audit.key").read_text()))


def leaves(world: World) -> list[bytes]:
    """The leaf hashes of the honest relay's log."""
    rows = world.relay.query("SELECT kind, digest FROM trace_entries ORDER BY timeline, no")
    return [leaf_hash(leaf_data(str(kind), bytes(digest))) for kind, digest in rows]


async def caught(actor: Actor, reason: str) -> log_heads.Contradiction:
    """Until the vault holds evidence of it; whatever is kept was signed by the relay, or says why not."""
    (found, *_) = await actor.until(log_heads.contradictions)
    assert found.reason == reason
    pinned = await actor.engine.read(log_heads.read_key)
    assert pinned is not None
    if found.ours is not None:
        verify_head(*_signed_by(pinned, found.ours))
    if reason not in ("signature", "another-key"):
        verify_head(*_signed_by(pinned, found.other))
    kinds = await actor.engine.read(
        lambda db: [row[0] for row in db.execute("SELECT kind FROM events").fetchall()]
    )
    assert "log-contradicted" in kinds
    return found


def _signed_by(pinned: tuple[str, bytes], signed: SignedHead) -> tuple[str, SignedHead, bytes]:
    return pinned[0], signed, pinned[1]


async def in_good_faith(cast: Cast, *who: str) -> None:
    """They work for a while, are shown heads, and go."""
    actors = [await cast.open(one) for one in who]
    conversation = await actors[0].conversation(TITLE)
    await cast.say(actors[0], conversation, "Tout va bien")
    for actor in actors:
        await actor.received("Tout va bien")
        await actor.until(log_heads.newest)
        await actor.close()


Lie = Callable[[SignedIn, SigningKey, str], SignedIn]


def _head(signed_in: SignedIn, key: SigningKey, relay: str, **changes: object) -> SignedIn:
    head = msgspec.structs.replace(signed_in.head.head, **changes)
    return msgspec.structs.replace(signed_in, head=sign_head(relay, head, key))


def wrong_root(signed_in: SignedIn, key: SigningKey, relay: str) -> SignedIn:
    return _head(signed_in, key, relay, root=bytes(32))


def shorter(signed_in: SignedIn, key: SigningKey, relay: str) -> SignedIn:
    return _head(signed_in, key, relay, size=1)


def older_timeline(signed_in: SignedIn, key: SigningKey, relay: str) -> SignedIn:
    return _head(signed_in, key, relay, timeline=0)


def bad_signature(signed_in: SignedIn, key: SigningKey, relay: str) -> SignedIn:
    spoilt = SignedHead(signed_in.head.head, bytes(64))
    return msgspec.structs.replace(signed_in, head=spoilt)


def for_another_relay(signed_in: SignedIn, key: SigningKey, relay: str) -> SignedIn:
    return _head(signed_in, key, "another.example")


def another_key(signed_in: SignedIn, key: SigningKey, relay: str) -> SignedIn:
    other = SigningKey.generate()
    signed = _head(signed_in, other, relay)
    return msgspec.structs.replace(signed, log_key=other.public)


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (wrong_root, "inconsistent"),
        (shorter, "truncated"),
        (older_timeline, "set-back"),
        (bad_signature, "signature"),
        (for_another_relay, "signature"),
        (another_key, "another-key"),
    ],
)
async def test_a_false_head_at_sign_in_is_caught(world: World, lie: Lie, reason: str) -> None:
    """Red with `look` in engine/log_watch.py keeping every head unseen; each line of its own check too."""
    key = None

    def lying(frame: RelayFrame) -> Iterable[RelayFrame]:
        if isinstance(frame, SignedIn):
            assert key is not None
            return (lie(frame, key, HOST),)
        return (frame,)

    async with hostile_relay(world) as relay, Cast(world) as cast:
        await in_good_faith(cast, "amelie", "bruno")
        key = log_key(world)
        relay.change = lying
        amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
        await caught(amelie, reason)
        # A contradiction changes nothing about messages.
        await cast.say(amelie, await amelie.conversation(TITLE), "Malgré tout")
        await bruno.received("Malgré tout")
        relay.change = lambda frame: (frame,)
        await cast.settled()
    await check(world, cast.acknowledged)


async def test_a_relay_that_does_not_prove_consistency_is_caught(world: World) -> None:
    """Red where a refused proof counts as one that is put off."""

    def silent(frame: RelayFrame) -> Iterable[RelayFrame]:
        if isinstance(frame, Consistency):
            return (Refused("not-found", frame.rid),)
        return (frame,)

    async with hostile_relay(world) as relay, Cast(world) as cast:
        await in_good_faith(cast, "amelie")
        relay.change = silent
        amelie = await cast.open("amelie")
        kept = await amelie.engine.read(log_heads.newest)
        await caught(amelie, "refused")
        assert await amelie.engine.read(log_heads.newest) == kept


async def test_a_relay_that_puts_off_its_proofs_for_ever_is_caught(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red where what is put off is forgotten, or never counts as refused."""
    monkeypatch.setattr("pli_client.engine.log_watch.PUT_OFF", 3)
    hurried = replace(QUICK, prove_again=0.01)

    def busy(frame: RelayFrame) -> Iterable[RelayFrame]:
        if isinstance(frame, Consistency):
            return (Refused("try-later", frame.rid, retry_after=10),)
        return (frame,)

    async with hostile_relay(world) as relay, Cast(world) as cast:
        await in_good_faith(cast, "amelie")
        relay.change = busy
        amelie = await cast.open("amelie", hurried)
        found = await caught(amelie, "refused")
        assert found.by is None
        asked = [frame for frame in relay.asked if isinstance(frame, GetConsistency)]
        assert len(asked) >= 3


async def test_a_relay_that_is_busy_for_a_while_is_not_accused(world: World) -> None:
    """Red where a proof that was put off is not asked for again."""
    hurried, later = replace(QUICK, prove_again=0.01), iter([True, True])

    def busy(frame: RelayFrame) -> Iterable[RelayFrame]:
        if isinstance(frame, Consistency) and next(later, False):
            return (Refused("try-later", frame.rid, retry_after=10),)
        return (frame,)

    async with hostile_relay(world) as relay, Cast(world) as cast:
        await in_good_faith(cast, "amelie")
        relay.change = busy
        amelie = await cast.open("amelie", hurried)
        before = await amelie.engine.read(log_heads.newest)
        await amelie.until(lambda db: log_heads.newest(db) != before)
        assert await amelie.engine.read(log_heads.contradictions) == []


class Fork:
    """Another log for whoever signs in from now on: the real one up to a size, then entries of its own.

    It proves itself consistent, to whoever asks, as well as it can.
    """

    def __init__(self, relay: HostileRelay, key: SigningKey, real: list[bytes]) -> None:
        self._relay, self._key = relay, key
        self._leaves = [*real, *(leaf_hash(bytes((number,))) for number in range(40))]

    def __call__(self, frame: RelayFrame) -> Iterable[RelayFrame]:
        if isinstance(frame, SignedIn):
            head = frame.head.head
            forked = TreeHead(head.timeline, len(self._leaves), root_of(self._leaves), head.time)
            signed = sign_head(HOST, forked, self._key)
            return (msgspec.structs.replace(frame, head=signed),)
        if isinstance(frame, Consistency | Refused):
            asked = [f for f in self._relay.asked if isinstance(f, GetConsistency)]
            if asked and asked[-1].second <= len(self._leaves):
                path = consistency_path(asked[-1].first, asked[-1].second, self._read)
                return (Consistency(frame.rid or 0, path),)
        return (frame,)

    def _read(self, level: int, no: int) -> bytes:
        return root_of(self._leaves[no << level : no + 1 << level])


async def test_a_log_forked_between_two_people_is_caught_by_their_messages(world: World) -> None:
    """Bruno is shown a fork that is proven to follow all that he saw; Amélie hears of it from his message.

    Red where messages carry no head (`to_tell` giving None), and where heads from messages are not
    compared (`heard_of` doing nothing).
    """
    async with hostile_relay(world) as relay, Cast(world) as cast:
        await in_good_faith(cast, "amelie", "bruno")
        real = leaves(world)
        amelie = await cast.open("amelie")
        conversation = await amelie.conversation(TITLE)
        before = await amelie.engine.read(log_heads.newest)
        await cast.say(amelie, conversation, "Avant")
        relay.change = Fork(relay, log_key(world), real)
        bruno = await cast.open("bruno")
        forked = await bruno.until(
            lambda db: (h := log_heads.newest(db)) and h.head.size > len(real) + 30 and h
        )
        assert not await bruno.engine.read(log_heads.contradictions)
        await cast.say(bruno, conversation, "Chez moi tout va bien")
        await amelie.received("Chez moi tout va bien")
        found = await caught(amelie, "inconsistent")
        assert found.by == bruno.engine.own.person_id
        assert found.other == forked
        assert before is not None
        assert found.ours is not None
        assert found.ours.head.size >= before.head.size


def _rebuilt(db: sqlite3.Connection) -> None:
    """Make tree and nodes those of the entries as they are now, as a careful forger would."""
    tree = Frontier()
    db.execute("DELETE FROM trace_nodes")
    for kind, digest in db.execute("SELECT kind, digest FROM trace_entries ORDER BY no").fetchall():
        tree, done = tree.append(leaf_hash(leaf_data(kind, digest)))
        db.executemany(
            "INSERT INTO trace_nodes (timeline, level, no, hash) VALUES (1, ?, ?, ?)",
            [(node.level, node.no, node.hash) for node in done],
        )
    db.execute("UPDATE trace_trees SET size = ?, frontier = ?", (tree.size, tree.encode()))


def rewrite(db: sqlite3.Connection) -> None:
    """One entry says something else."""
    db.execute("UPDATE trace_entries SET digest = ? WHERE no = 2", (bytes(32),))
    _rebuilt(db)


def cut_off(db: sqlite3.Connection) -> None:
    """The last entries never were."""
    db.execute("DELETE FROM trace_entries WHERE no > 3")
    _rebuilt(db)


def tamper(folder: Path, change: Callable[[sqlite3.Connection], None]) -> None:
    db = sqlite3.connect(folder / "relay.db")
    change(db)
    db.commit()
    db.close()


@pytest.mark.parametrize(("change", "reason"), [(rewrite, "inconsistent"), (cut_off, "truncated")])
async def test_a_database_that_was_tampered_with_is_caught_at_the_next_sign_in(
    world: World, change: Callable[[sqlite3.Connection], None], reason: str
) -> None:
    """The relay is stopped, its log changed with all that follows from it, and started again.

    Red with `_compare` in engine/log_watch.py keeping the newer head without a question, or the older.
    """
    await world.relay.start()
    async with Cast(world) as cast:
        await in_good_faith(cast, "amelie", "bruno")
        await world.relay.stop()
        tamper(world.relay.folder, change)
        await world.relay.start()
        amelie = await cast.open("amelie")
        await caught(amelie, reason)
        await cast.say(amelie, await amelie.conversation(TITLE), "Malgré tout")


async def test_an_honest_relay_is_never_accused(world: World) -> None:
    """Through restarts, many sign-ins and messages that carry older heads."""
    await world.relay.start()
    async with Cast(world) as cast:
        for round_ in range(3):
            amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
            conversation = await amelie.conversation(TITLE)
            for number in range(3):
                await cast.say(amelie, conversation, f"A {round_} {number}")
                await cast.say(bruno, conversation, f"B {round_} {number}")
            await amelie.received(f"B {round_} 2")
            await bruno.received(f"A {round_} 2")
            await cast.settled()
            for actor in cast.actors.values():
                assert await actor.engine.read(log_heads.contradictions) == []
                await actor.close()
            await world.relay.restart()


def log_begun_anew(db: Database) -> bool:
    return bool(db.execute("SELECT 1 FROM events WHERE kind = 'log-anew'").fetchone())


async def test_a_relay_that_was_restored_is_told_not_accused_and_learns_what_it_lost(
    world: World,
) -> None:
    """Red where a device brings no head with its last word (engine/repair.py)."""
    folder, backup = world.relay.folder, world.folder / "backup"
    await world.relay.start()
    async with Cast(world) as cast:
        await in_good_faith(cast, "amelie", "bruno")
        await world.relay.stop()
        shutil.copytree(folder, backup)
        await world.relay.start()
        await in_good_faith(cast, "amelie", "bruno")
        await world.relay.stop()
        shutil.rmtree(folder)
        shutil.copytree(backup, folder)
        begin_timeline(folder, time.time_ns() // 1_000_000)
        await world.relay.start()
        amelie = await cast.open("amelie")
        await amelie.until(log_begun_anew)
        await amelie.settled()
        assert await amelie.engine.read(log_heads.contradictions) == []
        await cast.settled()
    of_timelines = "SELECT body FROM trace_entries WHERE kind = 'timeline' ORDER BY no"
    first, *brought = (read_entry(row[0]).facts for row in world.relay.query(of_timelines))
    assert brought
    assert {told["size"] - told["lost"] for told in brought} == {first["size"]}
