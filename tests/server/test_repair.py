"""What clients bring to a restored relay: only members, only what follows, each row once."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from pli_protocol.relay import frames as f
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash
from pli_protocol.transparency import Frontier, SignedHead
from pli_server import folder as folders
from pli_server.audit import reading
from pli_server.audit.acts import read_entry
from pli_server.backup.restoring import begin_timeline
from pli_server.relay import now_ms
from pli_server.storage import tables as t

from .conftest import Server, running
from .people import NOW, TestDevice, TestEstablishment, commit, mls
from .raw_client import RawClient, Refused
from .team import Member, Team, joins, team

HOUR = 3_600_000


class Past:
    """What clients had of a log that the relay was restored without."""

    def __init__(self, group: Team, last: int, chain: bytes, timeline: int = 1) -> None:
        self.group, self.epoch = group.group, group.epoch
        self.last, self.chain, self.timeline = last, chain, timeline

    def row(
        self,
        sender: Member,
        message: bytes | None = None,
        kind: str = "application",
        send_id: bytes | None = None,
    ) -> f.BroughtRow:
        """The next row; a commit begins the next epoch."""
        send_id = send_id or os.urandom(16)
        message = message or mls(self.group, self.epoch, body=send_id)
        self.last += 1
        place = f.Position(self.timeline, self.last)
        self.chain = chain_hash(
            self.chain, self.group, place, self.epoch, kind, sender.id, send_id, message
        )
        made = f.BroughtRow(
            self.last, self.epoch, kind, sender.id, send_id, NOW * 1000, message, self.chain
        )
        self.epoch += kind == "commit"
        return made

    def commit(
        self, sender: Member, added: tuple[bytes, ...] = (), removed: tuple[bytes, ...] = ()
    ) -> f.BroughtRow:
        return self.row(sender, commit(self.group, self.epoch, added, removed), "commit")


class Scene:
    """Anne and Karim share a group whose relay was restored; both are back."""

    def __init__(self, server: Server, home: TestEstablishment) -> None:
        self.server, self.home = server, home
        self.anne: Member
        self.karim: Member
        self.group: Team
        self.past: Past

    async def make(self) -> None:
        self.anne, self.karim = (
            await joins(self.server, self.home, "Anne Durand"),
            await joins(self.server, self.home, "Karim Benali"),
        )
        self.group = await team(self.anne, self.karim)
        said = await self.group.says(self.anne)
        self.past = Past(self.group, said.position.seq, said.chain)
        await self.server.stop()
        begin_timeline(self.server.folder, self.server.clock())
        await self.server.start()
        for member in (self.anne, self.karim):
            await self.back(member)

    async def back(self, member: Member) -> RawClient:
        member.client = await self.server.signed(member.device, member.client.signed_in.token)
        return member.client

    async def bring(
        self,
        member: Member,
        *rows: f.BroughtRow,
        timeline: int = 1,
        head: SignedHead | None = None,
    ) -> f.LogHeld:
        client = member.client
        held: f.LogHeld = await client.ask(
            f.BringRows(client.rid(), self.past.group, timeline, rows, head=head)
        )
        return held

    async def rows(self, member: Member) -> list[f.Row]:
        client = member.client
        found: f.Rows = await client.ask(f.Fetch(client.rid(), self.past.group, 0))
        return list(found.rows)


@pytest.fixture
async def scene(tmp_path: Path, home: TestEstablishment) -> AsyncIterator[Scene]:
    async with running(tmp_path / "restored") as server:
        await server.establish(home)
        made = Scene(server, home)
        await made.make()
        yield made


async def refused(code: str, awaited: object) -> f.Refused:
    with pytest.raises(Refused) as caught:
        await awaited  # type: ignore[misc]
    assert caught.value.code == code
    return caught.value.frame


async def test_rows_that_follow_are_appended_with_their_first_place(scene: Scene) -> None:
    brought = [scene.past.row(scene.karim) for _ in range(3)]
    held = await scene.bring(scene.anne, *brought)
    assert (held.last, held.chain, held.began) == (5, scene.past.chain, 2)
    rows = await scene.rows(scene.karim)
    timeline = scene.server.relay.timeline
    assert [row.position for row in rows] == [
        f.Position(1, 2), *(f.Position(timeline, seq) for seq in (3, 4, 5))
    ]  # fmt: skip
    assert [row.first for row in rows[1:]] == [
        f.Origin(f.Position(1, row.seq), row.chain) for row in brought
    ]
    chain = FIRST_CHAIN
    for row in rows[1:]:
        chain = chain_hash(
            chain, row.group, row.position, row.epoch, row.kind, row.sender, row.send_id, row.message
        )  # fmt: skip
        assert chain == row.chain


async def test_whoever_is_online_is_pushed_what_another_brings(scene: Scene) -> None:
    await scene.karim.client.settle()
    scene.karim.client.pushes.clear()
    brought = scene.past.row(scene.anne)
    await scene.bring(scene.anne, brought)
    row = await scene.karim.client.push(f.Row)
    assert (row.send_id, row.first) == (
        brought.send_id, f.Origin(f.Position(1, 3), brought.chain)
    )  # fmt: skip


async def test_the_same_rows_are_brought_by_many_and_held_once(scene: Scene) -> None:
    rows = [scene.past.row(scene.karim) for _ in range(4)]
    await scene.bring(scene.anne, *rows[:2])
    await scene.bring(scene.karim, *rows[:3])
    await scene.bring(scene.anne, *rows)
    assert len(await scene.rows(scene.anne)) == 2 + 4


async def test_the_second_of_two_contradicting_pasts_is_kept_out(scene: Scene) -> None:
    other = Past(scene.group, scene.past.last, scene.past.chain)
    mine, theirs = scene.past.row(scene.anne), other.row(scene.karim)
    await scene.bring(scene.anne, mine)
    await refused("conflict", scene.bring(scene.karim, other.row(scene.karim)))
    held = await scene.bring(scene.karim, theirs)
    assert held.chain == mine.chain, "it learns that the relay holds another"
    assert [row.send_id for row in await scene.rows(scene.karim)][-1] == mine.send_id


async def test_what_does_not_follow_is_refused(scene: Scene) -> None:
    start = scene.past.last, scene.past.chain
    first, second = scene.past.row(scene.anne), scene.past.row(scene.anne)
    await refused("conflict", scene.bring(scene.anne, second))
    again = Past(scene.group, *start)
    again.chain = os.urandom(32)
    await refused("conflict", scene.bring(scene.anne, again.row(scene.anne)))
    wrong = Past(scene.group, *start)
    elsewhere = wrong.row(scene.anne, mls(os.urandom(16), 1))
    await refused("invalid", scene.bring(scene.anne, elsewhere))
    future = Past(scene.group, *start)
    future.epoch = 2
    await refused("invalid", scene.bring(scene.anne, future.row(scene.anne)))
    await refused("not-found", scene.bring(scene.anne, timeline=scene.server.relay.timeline))
    await refused("not-found", scene.bring(scene.anne, timeline=0))
    assert (await scene.bring(scene.anne, first, second)).last == 4


async def test_rows_are_taken_for_8_days_and_asked_for_ever(scene: Scene) -> None:
    real, rows = scene.server.clock, [scene.past.row(scene.karim) for _ in range(2)]
    scene.server.clock = lambda: real() + 8 * 24 * HOUR - HOUR
    await scene.bring(scene.anne, rows[0])
    scene.server.clock = lambda: real() + 8 * 24 * HOUR
    await refused("conflict", scene.bring(scene.anne, rows[1]))
    assert (await scene.bring(scene.anne)).last == rows[0].seq


async def test_a_timeline_that_the_database_never_was_in_is_shown_by_a_head_of_it(
    scene: Scene,
) -> None:
    """A relay that was restored twice from one backup lived in one; others are made up."""
    lived = scene.server.relay.timeline - 5
    heads, empty = scene.server.relay.heads, Frontier()
    past = Past(scene.group, 0, FIRST_CHAIN, lived)
    row = past.row(scene.karim)
    await refused("not-found", scene.bring(scene.anne, row, timeline=lived))
    other = heads.sign(lived - 1, empty, now_ms())
    await refused("invalid", scene.bring(scene.anne, row, timeline=lived, head=other))
    forged = msgspec.structs.replace(heads.sign(lived, empty, now_ms()), signature=bytes(64))
    await refused("invalid", scene.bring(scene.anne, row, timeline=lived, head=forged))
    assert not scene.server.read(lambda db: db.execute(sa.select(t.old_logs)).all())
    head = heads.sign(lived, empty, now_ms())
    assert (await scene.bring(scene.anne, row, timeline=lived, head=head)).last == row.seq


async def test_only_members_bring(scene: Scene) -> None:
    stranger = await joins(scene.server, scene.home)
    row = scene.past.row(scene.anne)
    await refused("not-found", scene.bring(stranger, row))
    await refused("not-found", scene.bring(stranger))
    made_up = Team(os.urandom(16), 0)
    past = Past(made_up, 0, FIRST_CHAIN)
    opening = past.row(scene.anne, commit(made_up.group, 0, (scene.karim.id,)), "commit")
    client = stranger.client
    await refused("not-found", client.ask(f.BringRows(client.rid(), past.group, 1, (opening,))))
    await refused(
        "not-found",
        client.ask(f.BringWelcome(client.rid(), scene.past.group, f.Position(1, 1), b"w")),
    )


async def test_a_row_of_who_was_no_member_is_kept_out(scene: Scene) -> None:
    stranger = await joins(scene.server, scene.home)
    await refused("conflict", scene.bring(scene.anne, scene.past.row(stranger)))


async def test_a_commit_that_is_brought_moves_epoch_and_roster(scene: Scene) -> None:
    lea = await joins(scene.server, scene.home, "Léa Roux")
    adds = scene.past.commit(scene.anne, added=(lea.id,))
    held = await scene.bring(scene.karim, adds, scene.past.row(lea))
    assert held.epoch == 2
    await lea.client.push(f.Row)  # she may have used its Welcome before
    client = scene.anne.client
    await client.ask(
        f.BringWelcome(client.rid(), scene.past.group, f.Position(1, adds.seq), b"welcome")
    )
    waiting = await lea.client.push(f.WelcomeWaiting)
    assert (waiting.welcome, waiting.first) == (
        b"welcome", f.Origin(f.Position(1, adds.seq), adds.chain)
    )  # fmt: skip
    row = await lea.client.push(f.Row)
    assert row.position.seq == waiting.position.seq + 1
    assert (await scene.bring(lea)).joined == waiting.chain


async def test_a_device_that_the_relay_forgot_is_known_by_its_chain(scene: Scene) -> None:
    person = scene.home.person("Léa Roux")
    device: TestDevice = person.device()
    adds = scene.past.commit(scene.anne, added=(device.id,))
    await refused("roster", scene.bring(scene.anne, adds))
    client = scene.anne.client
    forged = (scene.karim.device.chain[0], *device.chain[1:])
    await refused("invalid", client.ask(f.BringDevices(client.rid(), (forged,))))
    await client.ask(f.BringDevices(client.rid(), (tuple(device.chain),)))
    assert (await scene.bring(scene.anne, adds)).epoch == 2
    await scene.server.signed(device)


async def test_a_device_that_was_brought_under_another_account_is_of_who_has_its_key(
    scene: Scene,
) -> None:
    """Karim signs a certificate for the key of Léa's device, which the relay forgot; then she is added."""
    lea = scene.home.person("Léa Roux")
    device = lea.device()
    forged, client = scene.karim.person.device(device.key), scene.karim.client
    await client.ask(f.BringDevices(client.rid(), (tuple(forged.chain),)))
    adds = scene.past.commit(scene.anne, added=(device.id,))
    await scene.bring(scene.anne, adds)
    await scene.server.signed(device)
    named = sa.select(t.accounts.c.account).join(
        t.members, t.members.c.account_no == t.accounts.c.no
    )
    member = named.join(t.devices, t.devices.c.no == t.members.c.device_no)
    query = member.where(t.devices.c.device_id == device.id)
    assert scene.server.read(lambda db: db.scalars(query).all()) == [lea.account]
    await scene.bring(scene.anne, scene.past.row(Member(lea, device, scene.anne.client)))
    await refused("sign-in-failed", scene.server.signed(forged))


