"""One rule each, of proposal lists, paths and external commits (RFC 9420 §7.5, §12.2, §12.4).

Others are in `test_proposal_list`; here is what needs more than another list to be broken alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from pli_protocol.mls import (
    Add,
    Commit,
    CommitReceived,
    ExternalInit,
    FramedContent,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ProposalRef,
    Remove,
    Update,
)
from pli_protocol.mls.framing import sign_content
from pli_protocol.mls.leaf_node import sign_leaf
from pli_protocol.mls.parent_hash import set_path
from pli_protocol.mls.private_tree import PrivateTree
from pli_protocol.mls.update_path import CreatedPath, UpdatePath, UpdatePathNode

from .forging import EXTERNAL, careless, forged_commit
from .groups import Member, add, deliver, party, refused

# Lists of proposals (§12.2)


def with_proposals(*proposals: Proposal | ProposalRef) -> Callable[[Commit], Commit]:
    """A commit with another list: made as if it were empty, hence with a sound path."""
    return lambda commit: replace(commit, proposals=tuple(proposals))


LISTS: list[tuple[str, tuple[Proposal, ...]]] = [
    ("remove-blank", (Remove(3),)),
    ("remove-blank", (Remove(2**32 - 1),)),
    ("leaf-changed-twice", (Remove(1), Remove(1))),
]


@pytest.mark.parametrize(("rule", "proposals"), LISTS)
def test_a_faulty_list_is_refused(rule: str, proposals: tuple[Proposal, ...]) -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    made = forged_commit(alice, commit=with_proposals(*proposals))
    for member in (bob, carol):
        with refused(member, rule):
            member.process(made.message)


def proposed(member: Member, others: Sequence[Member]) -> tuple[Update, ProposalRef]:
    made = member.group.propose_update(random=member.random)
    member.keep(made.group, made.changes)
    for other in others:
        other.process(made.message)
    update = made.group.proposals[-1].proposal
    assert isinstance(update, Update)
    return update, made.reference


def test_a_committer_that_takes_its_own_update_is_refused() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    update, reference = proposed(alice, (bob, carol))
    for item in (reference, update):
        made = forged_commit(alice, commit=with_proposals(item), include_pending=False)
        for member in (bob, carol):
            with refused(member, "update-by-committer"):
                member.process(made.message)


def test_an_update_and_a_remove_of_one_leaf_do_not_go_together() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    _, first = proposed(bob, (alice, carol))
    _, second = proposed(bob, (alice, carol))
    for items in ((first, second), (first, Remove(1))):
        made = forged_commit(alice, commit=with_proposals(*items), include_pending=False)
        with refused(carol, "leaf-changed-twice"):
            carol.process(made.message)


def test_a_pre_shared_key_that_is_not_at_hand_is_told() -> None:
    alice, bob = party("alice", "bob")
    psk = PreSharedKey(PreSharedKeyID.external(b"door", bytes(32)))
    with refused(alice, "psk-unknown"):
        alice.commit(psk)
    alice.psks[b"door"] = b"sesame"
    made = alice.commit(psk)
    with refused(bob, "psk-unknown"):
        bob.process(made.message)
    bob.psks[b"door"] = b"sesame"
    deliver(made, alice, bob)


def test_a_commit_without_the_path_that_it_needs_is_refused() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    for proposals in ((), (Remove(2),), (GroupContextExtensions(()),)):
        made = forged_commit(alice, *proposals, path_wanted=False)
        for member in (bob, carol):
            with refused(member, "path-required"):
                member.process(made.message)


# What is pending stops nobody (§12.4)


def test_pending_proposals_that_cannot_be_committed_are_left_out() -> None:
    """A member must not be able to stop the others by proposing what only a whole list shows."""
    alice, bob, carol = party("alice", "bob", "carol")
    from .test_rules_of_leaves import content_of, package_of

    dave = Member("dave")
    bob.psks[b"bob's own"] = b"key"
    bad = [
        GroupContextExtensions(_unsupported()),
        PreSharedKey(PreSharedKeyID.external(b"bob's own", bytes(32))),
        Add(package_of(dave, key=carol.group.own_leaf_node.encryption_key)),
    ]
    good = Add(package_of(Member("eve"), content_of(Member("eve"))))
    for proposal in (*bad, good):
        made = bob.group.propose(proposal, random=bob.random)
        bob.keep(made.group, made.changes)
        alice.process(made.message)
        carol.process(made.message)
    commit = alice.commit()
    assert [member.credential for member in commit.plan.added] == [Member("eve").credential]
    deliver(commit, alice, bob, carol)
    assert carol.group.context.extensions == ()


def _unsupported() -> tuple[Any, ...]:
    from pli_protocol.mls import Extension

    return (Extension(0xF001, b""),)


def test_a_pending_add_that_has_expired_meanwhile_is_left_out() -> None:
    from .groups import LIFETIME

    alice, bob = party("alice", "bob")
    made = bob.group.propose(Add(Member("carol").key_package()[0]), random=bob.random)
    alice.process(made.message)
    assert alice.commit(now=LIFETIME.not_after + 1).plan.added == ()
    assert len(alice.commit().plan.added) == 1


# Paths (§7.5, §7.6, §12.4.2)


def resigned(member: Member, path: UpdatePath, parent_hash: bytes) -> UpdatePath:
    group, leaf = member.group, path.leaf_node
    signed = sign_leaf(
        group.suite,
        member.signer,
        leaf.content,
        leaf.encryption_key,
        parent_hash,
        group.group_id,
        group.own_leaf,
    )
    return replace(path, leaf_node=signed)


def change_node(path: UpdatePath, at: int, **changes: Any) -> UpdatePath:
    nodes = list(path.nodes)
    nodes[at] = replace(nodes[at], **changes)
    return replace(path, nodes=tuple(nodes))


def other_key(member: Member, path: UpdatePath, at: int, key: bytes) -> UpdatePath:
    """A path whose node `at` has another key, with a leaf that vouches for it."""
    changed = change_node(path, at, encryption_key=key)
    keys = [node.encryption_key for node in changed.nodes]
    _, parent_hash = set_path(member.suite, member.group.tree, member.group.own_leaf, keys)
    return resigned(member, changed, parent_hash)


def ciphertexts(path: UpdatePath, at: int) -> Any:
    return path.nodes[at].encrypted_path_secret


PathFault = Callable[[Member, UpdatePath], UpdatePath]
# In a group of alice (who commits), bob, carol and dave: the path has two nodes.
PATHS: list[tuple[str, PathFault]] = [
    ("path-length", lambda a, path: replace(path, nodes=path.nodes[:1])),
    ("path-length", lambda a, path: replace(path, nodes=(*path.nodes, UpdatePathNode(b"k", ())))),
    ("path-ciphertexts", lambda a, path: change_node(path, 0, encrypted_path_secret=())),
    (
        "path-ciphertexts",
        lambda a, path: change_node(path, 0, encrypted_path_secret=ciphertexts(path, 0) * 2),
    ),
    ("path-key", lambda a, path: other_key(a, path, 1, b"short")),
    ("path-key", lambda a, path: other_key(a, path, 1, bytes(32))),
    (
        "path-key-reused",
        lambda a, path: other_key(a, path, 1, a.group.tree.nodes[6].encryption_key),  # type: ignore[union-attr]
    ),
    ("path-key-reused", lambda a, path: other_key(a, path, 1, path.nodes[0].encryption_key)),
    ("path-parent-hash", lambda a, path: resigned(a, path, bytes(32))),
    ("path-parent-hash", lambda a, path: resigned(a, path, b"")),
    (
        "path-secret",
        lambda a, path: change_node(
            path, 1, encrypted_path_secret=ciphertexts(path, 0) + ciphertexts(path, 1)[1:]
        ),
    ),
]


def four() -> list[Member]:
    """Four members, each of whom has committed, so that no node is blank."""
    members = party("alice", "bob", "carol", "dave")
    for committer in members:
        others = [member for member in members if member is not committer]
        deliver(committer.commit(), committer, *others)
    return members


@pytest.mark.parametrize(("rule", "fault"), PATHS)
def test_a_path_with_one_fault_is_refused_for_it(rule: str, fault: PathFault) -> None:
    alice, bob, carol, dave = four()
    made = forged_commit(alice, path=lambda created: fault(alice, created.path))
    # Who does not decrypt that ciphertext cannot know that it is another's.
    seen_by = (carol, dave) if rule == "path-secret" else (bob, carol, dave)
    for member in seen_by:
        with refused(member, rule):
            member.process(made.message)
    sound = forged_commit(alice, path=lambda created: created.path)
    for member in (bob, carol, dave):
        assert isinstance(member.process(sound.message), CommitReceived)


def test_a_path_whose_keys_are_not_those_of_its_secrets_is_refused() -> None:
    alice, bob, carol, dave = four()
    fresh = lambda suite, secret: suite.generate_kem_key(alice.random)  # noqa: E731
    with patch("pli_protocol.mls.update_path.node_key", fresh):
        made = alice.commit()
    for member in (bob, carol, dave):
        with refused(member, "path-key-mismatch"):
            member.process(made.message)


def test_who_has_lost_its_private_keys_cannot_follow_a_path() -> None:
    alice, bob = party("alice", "bob")
    lost = PrivateTree.of_leaf(1, bob.suite.generate_kem_key(bob.random))
    bob.keep(replace(bob.group, private_tree=lost), {})
    made = alice.commit()
    with refused(bob, "path-not-for-us"):
        bob.process(made.message)


# External commits (§12.2, §12.4.3.2)


def external(
    change: Callable[[Commit], Commit],
    joiner: Member | None = None,
    path: Callable[[CreatedPath, Member], CreatedPath] | None = None,
    **more: Any,
) -> tuple[list[Member], bytes]:
    """An external commit into a group of three, changed before it was signed."""
    from pli_protocol.mls import external_join

    members = party("alice", "bob", "carol")
    create = external_join.create_update_path

    def sign(used: Any, key: Any, wire: Any, content: FramedContent, context: Any) -> Any:
        assert isinstance(content.content, Commit)
        changed = replace(content, content=change(content.content))
        return sign_content(used, key, wire, changed, context)

    def created(*args: Any, **named: Any) -> CreatedPath:
        made = create(*args, **named)
        return made if path is None else path(made, members[0])

    with (
        careless(),
        patch(f"{EXTERNAL}.sign_content", sign),
        patch(f"{EXTERNAL}.create_update_path", created),
    ):
        message = (joiner or Member("dave")).join_external(members[0].group.group_info(), **more)
    return members, message


def and_also(*proposals: Proposal | ProposalRef) -> Callable[[Commit], Commit]:
    return lambda commit: replace(commit, proposals=(*commit.proposals, *proposals))


def package() -> Any:
    return Member("eve").key_package()[0]


def update() -> Update:
    """An Update, sound but for who sends it."""
    eve = Member("eve")
    key = eve.suite.generate_kem_key(eve.random).public
    return Update(
        sign_leaf(eve.suite, eve.signer, package().leaf_node.content, key, None, b"group")
    )


EXTERNAL_LISTS: list[tuple[str, Callable[[Commit], Commit]]] = [
    ("external-commit-init", lambda commit: replace(commit, proposals=())),
    ("external-commit-init", lambda commit: replace(commit, proposals=commit.proposals * 2)),
    ("external-commit-remove", and_also(Remove(0), Remove(1))),
    ("external-commit-proposal", and_also(GroupContextExtensions(()))),
    ("external-commit-proposal", lambda commit: and_also(Add(package()))(commit)),
    ("update-sender", lambda commit: and_also(update())(commit)),
    ("proposal-unknown", and_also(ProposalRef(bytes(32)))),
    ("external-commit-path", lambda commit: replace(commit, path=None)),
    ("external-init", lambda commit: replace(commit, proposals=(ExternalInit(b"short"),))),
    ("psk-nonce", and_also(PreSharedKey(PreSharedKeyID.external(b"door", b"")))),
]


@pytest.mark.parametrize(("rule", "change"), EXTERNAL_LISTS)
def test_a_faulty_external_commit_is_refused(rule: str, change: Callable[[Commit], Commit]) -> None:
    members, message = external(change)
    for member in members:
        with refused(member, rule):
            member.process(message)


def test_an_external_commit_names_nothing_by_reference() -> None:
    """Not even a proposal that all have seen."""
    members = party("alice", "bob", "carol")
    _, reference = proposed(members[1], (members[0], members[2]))
    with patch(
        f"{EXTERNAL}.sign_content",
        lambda used, key, wire, content, context: sign_content(
            used,
            key,
            wire,
            replace(content, content=and_also(reference)(content.content)),
            context,
        ),
    ):
        message = Member("dave").join_external(members[0].group.group_info())
    for member in (members[0], members[2]):
        with refused(member, "external-commit-reference"):
            member.process(message)


def test_who_comes_back_brings_a_new_key() -> None:
    """The new leaf meets what an Update of the removed one would have to meet (§12.2)."""

    def old_key(made: CreatedPath, alice: Member) -> CreatedPath:
        old, leaf = alice.group.own_leaf_node, made.path.leaf_node
        again = sign_leaf(
            alice.suite,
            lost.signer,
            leaf.content,
            old.encryption_key,
            leaf.parent_hash,
            alice.group.group_id,
            made.private.leaf,
        )
        return replace(made, path=replace(made.path, leaf_node=again))

    lost = Member("alice", seed="after the loss")
    members, message = external(lambda commit: commit, lost, old_key, resync=True)
    for member in members[1:]:
        with refused(member, "leaf-key-reused"):
            member.process(message)


def test_an_external_commit_mixes_in_resumption_secrets() -> None:
    """Proof of having been there (§12.4.3.2): the joiner knows the secret of a past epoch."""
    from pli_protocol.mls import ResumptionPSKUsage

    alice, bob = party("alice", "bob")
    carol = Member("carol")
    add(alice, carol, bob)
    group = carol.group
    secret = group.secrets.resumption_psk
    psk = PreSharedKeyID.resumption(
        ResumptionPSKUsage.APPLICATION, group.group_id, group.epoch, carol.random(32)
    )
    again = Member("carol", seed="after the loss")
    message = again.join_external(
        alice.group.group_info(), resync=True, psk_ids=[psk], psks=lambda _: secret
    )
    for member in (alice, bob):
        assert isinstance(member.process(message), CommitReceived)
