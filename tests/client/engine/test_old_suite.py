"""A vault of before, with a group and key packages of suite 0x0003: what its engine does with them."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pli_client.engine import (
    candidates,
    committing,
    founding,
    key_package_stock,
    profile,
    sending,
)
from pli_client.engine.engine import Engine
from pli_client.engine.profile import SUITE
from pli_client.engine.suite_change import MAX_TRIES, SuiteChange
from pli_client.engine.timing import Timing
from pli_client.engine.work import Work
from pli_client.errors import RelayRefused
from pli_client.store import conversations, events, groups, mls_state
from pli_client.vault import Vault
from pli_protocol.content import Post, TextPart
from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.codec import decode
from pli_protocol.mls.key_package import KeyPackage

from ...hostile_relay.lone import Lone, NoRelay
from .test_old_vault import FOLDER, PASSPHRASE, WRITTEN

OLD = suite(0x0003)


@pytest.fixture
async def amelie(tmp_path: Path) -> AsyncIterator[Lone]:
    """The frozen vault's owner, at the time of then, without a relay."""
    shutil.copytree(FOLDER, tmp_path / "amelie")
    async with await Vault.open(tmp_path / "amelie", PASSPHRASE) as vault:
        timing = replace(Timing(), clock=lambda: float(WRITTEN))
        connection: Any = NoRelay
        engine = await Engine.open(vault, timing=timing, connection=connection)
        assert engine is not None
        yield Lone(vault, engine)


async def the_row(amelie: Lone) -> groups.GroupRow:
    (row,) = await amelie.read(groups.all_groups)
    return row


async def test_its_group_is_within_the_profile_and_sends(amelie: Lone) -> None:
    row = await the_row(amelie)
    group = await amelie.group(row.group_id)
    assert group.suite == OLD
    assert profile.check_group(group) == row.conversation_id

    def send(work: Work) -> int:
        sending.queue(work, row.conversation_id, Post((TextPart("encore"),)))
        return sending.seal_waiting(work, row, 8)

    assert await amelie.write(send) == 1


async def test_somebody_is_removed_from_it_under_its_own_suite(amelie: Lone) -> None:
    row = await the_row(amelie)
    members = await amelie.read(lambda db: groups.members(db, row.group_id))
    gone = next(m.person_id for m in members if m.person_id != amelie.own.person_id)

    def remove(work: Work) -> committing.Needs:
        conversations.add_intent(work.db, row.conversation_id, "remove", {"person": gone}, work.now)
        needs = committing.needs(work, row, 0)
        assert committing.make(work, row, needs.revoked)
        return needs

    needs = await amelie.write(remove)
    assert (needs.commit, needs.refound) == (True, False)
    assert await amelie.read(lambda db: mls_state.pending(db, row.group_id)) is not None
    assert (await amelie.group(row.group_id)).suite == OLD


async def test_nobody_is_added_to_it_but_to_a_successor(amelie: Lone) -> None:
    row = await the_row(amelie)

    def add(work: Work) -> committing.Needs:
        body = {"accounts": [b"a" * 16], "persons": [b"p" * 16]}
        conversations.add_intent(work.db, row.conversation_id, "add", body, work.now)
        assert candidates.accounts_to_claim(work, row.conversation_id) == []
        return committing.needs(work, row, 0)

    needs = await amelie.write(add)
    assert (needs.commit, needs.refound) == (False, True)


async def test_who_is_removed_is_removed_before_anybody_comes_in(amelie: Lone) -> None:
    row = await the_row(amelie)
    members = await amelie.read(lambda db: groups.members(db, row.group_id))
    gone = next(m.person_id for m in members if m.person_id != amelie.own.person_id)

    def both(work: Work) -> committing.Needs:
        for kind, body in (("add", {"accounts": [b"a" * 16]}), ("remove", {"person": gone})):
            conversations.add_intent(work.db, row.conversation_id, kind, body, work.now)
        return committing.needs(work, row, 0)

    needs = await amelie.write(both)
    assert (needs.commit, needs.refound) == (True, False)


