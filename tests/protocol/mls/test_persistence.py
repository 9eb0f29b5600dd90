"""Storing: what a message changes is small whatever the group's size; what is damaged is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    CodecError,
    CommitReceived,
    Group,
    KeyPackageSecrets,
    MLSError,
    Remove,
    UnsupportedError,
    UsageError,
)
from pli_protocol.mls.epoch import PAST_SECONDS
from pli_protocol.mls.secret_tree import MAX_SKIPPED, SUBTREE

from .groups import NOW, Member, party

SIZES = (2, 50, 500)
SUITES = (0x0001, 0x004E)


def size_of(changes: Mapping[str, bytes | None]) -> int:
    """Bytes written, names included; a deletion writes its name."""
    return sum(len(name) + len(value or b"") for name, value in changes.items())


@cache
def pair(size: int, number: int) -> tuple[Member, Member]:
    """The maker of a group of this size, and its last member."""
    first, last = Member("first", number), Member("last", number)
    first.create()
    others = [Member(f"member {i}", number) for i in range(size - 2)]
    packages = [member.key_package() for member in (*others, last)]
    made = first.commit(*(Add(package[0]) for package in packages))
    first.merge(made)
    assert made.welcome is not None
    last.join(made.welcome, packages[-1])
    return first, last


# --- what a message changes ---------------------------------------------------------------------


@pytest.mark.parametrize("number", SUITES)
@pytest.mark.parametrize("size", SIZES)
def test_a_first_message_changes_nine_entries_at_most(size: int, number: int) -> None:
    """One unsplit subtree goes; at most six siblings and the sender's two ratchets come."""
    first, last = pair(size, number)
    sealed = first.group.seal(b"text")
    opened = last.group.process(sealed.message, identity=ACCEPT_BASIC, now=NOW)
    assert not isinstance(opened, CommitReceived)
    secret = first.suite.hash_size
    for changes in (sealed.changes, opened.changes):
        siblings = [name for name, value in changes.items() if "/node/" in name and value]
        assert len(siblings) == min(SUBTREE, first.group.tree.leaf_count).bit_length() - 1 <= 6
        assert len(changes) == len(siblings) + 3 <= 9
        assert all(len(changes[name] or b"") == 1 + secret for name in siblings)
        assert size_of(changes) <= 6 * (secret + 20) + 2 * (secret + 40) + 20


@pytest.mark.parametrize("number", SUITES)
def test_a_later_message_changes_one_entry_of_the_same_size_in_every_group(number: int) -> None:
    seen = set()
    for size in SIZES:
        first, last = pair(size, number)
        once = first.group.seal(b"text")
        sealed = once.group.seal(b"text")
        before = last.group.process(once.message, identity=ACCEPT_BASIC, now=NOW)
        assert not isinstance(before, CommitReceived)
        opened = before.group.process(sealed.message, identity=ACCEPT_BASIC, now=NOW)
        for changes in (sealed.changes, opened.changes):
            assert list(changes) == ["keys/1/ratchet/0/application"]
            seen.add(size_of(changes))
    assert len(seen) == 1


def test_overtaken_messages_fill_one_entry_of_bounded_size() -> None:
    first, last = pair(2, 1)
    group = first.group
    for _ in range(MAX_SKIPPED + 40):
        sealed = group.seal(b"text")
        group = sealed.group
    opened = last.group.process(sealed.message, identity=ACCEPT_BASIC, now=NOW)
    assert not isinstance(opened, CommitReceived)
    skipped = opened.changes["keys/1/skipped/0/application"]
    assert skipped is not None
    suite = first.suite
    assert len(skipped) <= MAX_SKIPPED * (4 + 2 + suite.key_size + suite.nonce_size) + 5


@pytest.mark.parametrize("size", SIZES)
def test_a_proposal_adds_one_entry_to_those_of_a_message(size: int) -> None:
    first, last = pair(size, 1)
    proposed = first.group.propose(Remove(last.group.own_leaf))
    received = last.group.process(proposed.message, identity=ACCEPT_BASIC, now=NOW)
    assert not isinstance(received, CommitReceived)
    for changes in (proposed.changes, received.changes):
        assert "proposal/1/000000" in changes
        assert len(changes) <= 10


