"""What anybody could repeat does not grow the log: it is counted."""

import sqlalchemy as sa

from pli_server.audit.acts import Act, Entry, read_entry
from pli_server.audit.tally import ENTRIES, INTERVAL_MS, Counts
from pli_server.storage import tables as t
from pli_server.storage.database import Use
from pli_server.storage.transaction import Transaction

from ..conftest import Server
from ..databases import ask

NOW = 1_000_000
STRANGER = (Act.SIGN_IN_FAILED, Entry(1))
KNOWN = (Act.SIGN_IN_FAILED, Entry(1, b"e", b"a", b"d"))


def test_above_the_number_the_same_act_is_counted_and_written_once() -> None:
    written, counts = Counts(NOW).sift([STRANGER] * (ENTRIES + 7), NOW)
    assert written == [STRANGER] * ENTRIES
    assert counts.sift([KNOWN, STRANGER], NOW)[0] == [KNOWN]
    assert counts.sift([], NOW + INTERVAL_MS - 1) == ([], counts)
    ((act, entry), again), fresh = counts.sift([STRANGER], NOW + INTERVAL_MS)
    assert (act, entry.device, entry.facts) == (Act.SIGN_IN_FAILED, None, {"count": 7})
    assert again == STRANGER
    assert fresh.began == NOW + INTERVAL_MS


def test_failed_sign_ins_of_ever_new_devices_are_counted_by_their_account() -> None:
    failed = [(Act.SIGN_IN_FAILED, Entry(1, b"e", b"a", bytes([no]))) for no in range(ENTRIES + 9)]
    written, counts = Counts(NOW).sift(failed, NOW)
    assert len(written) == ENTRIES
    ((_, entry),), _ = counts.sift([], NOW, closing=True)
    assert (entry.account, entry.device, entry.facts) == (b"a", None, {"count": 9})


def test_an_act_that_is_bounded_otherwise_is_never_counted() -> None:
    acts = [(Act.REVOCATION, Entry(1))] * (ENTRIES + 1)
    assert Counts(NOW).sift(acts, NOW) == (acts, Counts(NOW))


def test_what_was_counted_is_written_when_the_relay_stops() -> None:
    _, counts = Counts(NOW).sift([STRANGER] * (ENTRIES + 1), NOW)
    ((_, entry),), _ = counts.sift([], NOW, closing=True)
    assert entry.facts == {"count": 1}


def test_a_clock_that_was_set_back_ends_the_interval() -> None:
    _, counts = Counts(NOW).sift([STRANGER] * (ENTRIES + 1), NOW)
    assert len(counts.sift([], NOW - 1)[0]) == 1


def test_counting_changes_no_value_that_a_transaction_may_go_back_to() -> None:
    before = Counts(NOW, {(Act.SIGN_IN_FAILED, None, None, None): 3})
    before.sift([STRANGER] * 100, NOW)
    before.sift([STRANGER], NOW + INTERVAL_MS)
    assert before == Counts(NOW, {(Act.SIGN_IN_FAILED, None, None, None): 3})


async def test_a_flood_of_failed_sign_ins_becomes_few_entries_and_a_number(
    server: Server,
) -> None:
    def fail(tx: Transaction) -> None:
        tx.trace(Act.SIGN_IN_FAILED, None)

    for _ in range(300):
        await server.relay.writer.do("sign-in-failed", fail)
    await server.stop()
    of_failures = sa.select(t.trace_entries.c.body).where(
        t.trace_entries.c.kind == Act.SIGN_IN_FAILED.value
    )
    database = server.relay.database
    bodies = ask(database, Use.READING, lambda db: list(db.scalars(of_failures)))
    await server.start()
    counts = [read_entry(body).facts.get("count", 1) for body in bodies]
    assert (len(counts), sum(counts)) == (ENTRIES + 1, 300)