async def test_a_key_that_signed_in_stays_with_its_account(scene: Scene) -> None:
    forged = scene.karim.person.device(scene.anne.device.key)
    await refused("sign-in-failed", scene.server.signed(forged))


async def test_no_commit_until_all_are_back_or_72_hours_have_passed(scene: Scene) -> None:
    anne, karim = scene.anne.client, scene.karim.client
    await anne.ask(f.BroughtAll(anne.rid()))
    held = await scene.bring(scene.anne)

    async def change() -> f.Accepted:
        return await anne.sends(commit(scene.past.group, 1), held.last_send)

    answer = await refused("restored", change())
    assert answer.retry_after
    await anne.sends(mls(scene.past.group, 1), held.last_send, send_id=bytes(16))
    real = scene.server.clock
    scene.server.clock = lambda: real() + 71 * HOUR
    await refused("restored", anne.sends(commit(scene.past.group, 1), bytes(16)))
    scene.server.clock = lambda: real() + 73 * HOUR
    await anne.sends(commit(scene.past.group, 1), bytes(16))
    late = scene.past.commit(scene.karim)
    await refused("conflict", scene.bring(scene.karim, late))
    await karim.ask(f.BroughtAll(karim.rid()))


async def test_a_commit_is_taken_once_the_last_device_is_back(scene: Scene) -> None:
    for member in (scene.anne, scene.karim):
        held = await scene.bring(scene.anne)
        client = scene.anne.client
        await refused("restored", client.sends(commit(scene.past.group, 1), held.last_send))
        await member.client.ask(f.BroughtAll(member.client.rid()))
    await client.sends(commit(scene.past.group, 1), held.last_send)


