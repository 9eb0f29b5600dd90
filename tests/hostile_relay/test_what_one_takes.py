"""Rows, receipts, acts and titles that a relay or a member sends to mislead one device."""

import asyncio
from dataclasses import replace

import pytest

from pli_client.engine import (
    ageing,
    committing,
    history,
    joining,
    key_package_stock,
    returning,
    sending,
)
from pli_client.engine.receiving import Taken, take
from pli_client.engine.work import Work
from pli_client.store import (
    conversations,
    groups,
    log_rows,
    messages,
    mls_state,
    outbox,
    people,
    records,
)
from pli_client.vault import Database
from pli_protocol.content import (
    Attach,
    Body,
    ContentError,
    Detach,
    FilePart,
    Info,
    Message,
    Post,
    RecordRef,
    RevocationHead,
    TextPart,
    decode,
    encode,
    message_id,
)
from pli_protocol.identity import Refusal, RevocationEntry
from pli_protocol.mls import Add, KeyPackage, WireFormat
from pli_protocol.relay.frames import Position
from pli_protocol.relay.log import RosterChange

from ..system.actor import QUICK
from ..system.world import World
from .lone import EVERYBODY, TIME, Lone, alone, blob, roster, row_after, welcome_frame

RECORD = RecordRef("urn:oid:1.2.3", "4821")


def _say(work: Work, who: Lone, conversation: bytes, body: Body, salt: bytes = b"s") -> bytes:
    """What a member's message does to this vault, once it was opened."""
    content = encode(Message(salt * 16, TIME, body))
    identifier = message_id(conversation, who.own.person_id, content)
    said = history.Said(
        conversation, identifier, decode(content), content, who.own.device, who.own is work.own
    )
    history.note(work, said, "received")
    history.apply(work, said, TIME)
    return identifier


def _write(text: str) -> Post:
    return Post((TextPart(text),))


# --- rows --------------------------------------------------------------------------------------


async def test_a_commit_that_lies_in_no_blob_stops_nobody(world: World) -> None:
    """The relay takes larger blobs than fit here: without a way past them the group would stop."""
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        giant = row_after(row, bruno.own.device_id, "commit", blob(2**40))
        assert await amelie.engine.take_rows([giant]) == set()
        after = await amelie.row()
        assert (after.state, after.detail) == ("refused", "payload")
        assert after.next_seq == row.next_seq + 1
        kept = await amelie.read(lambda db: log_rows.set_aside(db, row.conversation_id))
        assert [(k.seq, k.reason) for k in kept] == [(row.next_seq, "payload")]