@pytest.mark.parametrize("size", SIZES)
def test_a_commit_changes_the_paths_and_not_the_group(size: int) -> None:
    """Nodes of the committer's path, and one more subtree for each 64 leaves."""
    first, last = pair(size, 1)
    made = first.group.commit(identity=ACCEPT_BASIC, now=NOW)
    received = last.group.process(made.message, identity=ACCEPT_BASIC, now=NOW)
    assert isinstance(received, CommitReceived)
    width = first.group.tree.leaf_count
    for changes in (made.changes, received.changes):
        nodes = [name for name in changes if name.startswith("tree/")]
        assert 1 < len(nodes) <= width.bit_length()
        keys = [name for name in changes if name.startswith("keys/2/")]
        assert len(keys) == max(1, width // SUBTREE)
        # group, secrets, private keys, the past epoch; own ratchets and what the commit's key split.
        assert len(changes) <= len(nodes) + len(keys) + 4 + 11


# --- a commit that waits ------------------------------------------------------------------------


def test_a_commit_that_was_stored_is_taken_over_after_a_restart() -> None:
    alice, bob, carol = party("alice", "bob", "carol", number=1)
    made = alice.commit(Remove(carol.group.own_leaf))
    stored = dict(made.changes)
    text = bob.seal(b"meanwhile")
    alice.open(text)

    restarted = Group.from_entries(alice.stored, alice.signer)
    merged = restarted.following(stored).merged(restarted)
    assert merged.group == made.group.merged(alice.group).group
    alice.keep(merged.group, merged.changes)
    alice.check_store()
    bob.process(made.message)
    assert bob.open(alice.seal(b"after")) == b"after"
    with pytest.raises(MLSError):
        alice.open(text)  # its key was used, and is not back


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d", "e")])
def test_a_stored_commit_follows_when_the_tree_grows_or_shrinks(names: tuple[str, ...]) -> None:
    committer, *others = party(*names, number=1)
    for proposals in (
        [Add(Member(f"new {i}", 1).key_package()[0]) for i in range(7)],
        [Remove(other.group.own_leaf) for other in others[1:]],
        [],
    ):
        made = committer.commit(*proposals)
        committer.check_store()
        following = committer.group.following(made.changes)
        assert following.merged(committer.group) == made.group.merged(committer.group)
        committer.merge(made)
        committer.check_store()


def test_a_commit_taken_over_after_a_restart_brings_no_epoch_back_that_ended_too_long_ago() -> None:
    alice, _ = party("alice", "bob", number=1)
    alice.merge(alice.commit())
    assert [past.ended for past in alice.group.past] == [NOW, NOW]
    late = NOW + PAST_SECONDS + 1
    made = alice.commit(now=late)
    restarted = Group.from_entries(alice.stored, alice.signer)
    merged = restarted.following(made.changes).merged(restarted)
    assert [past.ended for past in merged.group.past] == [late]
    assert merged.group == made.group.merged(alice.group).group
    alice.keep(merged.group, merged.changes)
    alice.check_store()
    assert not [name for name in alice.stored if name.startswith(("past/1", "keys/1/"))]


def test_a_commit_taken_over_after_a_restart_brings_no_epoch_back_that_was_forgotten() -> None:
    alice, _ = party("alice", "bob", number=1)
    alice.merge(alice.commit())
    made = alice.commit()
    restarted = Group.from_entries(alice.stored, alice.signer)
    assert len(restarted.past) == 2
    following = restarted.following(made.changes).forget_past(1).group
    merged = following.merged(restarted)
    assert [past.context.epoch for past in merged.group.past] == [restarted.epoch]
    alice.keep(merged.group, merged.changes)
    alice.check_store()


def test_changes_of_another_epoch_or_member_are_refused() -> None:
    alice, bob = party("alice", "bob", number=1)
    made = alice.commit()
    with pytest.raises(MLSError):
        bob.group.following(made.changes)
    bobs = bob.commit()
    alice.merge(made)
    with pytest.raises(CodecError, match="do not follow"):
        alice.group.following(made.changes)
    with pytest.raises(MLSError):
        alice.group.following(bobs.changes)


# --- what is not ours ---------------------------------------------------------------------------


@cache
def rich() -> tuple[Member, dict[str, bytes]]:
    """A member with everything that can be stored: past epochs, overtaken keys, proposals, blanks."""
    alice, bob, carol, dave, erin = party("alice", "bob", "carol", "dave", "erin", number=1)
    late = [alice.seal(b"one"), alice.seal(b"two"), alice.seal(b"three")]
    bob.open(late[2])
    made = alice.commit(Remove(carol.group.own_leaf))
    alice.merge(made)
    for member in (bob, dave, erin):
        member.process(made.message)
    for sender in (alice, dave):
        sender.seal(b"overtaken")
        bob.open(sender.seal(b"text"))
    proposed = alice.group.propose(Remove(erin.group.own_leaf))
    bob.process(proposed.message)
    update = bob.group.propose_update(random=bob.random)
    bob.keep(update.group, update.changes)
    bob.check_store()
    entries = bob.group.entries()
    kinds = {name.rstrip("0123456789") for name in entries if not name.startswith("keys/")}
    assert kinds == {"group", "secrets", "private", "tree/", "past/", "proposal/2/"}
    assert {name.split("/")[2] for name in entries if "keys/" in name} == {
        "node",
        "ratchet",
        "skipped",
    }
    return bob, entries


def test_entries_of_a_newer_version_are_refused_by_name() -> None:
    bob, entries = rich()
    for name, value in entries.items():
        with pytest.raises(CodecError, match="stored in version 3; this library reads 1 to 2"):
            Group.from_entries({**entries, name: b"\x03" + value[1:]}, bob.signer)


def test_an_entry_that_should_have_been_deleted_is_refused() -> None:
    """A caller that merges `changes` as if they were entries keeps the Nones of deletions."""
    member, _ = pair(2, 0x0001)
    entries: dict[str, Any] = member.group.entries()
    for name in [*entries, "keys/0/node/1", "tree/4"]:
        with pytest.raises(CodecError, match=f"is not bytes: '{name}'"):
            Group.from_entries({**entries, name: None}, member.signer)


def test_a_missing_entry_is_refused() -> None:
    bob, entries = rich()
    for name in entries:
        if "/skipped/" in name or "/node/" in name or name == "proposal/2/000001":
            continue  # nothing says that there was one
        rest = {other: value for other, value in entries.items() if other != name}
        with pytest.raises(CodecError):
            Group.from_entries(rest, bob.signer)
    with pytest.raises(CodecError):
        Group.from_entries({}, bob.signer)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "other",
        "tree/",
        "tree/x",
        "tree/-1",
        "tree/1_0",
        "tree/００",
        "tree/007",
        "tree/16",
        "tree/4294967296",
        "tree/" + "9" * 5000,
        "past/9",
        "past/1/2",
        "proposal/1/000000",
        "proposal/2/000007",
        "proposal/2/2",
        "keys/0/node/0",
        "keys/9/node/0",
        "keys/2",
        "keys/2/",
        "keys/2/node/x",
        "keys/2/node/1",
        "keys/2/node/99999999999",
        "keys/2/ratchet/0/other",
        "keys/2/ratchet/99999999999/handshake",
        "keys/2/skipped/3/handshake",
        "keys/2/other/1",
    ],
)
def test_a_foreign_entry_is_refused(name: str) -> None:
    bob, entries = rich()
    for value in (entries["tree/2"], entries["past/1"], b"\x01" + bytes(32)):
        with pytest.raises(CodecError):
            Group.from_entries({**entries, name: value}, bob.signer)


