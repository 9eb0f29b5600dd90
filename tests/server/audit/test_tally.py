"""What anybody could repeat does not grow the log: it is counted."""

from pli_server.audit.acts import Act, Entry
from pli_server.audit.tally import ENTRIES, INTERVAL_MS, Tally


def test_above_the_number_the_same_act_is_counted_and_written_once() -> None:
    tally, stranger, known = Tally(), Entry(1), Entry(1, b"e", b"a", b"d")
    assert tally.due(1_000_000) == []
    taken = [tally.takes(Act.SIGN_IN_FAILED, stranger) for _ in range(ENTRIES + 7)]
    assert taken == [False] * ENTRIES + [True] * 7
    assert not tally.takes(Act.SIGN_IN_FAILED, known)
    assert tally.due(1_000_000 + INTERVAL_MS - 1) == []
    ((act, entry),) = tally.due(1_000_000 + INTERVAL_MS)
    assert (act, entry.device, entry.facts) == (Act.SIGN_IN_FAILED, None, {"count": 7})
    assert not tally.takes(Act.SIGN_IN_FAILED, stranger)


def test_an_act_that_is_bounded_otherwise_is_never_counted() -> None:
    tally = Tally()
    assert not any(tally.takes(Act.REVOCATION, Entry(1)) for _ in range(ENTRIES + 1))


def test_what_was_counted_is_written_when_the_relay_stops() -> None:
    tally = Tally()
    for _ in range(ENTRIES + 1):
        tally.takes(Act.SIGN_IN, Entry(1))
    assert [entry.facts for _, entry in tally.due(0, closing=True)] == [{"count": 1}]


def test_a_clock_that_was_set_back_ends_the_interval() -> None:
    tally = Tally()
    assert tally.due(5_000_000) == []
    for _ in range(ENTRIES + 1):
        tally.takes(Act.SIGN_IN, Entry(1))
    assert len(tally.due(4_000_000)) == 1
