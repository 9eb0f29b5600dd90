"""State in memory and in the vault; what a device without state believes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import msgpack, structs

from pli_client.engine import committing, founding, joining, receiving
from pli_client.engine.coming_back import ComingBack
from pli_client.engine.conversation_worker import ConversationWorker
from pli_client.engine.engine import Engine
from pli_client.engine.pending_commits import PendingCommits
from pli_client.engine.work import Work
from pli_client.errors import DiskFull, RelayRefused
from pli_client.store import conversations, events, groups, messages, mls_state
from pli_client.store.device import DeviceRow
from pli_protocol.relay.codec import encode
from pli_protocol.relay.frames import (
    MAX_INLINE,
    AcknowledgeWelcome,
    BlobRef,
    Payload,
    Send,
    WelcomeWaiting,
)

from .paper_relay import PaperLog, Somebody, Town, commit, deliver, found


@dataclass
class Three:
    """Amélie, Bruno and Chloé in a conversation."""

    log: PaperLog
    id: bytes
    amelie: Somebody
    bruno: Somebody
    chloe: Somebody

    async def remove(self, who: Somebody) -> None:
        """Amélie removes somebody; Bruno takes the row."""
        person = who.around.own.person_id

        def step(work: Work) -> None:
            conversations.add_intent(work.db, self.id, "remove", {"person": person}, work.now)
            row = groups.current(work.db, self.id)
            assert row is not None
            assert committing.make(work, row, ())

        await self.amelie.write(step)
        await self.bruno.take(await commit(self.log, self.amelie, self.id))

    async def lose_state(self, who: Somebody) -> None:
        row = await who.group(self.id)
        await who.write(lambda work: work.forget(row.group_id))


def engine_of(who: Somebody) -> Engine:
    """Somebody's engine, without a relay."""
    own = who.around.own
    row = DeviceRow(
        "ws://127.0.0.1:9",
        "127.0.0.1",
        None,
        None,
        who.around.trust.own.certificate,
        own.account,
        own.device_id,
        own.key,
        own.key,
        own.chain,
    )
    return Engine(who.vault, row, who.around)


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[Three]:
    town = Town(tmp_path)
    async with (
        town.somebody("Amélie") as amelie,
        town.somebody("Bruno") as bruno,
        town.somebody("Chloé") as chloe,
    ):
        log = PaperLog()
        conversation = await found(log, amelie, bruno, chloe)
        for row in await deliver(log, amelie, conversation):
            for who in (amelie, bruno, chloe):
                assert await who.take(row) == [receiving.Taken.DONE]
        yield Three(log, conversation, amelie, bruno, chloe)


async def test_whom_an_unreadable_commit_removes_is_not_brought_back_by_refounding(
    three: Three,
) -> None:
    await three.lose_state(three.bruno)
    await three.remove(three.chloe)
    row = await three.bruno.group(three.id)
    assert row.state == "lost"
    claimed = [
        (who.around.own.account, who.device_id, await who.key_package())
        for who in (three.amelie, three.chloe)
    ]
    assert await three.bruno.write(lambda work: founding.refound(work, row, claimed, None))
    successor = await three.bruno.group(three.id)
    row_members = await three.bruno.vault.read(lambda db: groups.members(db, row.group_id))
    assert three.chloe.device_id not in {m.device_id for m in row_members}
    await commit(PaperLog(), three.bruno, three.id)
    members = await three.bruno.vault.read(lambda db: groups.members(db, successor.group_id))
    assert {m.device_id for m in members} == {three.amelie.device_id, three.bruno.device_id}


async def test_who_was_removed_without_being_able_to_read_it_does_not_refound(
    three: Three,
) -> None:
    await three.lose_state(three.bruno)
    await three.remove(three.bruno)
    row = await three.bruno.group(three.id)
    assert row.state == "removed"
    conversation = await three.bruno.vault.read(lambda db: conversations.read(db, three.id))
    assert conversation is not None
    assert conversation.state == "removed"


async def test_a_transaction_that_fails_leaves_nothing_in_memory_that_is_not_in_the_vault(
    three: Three,
) -> None:
    engine = engine_of(three.bruno)
    group_row = await three.bruno.group(three.id)
    before = await engine.write(lambda work: work.load(group_row.group_id))
    assert before is not None

    def seal_and_fail(work: Work) -> None:
        group = work.load(group_row.group_id)
        assert group is not None
        sealed = group.seal(b"perdu")
        work.keep(sealed.group, sealed.changes)
        raise DiskFull()

    stored = await engine.read(lambda db: mls_state.read_entries(db, group_row.group_id))
    with pytest.raises(DiskFull):
        await engine.write(seal_and_fail)
    assert group_row.group_id not in engine._memory
    assert await engine.read(lambda db: mls_state.read_entries(db, group_row.group_id)) == stored
    after = await engine.write(lambda work: work.load(group_row.group_id))
    assert after is not None
    assert after is not before
    assert after.entries() == before.entries() == stored


