"""The checker itself: a vault that breaks an invariant is found, one that keeps them all is not."""

import pytest

from pli_client.vault import Database, Vault

from .checker import check
from .world import PASSPHRASE, TITLE, World

pytestmark = pytest.mark.processes

TEXT = "Bonjour à tous"


async def _change(world: World, who: str, *statements: str) -> None:
    def work(db: Database) -> None:
        db.execute("PRAGMA defer_foreign_keys = ON")
        for statement in statements:
            db.execute(statement)

    async with await Vault.open(world.vault(who), PASSPHRASE) as vault:
        await vault.write(work)


async def _found(world: World, *acknowledged: bytes) -> list[str]:
    with pytest.raises(AssertionError) as failed:
        await check(world, acknowledged)
    return str(failed.value).split("\nassert")[0].strip().splitlines()


async def test_a_world_that_was_only_copied_keeps_all_invariants(world: World) -> None:
    states = await check(world)
    assert [m.text for m in states[0].messages if m.kind == "post"] == [TEXT]
    assert {title for state in states for title, _ in state.conversations.values()} == {TITLE}


async def test_a_message_that_one_member_lacks_breaks_i1(world: World) -> None:
    await _change(world, "bruno", f"DELETE FROM messages WHERE text = '{TEXT}'")
    (problem,) = await _found(world)
    assert problem.startswith(f"I1: bruno lacks '{TEXT}'")


async def test_an_acknowledged_message_that_nobody_has_breaks_i1(world: World) -> None:
    (problem,) = await _found(world, b"\1" * 32)
    assert problem == "I1: acknowledged message 01010101 stands nowhere"


async def test_a_message_that_stands_twice_breaks_i2(world: World) -> None:
    columns = "conversation_id, sender, device_id, kind, content, text, sent_at, state"
    await _change(
        world,
        "bruno",
        f"""INSERT INTO messages (message_id, {columns})
            SELECT randomblob(32), {columns} FROM messages WHERE text = '{TEXT}'""",
    )
    problems = await _found(world)
    assert [problem[:2] for problem in problems] == ["I2"]


async def test_another_order_breaks_i3(world: World) -> None:
    await _change(world, "bruno", f"UPDATE messages SET generation = 2 WHERE text = '{TEXT}'")
    assert any(problem.startswith("I3") for problem in await _found(world))


async def test_a_row_that_is_not_the_relays_breaks_i3(world: World) -> None:
    await _change(world, "bruno", "UPDATE rows SET chain = randomblob(32) WHERE seq = 2")
    (problem,) = await _found(world)
    assert problem == "I3: bruno holds a row that is not the relay's: (1, 2)"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE groups SET next_seq = next_seq - 1", "rows"),
        ("UPDATE groups SET epoch = epoch + 1", "epoch"),
        ("UPDATE groups SET state = 'lost'", "but has the group as: lost"),
        ("DELETE FROM mls_state", "but has the group as: active"),
    ],
)
async def test_a_member_in_another_state_breaks_i4(world: World, statement: str, says: str) -> None:
    await _change(world, "bruno", statement)
    (problem,) = await _found(world)
    assert problem.startswith("I4: bruno")
    assert says in problem


async def test_something_left_to_send_breaks_i5(world: World) -> None:
    await _change(
        world,
        "bruno",
        """INSERT INTO outbox (conversation_id, message_id, content, state, queued_at)
            SELECT id, randomblob(32), x'00', 'waiting', 0 FROM conversations""",
    )
    (problem,) = await _found(world)
    assert problem.startswith("I5: bruno still has")


async def test_a_failed_message_that_somebody_has_breaks_i5(world: World) -> None:
    await _change(world, "amelie", f"UPDATE messages SET state = 'failed' WHERE text = '{TEXT}'")
    (problem,) = await _found(world)
    assert problem == f"I5: '{TEXT}' failed, bruno has it"
