"""What a message costs the vault: as many statements and rows in a large group as in a small one."""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from pli_client.engine import receiving
from pli_client.engine.work import Work
from pli_client.store import groups, mls_state
from pli_client.vault import Database, Vault
from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    ApplicationReceived,
    BasicCredential,
    Group,
    Lifetime,
    generate_key_package,
    suite,
)
from pli_protocol.relay.frames import Position
from pli_protocol.relay.log import FIRST_CHAIN

from ..vault.conftest import PASSPHRASE, QUICK
from .paper_relay import PaperLog, Somebody, Town, deliver, found

T = TypeVar("T")
NOW = 1_800_000_000
SUITE = suite(0x0001)


class Counted:
    """A database that notes what is asked of it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.asked: list[str] = []

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        self.asked.append(" ".join(sql.split()))
        return self._db.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        rows = list(parameters)
        self.asked += [" ".join(sql.split())] * len(rows)
        return self._db.executemany(sql, rows)

    def rows(self) -> int:
        """Rows inserted, updated and deleted since the connection was opened."""
        row = self._db.execute("SELECT total_changes()").fetchone()
        assert row is not None
        return int(row[0])


# --- the state alone ----------------------------------------------------------------------------


def group_of(size: int) -> tuple[Group, Group]:
    """Two members of a group of this size, in 0x0001."""
    lifetime, made = Lifetime(NOW - 1, NOW + 1000), []
    for index in range(size):
        signer = SUITE.generate_signature_key()
        credential = BasicCredential(index.to_bytes(4, "big"))
        package = generate_key_package(SUITE, credential, signer, lifetime=lifetime)
        made.append((signer, *package))
    creator = SUITE.generate_signature_key()
    first = Group.create(SUITE, b"g" * 16, BasicCredential(b"0"), creator, lifetime=lifetime).group
    adds = [Add(package) for _, package, _ in made[1:]]
    commit = first.commit(adds, identity=ACCEPT_BASIC, now=NOW)
    signer, package, secrets = made[-1]
    assert commit.welcome is not None
    joined = Group.join(
        commit.welcome, package, secrets, signer, identity=ACCEPT_BASIC, now=NOW
    ).group
    return commit.group.merged(commit.sent).group, joined


async def written(vault: Vault, changes: Any) -> int:
    """Rows that storing these changes touches."""

    def write(db: Database) -> int:
        counted = Counted(db)
        before = counted.rows()
        mls_state.write_entries(counted, b"g" * 16, changes)
        return counted.rows() - before

    return await vault.write(write)


async def store(vault: Vault, group: Group) -> None:
    def write(db: Database) -> None:
        db.execute("DELETE FROM mls_state")
        db.execute("DELETE FROM groups")
        db.execute(
            "INSERT OR IGNORE INTO conversations (id, title, kind, state, created_at, last_activity)"
            " VALUES (x'00', '', 'team', 'active', 0, 0)"
        )
        groups.add(
            db,
            group.group_id,
            b"\0",
            "active",
            generation=1,
            position=Position(1, 1),
            chain=FIRST_CHAIN,
            epoch=1,
            predecessor=None,
            now=0,
        )
        mls_state.write_entries(db, group.group_id, group.entries())

    await vault.write(write)


async def test_a_message_writes_as_many_rows_in_a_group_of_500_as_in_one_of_64(
    tmp_path: Path,
) -> None:
    first_messages, later_messages = set(), set()
    async with await Vault.create(tmp_path / "v", PASSPHRASE, kdf=QUICK) as vault:
        for size in (40, 64, 500):
            alice, bob = group_of(size)
            await store(vault, bob)
            for number in range(3):
                sealed = alice.seal(b"text")
                opened = bob.process(sealed.message, identity=ACCEPT_BASIC, now=NOW)
                assert isinstance(opened, ApplicationReceived)
                alice, bob = sealed.group, opened.group
                rows = await written(vault, opened.changes)
                (later_messages if number else first_messages).add(rows)
            entries = await vault.read(lambda db: mls_state.read_entries(db, b"g" * 16))
            assert entries == bob.entries()
    assert first_messages == {9}
    assert later_messages == {1}


# --- the whole engine ---------------------------------------------------------------------------


async def counted(who: Somebody, step: Callable[[Work], T]) -> tuple[list[str], int, T]:
    """Statements and rows of a step."""
    seen: list[Counted] = []
    rows = [0, 0]

    def run(work: Work) -> T:
        counting = Counted(work.db)
        rows[0] = counting.rows()
        work.db = counting
        seen.append(counting)
        result = step(work)
        rows[1] = counting.rows()
        return result

    result = await who.write(run)
    return seen[0].asked, rows[1] - rows[0], result


async def costs(folder: Path, size: int) -> list[tuple[int, int]]:
    """Statements and rows of taking the third and fourth message of somebody, in a group of `size`."""
    town, names = Town(folder), [f"Person {i}" for i in range(size)]
    folder.mkdir()
    async with AsyncExitStack() as stack:
        people = [await stack.enter_async_context(town.somebody(name)) for name in names]
        log, (amelie, bruno) = PaperLog(), people[:2]
        conversation = await found(log, *people)
        for row in await deliver(log, amelie, conversation):
            await bruno.take(row)
            await amelie.take(row)
        found_costs = []
        for number in range(4):
            await amelie.say(conversation, "Température 37,2")
            rows = await deliver(log, amelie, conversation)
            row = rows[-1]
            asked, changed, outcome = await counted(
                bruno,
                lambda work, row=row: receiving.take(work, row, row.message),  # type: ignore[misc]
            )
            assert outcome is receiving.Taken.DONE
            assert not any(sql.startswith("SELECT key, value FROM mls_state") for sql in asked), (
                "the group is in memory"
            )
            if number >= 2:
                found_costs.append((len(asked), changed))
            await amelie.take(row)
        bruno.memory.clear()  # a restart: all entries are read once, and no more
        read = []
        for _ in range(3):
            await amelie.say(conversation, "Encore")
            row = (await deliver(log, amelie, conversation))[-1]
            asked, _, _ = await counted(
                bruno,
                lambda work, row=row: receiving.take(work, row, row.message),  # type: ignore[misc]
            )
            read.append(sum(sql.startswith("SELECT key, value FROM mls_state") for sql in asked))
            await amelie.take(row)
        assert read == [1, 0, 0]
        return found_costs


async def test_taking_a_message_costs_the_same_in_conversations_of_2_and_of_12(
    tmp_path: Path,
) -> None:
    small, large = await costs(tmp_path / "small", 2), await costs(tmp_path / "large", 12)
    assert small == large
    assert all(statements < 60 for statements, _ in small)


@pytest.mark.parametrize("members", [2, 40])
async def test_a_commit_that_waits_is_stored_as_its_changes(tmp_path: Path, members: int) -> None:
    alice, bob = group_of(members)
    made = bob.commit(identity=ACCEPT_BASIC, now=NOW)
    stored = mls_state.encode_changes(made.changes)
    assert len(stored) < 5000 < sum(map(len, made.group.entries().values())) or members == 2
    following = mls_state.following(made.sent, stored)
    assert following.merged(made.sent) == made.group.merged(made.sent)
    # The first Pli stored all entries of the next epoch.
    whole = {name: bytes(value) for name, value in made.group.entries().items()}
    older = mls_state.following(made.sent, msgspec.msgpack.encode(whole)).merged(made.sent)
    assert older.group == following.merged(made.sent).group
    after = {**made.sent.entries(), **older.changes}
    assert {name: value for name, value in after.items() if value} == older.group.entries()