async def test_a_group_of_the_new_timeline_waits_for_nobody(scene: Scene) -> None:
    await scene.karim.client.settle()
    scene.karim.client.pushes.clear()
    group = await team(scene.anne, scene.karim)
    await group.changes(scene.anne)


async def test_a_send_that_was_brought_answers_where_it_stood_first(scene: Scene) -> None:
    row = scene.past.row(scene.anne)
    await scene.bring(scene.karim, row)
    client = scene.anne.client
    accepted = await client.sends(row.message, None, send_id=row.send_id)  # type: ignore[arg-type]
    assert (accepted.position, accepted.chain) == (f.Position(1, row.seq), row.chain)
    assert (await scene.bring(scene.anne)).last_send == row.send_id


async def test_a_send_that_came_again_is_not_held_twice(scene: Scene) -> None:
    held = await scene.bring(scene.anne)
    row = scene.past.row(scene.anne)
    client = scene.anne.client
    await client.sends(row.message, held.last_send, send_id=row.send_id)  # type: ignore[arg-type]
    following = scene.past.row(scene.karim)
    held = await scene.bring(scene.karim, row, following)
    assert held.last == following.seq
    ids = [found.send_id for found in await scene.rows(scene.karim)]
    assert ids.count(row.send_id) == 1
    assert ids[-1] == following.send_id


