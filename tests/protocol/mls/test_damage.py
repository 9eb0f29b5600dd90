"""Damaged, cut and lengthened messages of every kind: an MLSError, and nothing has changed."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    Group,
    MLSError,
    Remove,
    WireFormat,
)

from .groups import NOW, Member, party

PUBLIC, PRIVATE = WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE


@cache
def world() -> tuple[Member, dict[str, bytes]]:
    """bob, and messages of all kinds that he would accept."""
    alice, bob, carol = party("alice", "bob", "carol")
    package, _ = Member("dave").key_package()
    newcomer = Member("erin")
    messages = {"application": alice.group.seal(b"text").message}
    for wire in (PUBLIC, PRIVATE):
        propose = alice.group.propose(Remove(carol.group.own_leaf), wire_format=wire)
        messages[f"proposal {wire.name}"] = propose.message
        messages[f"update {wire.name}"] = alice.group.propose_update(wire_format=wire).message
        made = alice.group.commit(
            [Add(package), Remove(2)], wire_format=wire, identity=ACCEPT_BASIC, now=NOW
        )
        messages[f"commit {wire.name}"] = made.message
        removal = alice.group.commit(
            [Remove(bob.group.own_leaf)], wire_format=wire, identity=ACCEPT_BASIC, now=NOW
        )
        messages[f"removal {wire.name}"] = removal.message
    messages["external commit"] = newcomer.join_external(alice.group.group_info())
    messages["group info"] = alice.group.group_info()
    assert made.welcome is not None
    messages["welcome"] = made.welcome
    return bob, messages


damages = st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), min_size=1, max_size=3)


def damaged(message: bytes, damage: list[tuple[int, int]], cut: int) -> bytes:
    data = bytearray(message)
    for where, flipped in damage:
        data[where % len(data)] ^= flipped
    return bytes(data[: len(data) - cut]) if cut >= 0 else bytes(data) + bytes(-cut)


@given(st.sampled_from(sorted(world()[1])), damages, st.sampled_from([0, 0, 0, 1, 7, -1]))
def test_a_damaged_message_is_refused(name: str, damage: list[tuple[int, int]], cut: int) -> None:
    bob, messages = world()
    entries = bob.group.entries()
    data = damaged(messages[name], damage, cut)
    if data == messages[name]:
        return
    try:
        bob.group.process(data, identity=ACCEPT_BASIC, now=NOW)
    except MLSError:
        pass
    else:
        raise AssertionError(f"a damaged {name} was accepted")
    assert bob.group.entries() == entries


@given(damages, st.sampled_from([0, 1, -1]))
def test_a_damaged_group_info_lets_nobody_in(damage: list[tuple[int, int]], cut: int) -> None:
    _, messages = world()
    data = damaged(messages["group info"], damage, cut)
    if data == messages["group info"]:
        return
    newcomer = Member("frank")
    try:
        newcomer.join_external(data)
    except MLSError:
        return
    raise AssertionError("a damaged GroupInfo was accepted")


@given(st.binary(max_size=200), st.integers(1, 5))
def test_garbage_is_refused(garbage: bytes, wire_format: int) -> None:
    bob, _ = world()
    for data in (garbage, b"\x00\x01\x00" + bytes([wire_format]) + garbage):
        try:
            bob.group.process(data, identity=ACCEPT_BASIC, now=NOW)
        except MLSError:
            continue
        raise AssertionError("garbage was accepted")


def test_damaged_entries_are_refused_or_read() -> None:
    """A store that was damaged raises an MLSError, whatever the damage."""
    bob, _ = world()
    entries = bob.group.entries()
    for name, value in entries.items():
        for where in range(0, len(value), 5):
            broken = bytearray(value)
            broken[where] ^= 0xFF
            try:
                Group.from_entries({**entries, name: bytes(broken)}, bob.signer)
            except MLSError:
                continue