async def test_an_answer_that_never_becomes_a_row_is_found_out(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        promised = Position(row.timeline, row.next_seq)

        def step(work: Work) -> None:
            sending.queue(work, row.conversation_id, _write("promis"))
            assert sending.seal_waiting(work, row, 1) == 1
            (item,) = outbox.in_state(work.db, row.conversation_id, "sealed")
            sending.note_stored(work, item, promised, TIME)

        await amelie.write(step)
        other = row_after(row, bruno.own.device_id, "application", b"something else")
        assert await amelie.write(lambda work: take(work, other, b"something else")) is (
            Taken.STOPPED
        )
        assert (await amelie.row()).detail == "accepted"


async def test_an_own_row_at_another_place_than_promised_is_found_out(world: World) -> None:
    async with alone(world, "amelie") as (amelie,):
        row = await amelie.row()

        def step(work: Work) -> outbox.Outgoing:
            sending.queue(work, row.conversation_id, _write("promis"))
            assert sending.seal_waiting(work, row, 1) == 1
            (item,) = outbox.in_state(work.db, row.conversation_id, "sealed")
            sending.note_stored(work, item, Position(row.timeline, row.next_seq + 5), TIME)
            return item

        item = await amelie.write(step)
        assert item.ciphertext is not None
        sent, data = item.send_id or b"", item.ciphertext
        late = row_after(row, amelie.own.device_id, "application", data, send_id=sent)
        assert await amelie.write(lambda work: take(work, late, data)) is Taken.STOPPED


@pytest.mark.parametrize("way", ["bytes", "chain", "timeline"])
async def test_a_row_that_contradicts_what_was_seen_stops_the_group(world: World, way: str) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()

        def step(work: Work) -> outbox.Outgoing:
            sending.queue(work, row.conversation_id, _write("à moi"))
            assert sending.seal_waiting(work, row, 1) == 1
            return outbox.in_state(work.db, row.conversation_id, "sealed")[0]

        item = await amelie.write(step)
        data = item.ciphertext or b""
        lie = row_after(row, bruno.own.device_id, "application", data)
        if way == "bytes":  # one's own send id with other bytes
            data += b"!"
            sent = item.send_id or b""
            lie = row_after(row, amelie.own.device_id, "application", data, send_id=sent)
        elif way == "chain":
            lie = row_after(replace(row, chain=b"x" * 32), lie.sender, lie.kind, data)
        else:
            lie = row_after(replace(row, timeline=row.timeline + 1), lie.sender, lie.kind, data)
        assert await amelie.write(lambda work: take(work, lie, data)) is Taken.STOPPED


async def test_rows_behind_a_hole_wait(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        later = row_after(
            replace(row, next_seq=row.next_seq + 1), bruno.own.device_id, "application", b"x"
        )
        assert await amelie.write(lambda work: take(work, later, b"x")) is Taken.GAP
        assert await amelie.row() == row


async def test_a_handshake_that_the_relay_could_read_is_refused(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        theirs = await bruno.group(row.group_id)
        made = theirs.commit(
            wire_format=WireFormat.PUBLIC_MESSAGE,
            authenticated_data=roster(),
            identity=EVERYBODY,
            now=None,
        )
        frame = row_after(row, bruno.own.device_id, "commit", made.message)
        assert await amelie.write(lambda work: take(work, frame, made.message)) is Taken.DONE
        assert ((await amelie.row()).state, (await amelie.row()).detail) == (
            "refused",
            "wire-format",
        )


async def test_what_was_sent_before_a_refused_message_keeps_its_bytes(world: World) -> None:
    """Its outcome may be unknown; sealed anew it would stand twice in the log."""
    async with alone(world, "amelie") as (amelie,):
        row = await amelie.row()

        def step(work: Work) -> list[outbox.Outgoing]:
            for text in ("un", "deux", "trois"):
                sending.queue(work, row.conversation_id, _write(text))
            assert sending.seal_waiting(work, row, 3) == 3
            return outbox.in_state(work.db, row.conversation_id, "sealed")

        first, second, third = await amelie.write(step)
        await amelie.write(lambda work: sending.fail(work, second, "limit"))
        left = await amelie.read(lambda db: outbox.in_state(db, row.conversation_id, "sealed"))
        assert left == [first]
        waiting = await amelie.read(lambda db: outbox.in_state(db, row.conversation_id, "waiting"))
        assert [item.id for item in waiting] == [third.id]


async def test_a_request_to_return_that_the_relay_repeats_locks_nobody_out(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        first = await amelie.row()
        data = await bruno.write(lambda work: returning.request(work, first.group_id, "damaged"))
        for reasons in ([], ["return-repeated"]):
            place = await amelie.row()
            frame = row_after(place, bruno.own.device_id, "return", data)
            assert await amelie.write(lambda work, f=frame: take(work, f, data)) is Taken.DONE  # type: ignore[misc]
            kept = await amelie.read(lambda db: log_rows.set_aside(db, first.conversation_id))
            assert [k.reason for k in kept] == reasons
            asked = await amelie.read(lambda db: groups.returns(db, first.group_id))
            assert len(asked) == 1 - len(reasons)
            await amelie.write(
                lambda work: groups.drop_return(work.db, first.group_id, bruno.own.device_id)
            )


# --- times -------------------------------------------------------------------------------------


def test_a_time_that_no_calendar_has_is_not_a_message() -> None:
    """Whoever shows it, or files it, would fall over it again and again."""
    for when in (2**53 - 1, 2**43):
        with pytest.raises(ContentError):
            encode(Message(b"s" * 16, when, _write("loin")))


# --- records -----------------------------------------------------------------------------------


def _second(work: Work) -> bytes:
    conversations.add(work.db, b"2" * 16, "Une autre", "team", "active", work.now)
    return b"2" * 16


async def test_a_message_is_attached_and_detached_only_where_it_stands(world: World) -> None:
    async with alone(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        here = await amelie.conversation()

        def step(work: Work) -> bytes:
            elsewhere = _second(work)
            note = _say(work, bruno, here, _write("chute"))
            _say(work, chloe, elsewhere, Attach(note, RECORD))
            return note

        note = await amelie.write(step)
        assert await amelie.read(lambda db: records.of_message(db, note)) == []


async def test_who_attached_too_takes_off_only_what_is_their_own(world: World) -> None:
    async with alone(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        here = await amelie.conversation()

        def step(work: Work) -> bytes:
            note = _say(work, bruno, here, _write("chute"))
            _say(work, bruno, here, Attach(note, RECORD), b"1")
            _say(work, chloe, here, Attach(note, RECORD), b"2")
            _say(work, chloe, here, Detach(note, RECORD), b"3")
            return note

        note = await amelie.write(step)
        left = await amelie.read(lambda db: records.standing(db, note, RECORD))
        assert [row.attached_by for row in left] == [bruno.own.person_id]

        await amelie.write(lambda work: _say(work, bruno, here, Detach(note, RECORD), b"4"))
        assert await amelie.read(lambda db: records.standing(db, note, RECORD)) == []


# --- titles and kinds --------------------------------------------------------------------------


async def _invited(amelie: Lone, by: Lone) -> bytes:
    conversation = b"c" * 16
    group, welcome = await by.opens(conversation, await amelie.key_package())
    frame = welcome_frame(group.group_id, welcome, by.own.device_id)
    outcome = await amelie.write(lambda work: joining.welcome(work, frame, welcome))
    assert outcome.refused is None
    return conversation


@pytest.mark.parametrize(("who", "kind"), [("chloe", "team"), ("dui", "service")])
async def test_only_a_bot_and_one_person_make_a_conversation_that_is_not_listed(
    world: World, who: str, kind: str
) -> None:
    async with alone(world, "amelie", who) as (amelie, other):
        conversation = await _invited(amelie, other)
        await amelie.write(lambda work: _say(work, other, conversation, Info("", "service")))

        def look(db: Database) -> str:
            row = conversations.read(db, conversation)
            assert row is not None
            return row.kind

        assert await amelie.read(look) == kind


async def test_a_message_that_came_before_comes_once(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        content = encode(Message(b"s" * 16, TIME, _write("deux fois")))
        theirs = await bruno.group(row.group_id)
        first = theirs.seal(content)
        second = first.group.seal(content)
        for sealed in (first, second):
            place = await amelie.row()
            frame = row_after(place, bruno.own.device_id, "application", sealed.message)
            data = sealed.message
            assert await amelie.write(lambda work, f=frame, d=data: take(work, f, d)) is Taken.DONE  # type: ignore[misc]
        identifier = message_id(row.conversation_id, bruno.own.person_id, content)
        found = await amelie.read(lambda db: messages.read(db, identifier))
        assert found is not None
        assert found.seq == row.next_seq


# --- who counts no more, what grows old --------------------------------------------------------


async def test_a_message_of_a_revoked_device_is_shown_as_refused_and_has_no_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads late must not lose what was written before; no time in it can be trusted."""
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        lost = Refusal(RevocationEntry("device", bruno.own.device_id, "lost", 1))
        monkeypatch.setattr(amelie.engine.around.trust, "refuses", lambda _device: lost)
        body = Post((TextPart("je suis parti"),))
        content = encode(Message(b"s" * 16, TIME, body, record=RECORD))
        sealed = (await bruno.group(row.group_id)).seal(content).message
        frame = row_after(row, bruno.own.device_id, "application", sealed)
        assert await amelie.write(lambda work: take(work, frame, sealed)) is Taken.DONE
        identifier = message_id(row.conversation_id, bruno.own.person_id, content)
        found = await amelie.read(lambda db: messages.read(db, identifier))
        assert found is not None
        assert (found.state, found.content) == ("refused", content)
        assert await amelie.read(lambda db: records.of_message(db, identifier)) == []


async def test_keys_of_past_epochs_go_after_a_day_without_the_relay(world: World) -> None:
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        theirs = await bruno.group(row.group_id)
        made = theirs.commit(authenticated_data=roster(), identity=EVERYBODY, now=None)
        frame = row_after(row, bruno.own.device_id, "commit", made.message)
        assert await amelie.write(lambda work: take(work, frame, made.message)) is Taken.DONE

        def old(entries: dict[str, bytes]) -> list[str]:
            return [key for key in entries if key.startswith(("past/", f"keys/{row.epoch}/"))]

        await amelie.write(ageing.forget_all_past)
        assert old(await amelie.entries(row.group_id)) != []
        later = replace(QUICK, clock=lambda: QUICK.clock() + 86_401)
        amelie.engine.around = replace(amelie.engine.around, timing=later)
        await amelie.write(ageing.forget_all_past)
        assert old(await amelie.entries(row.group_id)) == []


async def test_a_relay_whose_clock_stands_still_keeps_no_keys_of_past_epochs(world: World) -> None:
    """Each commit comes within a day of the one before, and the relay says the same time of all."""
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        row = await amelie.row()
        theirs = await bruno.group(row.group_id)
        for number in range(4):
            made = theirs.commit(authenticated_data=roster(), identity=EVERYBODY, now=None)
            theirs = made.group.merged(made.sent).group
            now = await amelie.row()
            frame = row_after(now, bruno.own.device_id, "commit", made.message)
            hours = 23 * 3600 * number
            later = replace(QUICK, clock=lambda hours=hours: QUICK.clock() + hours)
            amelie.engine.around = replace(amelie.engine.around, timing=later)
            assert await amelie.write(lambda work: take(work, frame, made.message)) is Taken.DONE  # noqa: B023
            await amelie.write(ageing.forget_all_past)
        held = await amelie.entries(row.group_id)
        ended = sorted(key for key in held if key.startswith("past/"))
        assert ended == [f"past/{row.epoch + 2}", f"past/{row.epoch + 3}"]


async def test_a_package_of_last_resort_is_replaced_once_it_was_used(world: World) -> None:
    async with alone(world, "amelie", "chloe") as (amelie, chloe):
        package = await amelie.key_package(last_resort=True)
        assert await amelie.write(lambda work: key_package_stock.restock(work, 24)) == []
        group, welcome = await chloe.opens(b"c" * 16, package)
        frame = welcome_frame(group.group_id, welcome, chloe.own.device_id)
        assert (await amelie.write(lambda w: joining.welcome(w, frame, welcome))).refused is None
        (fresh,) = await amelie.write(lambda work: key_package_stock.restock(work, 24))
        assert fresh.last_resort


async def test_records_go_to_the_bots_of_ones_own_establishment_only(world: World) -> None:
    async with alone(world, "amelie", "dui") as (amelie, dui):
        own = await amelie.read(people.bots)
        assert [bot.person_id for bot in own] == [dui.own.person_id]
        await amelie.write(
            lambda work: work.db.execute("UPDATE people SET establishment = ?", (b"p" * 16,))
        )
        assert await amelie.read(people.bots) == []


async def test_a_newer_list_of_which_a_member_knows_is_asked_for_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay may serve an older one; what members say of it travels inside their messages."""
    async with alone(world, "amelie", "bruno") as (amelie, bruno):
        asked: list[int] = []

        async def fetch(establishment: bytes, number: int) -> None:
            assert establishment == amelie.engine.around.trust.own.establishment
            asked.append(number)

        monkeypatch.setattr(amelie.engine.housekeeping, "fetch_revocations", fetch)
        first = await amelie.row()
        theirs = await bruno.group(first.group_id)
        for salt in (b"1", b"2"):
            head = RevocationHead(7, b"h" * 32)
            content = encode(Message(salt * 16, TIME, _write("!"), revocations=head))
            sealed = theirs.seal(content)
            theirs, data = sealed.group, sealed.message
            frame = row_after(await amelie.row(), bruno.own.device_id, "application", data)
            assert await amelie.write(lambda work, f=frame, d=data: take(work, f, d)) is Taken.DONE  # type: ignore[misc]
        await asyncio.sleep(0)
        assert asked == [7]


async def _adds(bruno: Lone, group_id: bytes, package: KeyPackage) -> bytes:
    """Bruno's commit that adds a key package."""
    made = (await bruno.group(group_id)).commit(
        [Add(package)], authenticated_data=roster(package), identity=EVERYBODY, now=None
    )
    return made.message


async def test_who_was_revoked_since_is_removed_and_costs_the_late_reader_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with alone(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        row = await amelie.row()
        left = Refusal(RevocationEntry("device", chloe.own.device_id, "left", 1))
        monkeypatch.setattr(
            amelie.engine.around.trust,
            "refuses",
            lambda value: left if value == chloe.own.device else None,
        )
        commit = await _adds(bruno, row.group_id, await chloe.key_package())
        now = int(QUICK.clock() * 1000)
        frame = row_after(row, bruno.own.device_id, "commit", commit, time=now)
        assert await amelie.write(lambda work: take(work, frame, commit)) is Taken.DONE
        after = await amelie.row()
        assert after.state == "active"

        def step(work: Work) -> RosterChange:
            sending.queue(work, after.conversation_id, _write("sans elle"))
            found = committing.needs(work, after, work.now / 1000 + 60)
            assert found.commit
            assert committing.make(work, after, found.revoked)
            pending = mls_state.pending(work.db, after.group_id)
            assert pending is not None
            return RosterChange.decode(pending.roster)

        assert await amelie.write(step) == RosterChange((), (chloe.own.device_id,))


async def test_a_commit_is_read_after_its_key_packages_have_ended(world: World) -> None:
    async with alone(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        row = await amelie.row()
        commit = await _adds(bruno, row.group_id, await chloe.key_package())
        now = int(QUICK.clock() * 1000)
        frame = row_after(row, bruno.own.device_id, "commit", commit, time=now)
        later = replace(QUICK, clock=lambda: QUICK.clock() + 95 * 86_400)
        amelie.engine.around = replace(amelie.engine.around, timing=later)
        assert await amelie.write(lambda work: take(work, frame, commit)) is Taken.DONE
        assert (await amelie.row()).state == "active"


async def test_a_key_package_that_had_ended_is_not_added(world: World) -> None:
    async with alone(world, "amelie", "bruno", "chloe") as (amelie, bruno, chloe):
        row = await amelie.row()
        commit = await _adds(bruno, row.group_id, await chloe.key_package())
        now = int((QUICK.clock() + 95 * 86_400) * 1000)
        frame = row_after(row, bruno.own.device_id, "commit", commit, time=now)
        later = replace(QUICK, clock=lambda: QUICK.clock() + 95 * 86_400)
        amelie.engine.around = replace(amelie.engine.around, timing=later)
        assert await amelie.write(lambda work: take(work, frame, commit)) is Taken.DONE
        assert (await amelie.row()).state == "refused"


def test_a_file_of_a_million_chunks_is_not_a_message() -> None:
    part = FilePart("a", "a/b", 2**20, b"h" * 32, b"b" * 32, b"k" * 32, 1)
    with pytest.raises(ContentError):
        encode(Message(b"s" * 16, TIME, Post((part,))))