def test_entries_of_another_group_do_not_fit() -> None:
    bob, entries = rich()
    _, other = party("alice", "bob", number=1, seed=7)
    for name, value in other.group.entries().items():
        if name.startswith("keys/"):
            continue
        with pytest.raises(CodecError):
            Group.from_entries({**entries, name: value}, bob.signer)


def test_a_group_needs_its_members_signature_key() -> None:
    bob, entries = rich()
    with pytest.raises(UsageError, match="signature key"):
        Group.from_entries(entries, Member("mallory", 1).signer)


def test_a_suite_that_is_not_known_is_named() -> None:
    bob, entries = rich()
    context = entries["group"]
    broken = context[:3] + b"\x7f\x7f" + context[5:]
    assert context[3:5] == b"\x00\x01"
    with pytest.raises(UnsupportedError):
        Group.from_entries({**entries, "group": broken}, bob.signer)


@given(st.data())
def test_damage_of_any_entry_is_refused_or_touches_secrets_only(data: st.DataObject) -> None:
    bob, entries = rich()
    name = data.draw(st.sampled_from(sorted(entries)))
    value = bytearray(entries[name])
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.sampled_from([0, 0, 0, 1, 9, -1]))
    damaged = bytes(value[: len(value) - cut]) if cut >= 0 else bytes(value) + b"\x00"
    try:
        read = Group.from_entries({**entries, name: damaged}, bob.signer)
    except MLSError:
        return
    public = (
        "context",
        "tree",
        "own_leaf",
        "interim_transcript_hash",
        "confirmation_tag",
        "reinit",
    )
    if name == "private" or name == "secrets" or "keys/" in name or "past/" in name:
        for part in public:
            assert getattr(read, part) == getattr(bob.group, part)
        assert cut == 0, "a length is always checked"
    elif "proposal/" in name:
        # The leaf key of an own Update is a secret; a signature was checked when it came.
        assert [p.proposal for p in read.proposals] == [p.proposal for p in bob.group.proposals]
    elif damaged != entries[name]:
        assert read == replace(bob.group, reinit=read.reinit), name


@given(st.dictionaries(st.text(max_size=30), st.binary(max_size=100), max_size=5))
def test_any_entries_give_a_group_or_an_error_of_the_library(junk: dict[str, bytes]) -> None:
    bob, entries = rich()
    for given_entries in (junk, {**entries, **junk}):
        try:
            Group.from_entries(given_entries, bob.signer)
        except MLSError:
            continue
        assert set(junk) <= set(entries)


@given(st.binary(max_size=200), st.booleans())
def test_damaged_key_package_secrets_are_refused(junk: bytes, versioned: bool) -> None:
    data = b"\x02" + junk if versioned else junk
    try:
        secrets = KeyPackageSecrets.decode(data)
    except CodecError:
        return
    assert secrets.encode()[1:] in (data, data[1:])


def test_key_package_secrets_come_back_and_name_their_version() -> None:
    _, secrets = Member("alice", 1).key_package()
    data = secrets.encode()
    assert KeyPackageSecrets.decode(data) == secrets
    with pytest.raises(CodecError, match="stored in version 3; this library reads 1 to 2"):
        KeyPackageSecrets.decode(b"\x03" + data[1:])
