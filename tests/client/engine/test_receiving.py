"""Receiving: the guard, the chain, the quarantine, and a rollback that throws the group away."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pli_client.engine import committing, old_logs, receiving
from pli_client.engine.receiving import Taken
from pli_client.engine.work import Work
from pli_client.errors import DiskFull
from pli_client.store import conversations, groups, log_rows, mls_state, outbox, repair
from pli_protocol.relay.frames import Acknowledge, Origin, Position, ReportCommit, Row
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash

from .paper_relay import PaperLog, Somebody, Town, commit, deliver, found


class Scene:
    """Amélie and Bruno in a conversation."""

    def __init__(self, town: Town, amelie: Somebody, bruno: Somebody) -> None:
        self.town, self.amelie, self.bruno = town, amelie, bruno
        self.log = PaperLog()
        self.id = b""

    async def say(self, who: Somebody, *texts: str) -> list[Row]:
        for text in texts:
            await who.say(self.id, text)
        return await deliver(self.log, who, self.id)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    town = Town(tmp_path)
    async with town.somebody("Amélie") as amelie, town.somebody("Bruno") as bruno:
        made = Scene(town, amelie, bruno)
        made.id = await found(made.log, amelie, bruno)
        info = await deliver(made.log, amelie, made.id)  # the newcomer's title
        await amelie.take(*info)
        await bruno.take(*info)
        yield made


async def test_a_row_is_shown_once_however_often_it_comes(scene: Scene) -> None:
    rows = await scene.say(scene.amelie, "un", "deux")
    assert await scene.bruno.take(*rows) == [Taken.DONE, Taken.DONE]
    assert await scene.bruno.take(*rows, rows[0]) == [Taken.DUPLICATE] * 3
    assert await scene.bruno.posts(scene.id) == [("un", "received"), ("deux", "received")]


async def test_a_row_out_of_order_waits_for_those_before_it(scene: Scene) -> None:
    first, second = await scene.say(scene.amelie, "un", "deux")
    assert await scene.bruno.take(second) == [Taken.GAP]
    assert await scene.bruno.posts(scene.id) == []
    assert await scene.bruno.take(first, second) == [Taken.DONE, Taken.DONE]


async def test_own_rows_come_back_and_only_then_leave_the_outbox(scene: Scene) -> None:
    rows = await scene.say(scene.amelie, "un")
    assert await scene.amelie.posts(scene.id) == [("un", "queued")]
    await scene.amelie.take(*rows)
    assert await scene.amelie.posts(scene.id) == [("un", "stored")]
    for state in ("waiting", "sealed", "stored"):
        look = await scene.amelie.vault.read(
            lambda db, s=state: outbox.in_state(db, scene.id, s)  # type: ignore[misc]
        )
        assert look == []


def _consistent(row: Row) -> Row:
    """Its chain is still to be made, so that nothing but the change is wrong."""
    return replace(row, chain=b"")


def _chained(before: bytes, row: Row) -> bytes:
    return chain_hash(
        before,
        row.group,
        row.position,
        row.epoch,
        row.kind,
        row.sender,
        row.send_id,
        row.message,
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda row: replace(row, chain=bytes(32)),
        lambda row: replace(row, send_id=bytes(16)),
        lambda row: replace(row, position=Position(2, row.position.seq)),
        lambda row: _consistent(replace(row, position=Position(2, row.position.seq))),
        lambda row: replace(row, message=row.message[:-1] + b"?"),
    ],
    ids=["chain", "send-id", "timeline", "timeline-consistent", "payload"],
)
async def test_a_log_that_does_not_hold_stops_the_group_and_keeps_the_evidence(
    scene: Scene, change: object
) -> None:
    (row,) = await scene.say(scene.amelie, "un")
    forged = change(row)  # type: ignore[operator]
    if forged.chain == b"":
        before = (await scene.bruno.group(scene.id)).chain
        forged = replace(forged, chain=_chained(before, forged))
    assert await scene.bruno.take(forged) == [Taken.STOPPED]
    assert await scene.bruno.take(row) == [Taken.STOPPED]
    assert await scene.bruno.posts(scene.id) == []
    (evidence,) = await scene.bruno.vault.read(lambda db: log_rows.set_aside(db, scene.id))
    assert evidence.message == forged.message


async def test_a_row_that_cannot_be_opened_is_put_aside_and_the_next_is_shown(
    scene: Scene,
) -> None:
    await scene.amelie.say(scene.id, "perdu")
    (sealed,) = await scene.amelie.seal(scene.id)
    assert sealed.ciphertext is not None
    assert sealed.send_id is not None
    broken = sealed.ciphertext[:-3] + bytes(b ^ 1 for b in sealed.ciphertext[-3:])
    bad = scene.log.append(scene.amelie.device_id, sealed.send_id, broken)
    (good,) = await scene.say(scene.bruno, "moi")
    assert await scene.bruno.take(bad, good) == [Taken.DONE, Taken.DONE]
    assert await scene.bruno.posts(scene.id) == [("moi", "stored")]
    (aside,) = await scene.bruno.vault.read(lambda db: log_rows.set_aside(db, scene.id))
    assert aside.message == broken


async def test_a_failure_in_the_middle_changes_nothing_and_reads_the_group_anew(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await scene.say(scene.amelie, "un", "deux")

    def full(*_: object, **__: object) -> None:
        raise DiskFull()

    with monkeypatch.context() as patch:
        patch.setattr(receiving.history, "place", full)
        with pytest.raises(DiskFull):
            await scene.bruno.take(first)
    assert scene.bruno.memory == {}
    assert (await scene.bruno.group(scene.id)).next_seq == first.position.seq
    assert await scene.bruno.take(first, second) == [Taken.DONE, Taken.DONE]


async def test_what_was_taken_is_acknowledged_up_to_the_last_row(scene: Scene) -> None:
    rows = await scene.say(scene.amelie, "un", "deux", "trois")
    await scene.bruno.take(*rows)
    assert scene.bruno.work is not None
    (frame,) = [f for f in scene.bruno.work.frames if isinstance(f, Acknowledge)]
    assert [a.seq for a in frame.groups] == [rows[-1].position.seq]


async def test_the_loser_of_two_commits_takes_the_winner_and_tries_again(scene: Scene) -> None:
    async with scene.town.somebody("Chloé") as chloe, scene.town.somebody("David") as david:
        for committer, newcomer in ((scene.amelie, chloe), (scene.bruno, david)):
            await _want(scene, committer, newcomer)
        lost = await scene.bruno.vault.read(lambda db: groups.all_groups(db)[0])
        won = await commit(scene.log, scene.amelie, scene.id, chloe)
        assert await scene.bruno.take(won) == [Taken.DONE]
        still = await scene.bruno.vault.read(lambda db: mls_state.pending(db, lost.group_id))
        assert still is None
        (intent,) = await scene.bruno.vault.read(lambda db: conversations.intents(db, scene.id))
        assert (intent.kind, intent.attempts) == ("add", 1)
        await scene.bruno.write(lambda work: _make(work, scene.id))
        second = await commit(scene.log, scene.bruno, scene.id, david)
        await scene.amelie.take(second)
        members = [
            {m.device_id for m in await _members(who, scene.id)}
            for who in (scene.amelie, scene.bruno, david)
        ]
        assert members[0] == members[1] == members[2]
        assert len(members[0]) == 4


async def test_messages_wait_while_an_own_commit_is_pending_and_are_sealed_anew_after(
    scene: Scene,
) -> None:
    async with scene.town.somebody("Chloé") as chloe:
        await scene.bruno.say(scene.id, "avant le changement")
        (early,) = await scene.bruno.seal(scene.id)
        await _want(scene, scene.amelie, chloe)
        won = await commit(scene.log, scene.amelie, scene.id, chloe)
        await scene.bruno.take(won)
        (again,) = await scene.bruno.seal(scene.id)
        assert again.message_id == early.message_id
        assert again.send_id != early.send_id
        assert again.epoch == (early.epoch or 0) + 1
        rows = await deliver(scene.log, scene.bruno, scene.id)
        for who in (scene.amelie, scene.bruno):
            await who.take(*rows)
            assert [text for text, _ in await who.posts(scene.id)] == ["avant le changement"]


async def test_a_commit_that_does_not_open_is_reported_and_nothing_more_is_sent(
    scene: Scene,
) -> None:
    await scene.bruno.say(scene.id, "à garder")
    await _want(scene, scene.amelie, None)
    row = await scene.amelie.group(scene.id)
    pending = await scene.amelie.vault.read(lambda db: mls_state.pending(db, row.group_id))
    assert pending is not None
    broken = pending.message[:-3] + bytes(b ^ 1 for b in pending.message[-3:])
    bad = scene.log.append(scene.amelie.device_id, pending.send_id, broken)
    await scene.bruno.take(bad)
    after = await scene.bruno.group(scene.id)
    assert (after.state, after.culprit) == ("refused", scene.amelie.device_id)
    assert scene.bruno.work is not None
    reports = [f for f in scene.bruno.work.frames if isinstance(f, ReportCommit)]
    assert [(r.seq, r.applied) for r in reports] == [(bad.position.seq, False)]
    entries = await scene.bruno.vault.read(lambda db: mls_state.read_entries(db, row.group_id))
    assert entries == {}
    assert await scene.bruno.posts(scene.id) == [("à garder", "queued")]


async def _want(scene: Scene, committer: Somebody, newcomer: Somebody | None) -> None:
    """A pending commit: an add, or a fresh key for the own leaf."""
    if newcomer is None:
        committer.later(61 * 86_400)
        await committer.write(lambda work: _make(work, scene.id))
        return
    own = newcomer.around.own
    package = await newcomer.key_package()

    def step(work: Work) -> None:
        body: dict[str, object] = {
            "accounts": [own.account],
            "claimed": [[own.account, own.device_id, package]],
        }
        conversations.add_intent(work.db, scene.id, "add", body, work.now)
        _make(work, scene.id)

    await committer.write(step)


def _make(work: Work, conversation: bytes) -> None:
    row = groups.current(work.db, conversation)
    assert row is not None
    assert committing.make(work, row, ())


async def _members(who: Somebody, conversation: bytes) -> list[groups.MemberRow]:
    row = await who.group(conversation)
    return await who.vault.read(lambda db: groups.members(db, row.group_id))


async def in_a_new_timeline(scene: Scene) -> None:
    """The relay says that it was restored, and Bruno has entered its new timeline."""

    def enter(work: Work) -> None:
        row = groups.current(work.db, scene.id)
        assert row is not None
        repair.note_timeline(work.db, 2)
        old_logs.enter_at(work, row, 2, row.next_seq)

    await scene.bruno.write(enter)


def as_brought(row: Row, first: Origin) -> Row:
    """As a relay shows it that says it stood at `first` before."""
    place = Position(2, row.position.seq)
    chain = chain_hash(
        FIRST_CHAIN, row.group, place, row.epoch, row.kind, row.sender, row.send_id, row.message
    )
    return replace(row, position=place, chain=chain, first=first)


async def test_a_relay_hides_no_message_by_calling_it_an_old_one(scene: Scene) -> None:
    """Red where a row of a position that nothing is kept of is passed over unread."""
    await in_a_new_timeline(scene)
    (row,) = await scene.say(scene.amelie, "caché")
    hidden = as_brought(row, Origin(Position(1, 1), bytes(32)))
    assert await scene.bruno.take(hidden) == [Taken.DONE]
    assert await scene.bruno.posts(scene.id) == [("caché", "received")]


async def test_what_was_read_long_ago_is_passed_over_without_a_word(scene: Scene) -> None:
    (row,) = await scene.say(scene.amelie, "lu")
    await scene.bruno.take(row)
    await scene.bruno.write(lambda work: log_rows.forget_rows(work.db, row.time + 1))
    await in_a_new_timeline(scene)
    again = as_brought(
        replace(row, position=Position(1, row.position.seq + 1)), Origin(row.position, row.chain)
    )
    assert await scene.bruno.take(again) == [Taken.DONE]
    assert await scene.bruno.posts(scene.id) == [("lu", "received")]
    assert await scene.bruno.vault.read(log_rows.set_aside) == []


async def test_another_row_in_the_place_of_one_that_is_kept_is_a_fork(scene: Scene) -> None:
    """Red where the place that the relay names is believed without the row that is kept of it."""
    (kept,) = await scene.say(scene.amelie, "gardé")
    for who in (scene.amelie, scene.bruno):
        await who.take(kept)
    await in_a_new_timeline(scene)
    (row,) = await scene.say(scene.amelie, "caché")
    hidden = as_brought(row, Origin(kept.position, kept.chain))
    assert await scene.bruno.take(hidden) == [Taken.STOPPED]