async def test_its_stock_is_replaced_by_todays_whatever_the_relay_holds(amelie: Lone) -> None:
    def restock(work: Work) -> list[KeyPackage]:
        assert key_package_stock.outdated(work)
        rows = key_package_stock.restock(work, 24)
        assert key_package_stock.outdated(work), "until the relay has them"
        key_package_stock.published(work, rows, replaced=True)
        assert not key_package_stock.outdated(work)
        assert key_package_stock.restock(work, 24) == []
        return [decode(KeyPackage, row.key_package) for row in rows]

    made = await amelie.write(restock)
    assert {package.cipher_suite for package in made} == {SUITE.number}
    assert len(made) == key_package_stock.STOCK + 1
    # What was claimed before still opens: its private keys are kept until it ends.
    kept = await amelie.read(
        lambda db: db.execute("SELECT key_package FROM key_packages WHERE published = 2").fetchall()
    )
    assert {decode(KeyPackage, row[0]).cipher_suite for row in kept} == {OLD.number}


class Claims:
    """As much of an engine as a change of suite asks for."""

    def __init__(self, amelie: Lone, *answers: object) -> None:
        self.own, self._amelie = amelie.own, amelie
        self._answers = list(answers)

    async def write(self, step: Any, *, name: str = "") -> Any:
        return await self._amelie.write(step)

    async def claim(self, _accounts: object) -> object:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def want(row: groups.GroupRow) -> Any:
    body = {"accounts": [b"a" * 16], "persons": [b"p" * 16]}
    return lambda work: conversations.add_intent(
        work.db, row.conversation_id, "add", body, work.now
    )


async def test_who_waited_for_colleagues_to_update_can_add_somebody_then(
    amelie: Lone, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await the_row(amelie)
    refused: Any = [RelayRefused("limit")] * MAX_TRIES
    change = SuiteChange(Claims(amelie, *refused, *([[]] * (MAX_TRIES + 1))))  # type: ignore[arg-type]
    for _ in refused:
        with pytest.raises(RelayRefused):
            await change.make(row)
    for _ in range(MAX_TRIES):
        await amelie.write(want(row))
        await change.make(row)
        assert await last_failure(amelie) == "old-software"
    monkeypatch.setattr("pli_client.engine.suite_change.left_behind", lambda *_: [])
    await amelie.write(want(row))
    await change.make(row)
    states = {group.state for group in await amelie.read(groups.all_groups)}
    assert states == {"active", "creating"}


async def test_a_successor_that_the_relay_never_takes_fails_visibly_and_may_be_wanted_again(
    amelie: Lone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pli_client.engine.suite_change.left_behind", lambda *_: [])
    row = await the_row(amelie)
    change = SuiteChange(Claims(amelie, *([[]] * (MAX_TRIES + 1))))  # type: ignore[arg-type]

    async def made() -> groups.GroupRow | None:
        await change.make(row)
        found = await amelie.read(groups.all_groups)
        return next((group for group in found if group.state == "creating"), None)

    await amelie.write(want(row))
    for _ in range(MAX_TRIES):
        successor = await made()
        assert successor is not None
        await amelie.write(lambda work, s=successor: founding.abandon(work, s.group_id, "conflict"))  # type: ignore[misc]
    assert await made() is None
    assert await last_failure(amelie) == "conflict"
    await amelie.write(want(row))
    assert await made() is not None


async def last_failure(amelie: Lone) -> object:
    numbered = await amelie.read(lambda db: events.after(db, 0, 1000))
    return next(
        body["reason"] for _, _, kind, body, _ in reversed(numbered) if kind == "add-failed"
    )


async def test_a_further_device_does_not_come_into_it_by_asking_to_return(amelie: Lone) -> None:
    row = await the_row(amelie)
    package = await amelie.write(lambda work: key_package_stock.make(work, used=OLD))
    members = await amelie.read(lambda db: groups.members(db, row.group_id))
    other = next(m for m in members if m.person_id != amelie.own.person_id)

    def asks(device_id: bytes) -> Any:
        asked = groups.ReturnRow(device_id, other.person_id, package.key_package, 1, 0)

        def step(work: Work) -> committing.Needs:
            groups.add_return(work.db, row.group_id, asked, "lost")
            needs = committing.needs(work, row, 0)
            groups.drop_return(work.db, row.group_id, device_id)
            return needs

        return step

    known = await amelie.write(asks(other.device_id))
    assert (known.commit, known.refound) == (True, False)
    further = await amelie.write(asks(b"further device.."))
    assert (further.commit, further.refound) == (False, True)


async def test_a_replacement_that_the_relay_refused_is_tried_again(amelie: Lone) -> None:
    async def refuse(_frame: object) -> None:
        raise RelayRefused("limit")

    amelie.engine.connection.request = refuse  # type: ignore[method-assign, assignment]
    assert await amelie.write(key_package_stock.outdated)
    await amelie.engine.housekeeping.restock(24)
    assert await amelie.write(key_package_stock.outdated)
