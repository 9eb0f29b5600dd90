"""Hints: what comes over the bus is bounded and typed; nothing else is looked at."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_server.nodes.hint import MAX_HINT, MOST, BadHint, Hint, decode_hint, encode_hints
from pli_server.storage.changes import Changes

SENDER = b"n" * 16

CHANGES = st.builds(
    Changes,
    groups=st.dictionaries(st.binary(min_size=16, max_size=64), st.integers(0, 2**53 - 1)),
    devices=st.sets(st.integers(0, 2**53 - 1)),
    establishments=st.dictionaries(st.binary(min_size=16, max_size=64), st.just(0)),
    enrolments=st.sets(st.binary(min_size=16, max_size=16)),
)


def gathered(hints: list[Hint]) -> Changes:
    return Changes(
        groups={group: last for hint in hints for group, last in hint.groups},
        devices={no for hint in hints for no in hint.devices},
        establishments={each: 0 for hint in hints for each in hint.establishments},
        enrolments={each for hint in hints for each in hint.enrolments},
    )


@given(changes=CHANGES)
def test_hints_name_all_that_changed(changes: Changes) -> None:
    assert gathered([decode_hint(data) for data in encode_hints(SENDER, changes)]) == changes


def test_many_changes_take_several_hints_each_below_the_bound() -> None:
    many = 3 * MOST + 1
    changes = Changes(
        groups={n.to_bytes(64, "big"): 2**53 - 1 for n in range(many)},
        devices=set(range(2**52, 2**52 + many)),
        establishments={n.to_bytes(64, "big"): 0 for n in range(many)},
        enrolments={n.to_bytes(16, "big") for n in range(many)},
    )
    data = list(encode_hints(SENDER, changes))
    assert len(data) == 4
    assert max(map(len, data)) <= MAX_HINT
    assert gathered([decode_hint(each) for each in data]) == changes


@given(data=st.binary(max_size=200))
def test_other_bytes_are_no_hint(data: bytes) -> None:
    try:
        decode_hint(data)
    except BadHint:
        return
    assert msgspec.msgpack.encode(decode_hint(data))[:2] in (b"\x96\x01", b"\x92\x01")


@pytest.mark.parametrize(
    "value",
    [
        [2, SENDER],
        [1, b"short"],
        [1, SENDER, [[b"g" * 16, -1]]],
        [1, SENDER, [[b"g" * 15, 1]]],
        [1, SENDER, [], [2**53]],
        [1, SENDER, [], [1] * (MOST + 1)],
        [1, SENDER, [], [], [b"e" * 65]],
        [1, SENDER, [], [], [], [b"r" * 17]],
        [1, SENDER, [], [], [], [], "more"],
        {"version": 1},
        [[]],
    ],
)
def test_what_is_of_another_form_is_no_hint(value: object) -> None:
    with pytest.raises(BadHint):
        decode_hint(msgspec.msgpack.encode(value))


def test_a_long_one_is_not_even_read() -> None:
    with pytest.raises(BadHint):
        decode_hint(msgspec.msgpack.encode([1, SENDER]) + bytes(MAX_HINT))
