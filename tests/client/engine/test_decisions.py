"""Who does what, and when."""

from hypothesis import given
from hypothesis import strategies as st

from pli_client.engine.decisions import (
    Reasons,
    commit_now,
    culprit_of,
    lowest_active,
    refound_allowed,
    refound_due,
    when_to_act,
)
from pli_client.engine.profile import LARGEST_PADDED, padding
from pli_protocol.content import MAX_WITH_PROOF
from pli_protocol.relay.frames import MAX_INLINE, CommitReport

QUIET = Reasons(False, False, False, False, False, False, False)


def test_the_lowest_leaf_that_is_active_acts_at_once_and_the_others_wait() -> None:
    leaves = [(0, b"a"), (2, b"b"), (5, b"c")]
    assert lowest_active(leaves, {b"a"}) == 2
    assert lowest_active(leaves, {b"a", b"b", b"c"}) is None
    assert when_to_act(100.0, 2, 2, 7.0) == 100.0
    assert when_to_act(100.0, 5, 2, 7.0) == 107.0
    assert when_to_act(100.0, 5, None, 7.0) == 100.0


def test_a_culprit_is_left_out_unless_another_persons_device_applied_its_commit() -> None:
    persons = {b"c1": b"chloe", b"c2": b"chloe", b"b1": b"bruno"}
    own = CommitReport(b"c2", True)
    refused = CommitReport(b"b1", False, "garbage")
    assert culprit_of([own, refused], persons, b"c1") == b"c1"
    assert culprit_of([own, CommitReport(b"b1", True)], persons, b"c1") is None
    assert culprit_of([CommitReport(b"stranger", True)], persons, b"c1") is None
    assert culprit_of([], persons, None) is None


def test_a_successor_must_be_made_by_a_member_and_add_nobody() -> None:
    assert refound_allowed({b"a", b"b"}, b"a", [b"a", b"b"])
    assert refound_allowed({b"a", b"b"}, b"a", [b"a"])
    assert not refound_allowed({b"a", b"b"}, b"c", [b"a", b"b"])
    assert not refound_allowed({b"a", b"b"}, b"a", [b"a", b"b", b"c"])


def test_a_commit_is_made_for_what_is_wanted_and_before_ones_own_message() -> None:
    from dataclasses import replace

    assert not commit_now(QUIET)
    assert commit_now(replace(QUIET, wanted=True))
    assert commit_now(replace(QUIET, returns_due=True))
    assert commit_now(replace(QUIET, renewal=True))
    for reason in ("proposals", "revoked"):
        waiting = replace(QUIET, **{reason: True})
        assert not commit_now(waiting)
        assert commit_now(replace(waiting, message_waits=True))
        assert commit_now(replace(waiting, our_turn=True))
    assert not commit_now(replace(QUIET, message_waits=True, our_turn=True))


def test_refounding_waits_at_least_its_minute_and_not_much_more() -> None:
    assert refound_due(1000.0, 60.0, 0.0) == 1060.0
    assert refound_due(1000.0, 60.0, 0.999) < 1075.0


@given(st.integers(0, MAX_WITH_PROOF + 200))
def test_padding_rounds_to_few_sizes_that_fit_a_row(size: int) -> None:
    padded = size + padding(size)
    assert padded >= max(size, 256)
    assert padded <= LARGEST_PADDED
    assert padded + 1024 < MAX_INLINE
    assert padded % 256 == 0


@given(st.integers(1, 4096))
def test_short_texts_of_similar_length_look_the_same(size: int) -> None:
    assert size + padding(size) in {256, 512, 1024, 2048, 4096}