async def test_a_relay_that_was_never_restored_takes_nothing(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    client = a.client
    for frame in (
        f.BringRows(client.rid(), group.group, 1),
        f.BringDevices(client.rid(), (tuple(b.device.chain),)),
        f.BringWelcome(client.rid(), group.group, f.Position(1, 1), b"w"),
        f.BroughtAll(client.rid()),
    ):
        await refused("not-found", client.ask(frame))


async def test_the_new_log_notes_how_much_of_the_old_one_was_lost(scene: Scene) -> None:
    heads, client = scene.server.relay.heads, scene.anne.client
    held = scene.server.read(lambda db: reading.tree(db, 1))
    longer = held
    for leaf in range(5):
        longer, _ = longer.append(bytes([leaf]) * 32)
    signed = heads.sign(1, longer, now_ms())
    forged = msgspec.structs.replace(signed, signature=bytes(64))
    await refused("invalid", client.ask(f.BroughtAll(client.rid(), forged)))
    for _ in range(2):
        await client.ask(f.BroughtAll(client.rid(), signed))
    bodies = scene.server.read(
        lambda db: db.scalars(
            sa.select(t.trace_entries.c.body)
            .where(t.trace_entries.c.kind == "timeline")
            .order_by(t.trace_entries.c.no)
        ).all()
    )
    first, lost = (read_entry(body).facts for body in bodies)
    assert (first["before"], first["root"], first["size"]) == (1, held.root, held.size)
    assert (lost["size"], lost["lost"]) == (held.size + 5, 5)


async def test_timelines_only_grow(scene: Scene) -> None:
    before = scene.server.relay.timeline
    await scene.server.stop()
    assert begin_timeline(scene.server.folder, 1000) == before + 1
    assert begin_timeline(scene.server.folder, now_ms() + HOUR) > before + 1
    await scene.server.start()


async def test_an_establishment_code_of_before_is_void(scene: Scene) -> None:
    """It may have been used after the backup."""
    server, other = scene.server, TestEstablishment()
    code = await asyncio.to_thread(folders.further_code, server.folder)
    await server.stop()
    begin_timeline(server.folder, server.clock())
    await server.start()
    await refused("used", server.establish(other, code))
    await server.establish(other)


async def test_a_device_that_was_linked_after_the_backup_is_known_by_its_chain(
    scene: Scene,
) -> None:
    second = scene.anne.person.device()
    adds = scene.past.commit(scene.anne, added=(second.id,))
    client = scene.karim.client
    await client.ask(f.BringDevices(client.rid(), (tuple(second.chain),)))
    assert (await scene.bring(scene.karim, adds)).epoch == 2
    await scene.server.signed(second)


async def test_a_device_that_nobody_brings_may_come_again_until_it_is_refused(scene: Scene) -> None:
    real, further = scene.server.clock, scene.anne.person.device()
    answer = await refused("try-later", scene.server.signed(further))
    assert answer.retry_after
    scene.server.clock = lambda: real() + 73 * HOUR
    await refused("sign-in-failed", scene.server.signed(further))


async def test_a_device_that_cannot_be_noted_keeps_no_other_out(scene: Scene) -> None:
    """Long after the restoring, say, or of an account that has as many devices as it may."""
    real, client = scene.server.clock, scene.karim.client
    scene.server.clock = lambda: real() + 73 * HOUR
    further, first = scene.anne.person.device(), scene.home.person("Léa Roux").device()
    chains = (tuple(further.chain), tuple(first.chain))
    await client.ask(f.BringDevices(client.rid(), chains))
    adds = scene.past.commit(scene.anne, added=(further.id,))
    await refused("roster", scene.bring(scene.karim, adds))
    await scene.server.signed(first)


async def test_what_others_bring_of_a_device_that_is_back_does_not_hold_up_its_sends(
    scene: Scene,
) -> None:
    client = scene.karim.client
    held = await scene.bring(scene.karim)
    await client.ask(f.BroughtAll(client.rid()))
    await scene.bring(scene.anne, scene.past.row(scene.karim))
    await client.sends(mls(scene.past.group, 1), held.last_send)


async def test_what_is_brought_counts_as_the_bringer_s(scene: Scene) -> None:
    """Else one could use up another's day by rows in the other's name."""

    def sent(member: Member) -> int:
        account = sa.select(t.devices.c.account_no).where(t.devices.c.device_id == member.id)
        used = sa.select(sa.func.sum(t.usage.c.messages)).where(
            t.usage.c.account_no == account.scalar_subquery()
        )
        return scene.server.read(lambda db: int(db.scalar(used) or 0))

    before = sent(scene.anne), sent(scene.karim)
    await scene.bring(scene.anne, *(scene.past.row(scene.karim) for _ in range(5)))
    assert (sent(scene.anne), sent(scene.karim)) == (before[0] + 5, before[1])