async def test_a_welcome_that_is_pushed_again_is_no_news(three: Three) -> None:
    frames: list[WelcomeWaiting] = []
    log, amelie, bruno = PaperLog(), three.amelie, three.bruno
    conversation = await found(log, amelie, bruno, frames=frames)
    (frame,) = frames
    again = structs.replace(frame, item=bytes(16))
    assert isinstance(frame.welcome, bytes)
    welcome = frame.welcome
    before = await bruno.vault.read(events.newest)
    outcome = await bruno.write(lambda work: joining.welcome(work, again, welcome))
    assert (outcome.conversation_id, outcome.refused) == (conversation, None)
    assert await bruno.vault.read(events.newest) == before


async def test_a_welcome_that_takes_all_memory_is_acknowledged_and_refused(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would come again at each start otherwise."""
    frames: list[WelcomeWaiting] = []
    await found(PaperLog(), three.amelie, three.bruno, frames=frames)
    frame = structs.replace(frames[0], item=bytes(16))

    def join(work: Work, data: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(joining, "_join", join)
    acknowledged: list[object] = []

    def take(work: Work) -> joining.Outcome:
        outcome = joining.welcome(work, frame, b"a large one")
        acknowledged.extend(work.frames)
        return outcome

    outcome = await three.bruno.write(take)
    assert outcome.refused == "welcome: memory"
    assert AcknowledgeWelcome(frame.item) in acknowledged


async def test_a_welcome_with_a_wider_tree_than_the_profile_has_is_refused(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "MAX_LEAVES", 1)
    with pytest.raises(AssertionError, match="welcome: tree-encoding"):
        await found(PaperLog(), three.amelie, three.bruno)
    monkeypatch.setattr(joining, "MAX_LEAVES", 2)
    await found(PaperLog(), three.amelie, three.bruno)


async def test_a_group_that_opened_between_two_looks_is_not_abandoned(three: Three) -> None:
    """Its first row was taken after the worker had seen it waiting for the relay."""
    engine = engine_of(three.amelie)
    row = await three.amelie.group(three.id)
    seen = replace(row, state="creating")
    assert await PendingCommits(engine, ComingBack(engine, three.id)).send(seen) == 0.0
    assert await three.amelie.group(three.id) == row
    assert await engine.write(lambda work: work.load(row.group_id)) is not None


async def test_a_message_does_not_fail_for_a_removal_that_was_undone_between_two_looks(
    three: Three,
) -> None:
    identifier = await three.amelie.say(three.id, "Je suis de nouveau là")
    seen = replace(await three.amelie.group(three.id), state="removed")
    await ConversationWorker(engine_of(three.amelie), three.id)._end(seen)
    message = await three.amelie.vault.read(lambda db: messages.read(db, identifier))
    assert message is not None
    assert message.state == "queued"


async def test_who_is_in_a_group_does_not_ask_to_be_added_again(three: Three) -> None:
    """The Welcome came between the look that missed the group and the request."""
    engine = engine_of(three.bruno)
    row = await three.bruno.group(three.id)
    assert await engine.housekeeping.ask_return(row.group_id, "unknown-group") is None
    assert await three.bruno.group(three.id) == row


@pytest.mark.parametrize("message", [1, 20_000, MAX_INLINE, MAX_INLINE + 1])
@pytest.mark.parametrize("welcome", [1, 20_000, MAX_INLINE, MAX_INLINE + 1])
async def test_a_commit_and_its_welcome_fit_their_frame_together(
    three: Three, monkeypatch: pytest.MonkeyPatch, message: int, welcome: int
) -> None:
    engine = engine_of(three.amelie)
    row = await three.amelie.group(three.id)
    intent = msgpack.encode(committing.CommitIntent())
    pending = mls_state.PendingCommit(
        row.group_id, bytes(16), 1, bytes(message), bytes(welcome), b"", b"", intent, None, False
    )
    await three.amelie.write(lambda work: mls_state.add_pending(work.db, pending, work.now))
    sent: list[Send] = []

    async def request(frame: Any) -> None:
        encode(structs.replace(frame, rid=1))
        if isinstance(frame, Send):
            sent.append(frame)
            raise RelayRefused("try-later")

    monkeypatch.setattr(engine.connection, "request", request)
    await PendingCommits(engine, ComingBack(engine, three.id)).send(row)
    (frame,) = sent
    assert [_size(frame.message), _size(frame.welcome)] == [message, welcome]


def _size(payload: Payload | None) -> int:
    assert payload is not None
    return payload.size if isinstance(payload, BlobRef) else len(payload)
