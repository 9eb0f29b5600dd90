"""The secret tree: windows, deletion, and what it says must be stored."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.errors import CodecError, GenerationError, UsageError
from pli_protocol.mls.secret_tree import (
    LAST_GENERATION,
    MAX_FORWARD,
    MAX_SKIPPED,
    Ratchet,
    RatchetKind,
    SecretTree,
)
from pli_protocol.secret import Secret

SUITE = suite(3)
APPLICATION, HANDSHAKE = RatchetKind.APPLICATION, RatchetKind.HANDSHAKE


def tree(leaves: int = 8) -> SecretTree:
    return SecretTree.create(bytes(range(32)), leaves)


def stored(entries: dict[str, bytes], changes: Mapping[str, bytes | None]) -> dict[str, bytes]:
    after = {**entries, **changes}
    return {name: value for name, value in after.items() if value is not None}


def test_sender_and_receiver_take_the_same_keys() -> None:
    sender, receiver = tree(), tree()
    for generation in range(3):
        sent, sender, _ = sender.next_key(SUITE, 5, APPLICATION)
        assert sent.generation == generation
        received, receiver, _ = receiver.open_key(SUITE, 5, APPLICATION, generation)
        assert received == sent


def test_the_two_ratchets_of_a_leaf_have_different_keys() -> None:
    first, _, _ = tree().next_key(SUITE, 0, APPLICATION)
    second, _, _ = tree().next_key(SUITE, 0, HANDSHAKE)
    assert first.key != second.key


def test_a_key_is_given_out_once() -> None:
    _, after, _ = tree().open_key(SUITE, 1, APPLICATION, 3)
    with pytest.raises(GenerationError):
        after.open_key(SUITE, 1, APPLICATION, 3)
    _, after, _ = after.open_key(SUITE, 1, APPLICATION, 1)
    with pytest.raises(GenerationError):
        after.open_key(SUITE, 1, APPLICATION, 1)


def test_overtaken_keys_are_kept_up_to_the_window_and_the_oldest_go_first() -> None:
    after = tree()
    _, after, _ = after.open_key(SUITE, 1, APPLICATION, MAX_SKIPPED + 5)
    for generation in range(5):
        with pytest.raises(GenerationError):
            after.open_key(SUITE, 1, APPLICATION, generation)
    expected, _, _ = tree().open_key(SUITE, 1, APPLICATION, 5)
    key, _, _ = after.open_key(SUITE, 1, APPLICATION, 5)
    assert key == expected
    assert MAX_SKIPPED >= 64


def test_a_message_too_far_ahead_is_refused_and_the_farthest_is_not() -> None:
    with pytest.raises(GenerationError) as refused:
        tree().open_key(SUITE, 1, APPLICATION, MAX_FORWARD + 1)
    assert refused.value.rule == "generation-ahead"
    tree().open_key(SUITE, 1, APPLICATION, MAX_FORWARD)


def test_the_last_generation_is_refused_at_once() -> None:
    with pytest.raises(GenerationError) as refused:
        tree().open_key(SUITE, 1, APPLICATION, LAST_GENERATION)
    assert refused.value.rule == "generation-last"
    at_end = Ratchet(LAST_GENERATION, Secret(bytes(32)))
    with pytest.raises(UsageError):
        at_end.step(SUITE)


def test_a_leaf_outside_the_tree_is_refused() -> None:
    for leaf in (-1, 8, 2**31):
        with pytest.raises(GenerationError):
            tree().open_key(SUITE, leaf, APPLICATION, 0)


@pytest.mark.parametrize("leaves", [0, 3, 6])
def test_a_tree_has_a_power_of_two_of_leaves(leaves: int) -> None:
    with pytest.raises(UsageError):
        tree(leaves)


def test_a_message_changes_few_entries_in_a_wide_tree() -> None:
    wide = tree(1024)
    _, wide, first = wide.next_key(SUITE, 700, APPLICATION)
    assert len(first) <= 14  # the root goes; 10 siblings and 2 ratchets come
    _, wide, second = wide.next_key(SUITE, 700, APPLICATION)
    assert list(second) == ["ratchet/700/application"]


def test_split_nodes_and_used_keys_are_in_no_entry() -> None:
    _, after, _ = tree().next_key(SUITE, 2, APPLICATION)
    names = set(after.entries())
    # Of the path root (7), 3, 5, leaf 4 nothing is left.
    assert not {"node/7", "node/3", "node/5", "node/4"} & names
    assert {"node/11", "node/1", "node/6"} <= names


def test_a_forgotten_leaf_gives_no_key_any_more() -> None:
    _, after, changes = tree().next_key(SUITE, 2, APPLICATION)
    entries = stored(tree().entries(), changes)
    forgotten, gone = after.without_leaf(2)
    assert stored(entries, gone) == forgotten.entries()
    with pytest.raises(GenerationError):
        forgotten.next_key(SUITE, 2, APPLICATION)
    forgotten.open_key(SUITE, 3, APPLICATION, 0)
    assert SecretTree.from_entries(SUITE, 8, forgotten.entries()).entries() == forgotten.entries()


def test_forgetting_a_leaf_that_was_never_used_changes_nothing() -> None:
    assert tree().without_leaf(2) == (tree(), {})


def test_no_secret_is_shown() -> None:
    _, after, _ = tree().open_key(SUITE, 2, APPLICATION, 4)
    shown = repr(after)
    assert "<32 bytes>" in shown
    for value in after.entries().values():
        assert repr(value[1:9])[2:-1] not in shown
        assert value[-8:].hex() not in shown


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x01\x00", b"\x01" + bytes(4) + b"\x20"])
def test_damaged_entries_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        SecretTree.from_entries(
            SUITE, 1, {"ratchet/0/handshake": data, "ratchet/0/application": data}
        )


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from(RatchetKind), st.integers(0, 40)), max_size=30
    )
)
def test_the_changes_always_lead_to_the_entries(
    uses: list[tuple[int, RatchetKind, int]],
) -> None:
    value = tree()
    entries = value.entries()
    for leaf, kind, generation in uses:
        try:
            _, after, changes = value.open_key(SUITE, leaf, kind, generation)
        except GenerationError:
            continue
        assert value.entries() == entries, "the old value stays as it was"
        value, entries = after, stored(entries, changes)
        assert value.entries() == entries
        assert SecretTree.from_entries(SUITE, 8, entries) == value
