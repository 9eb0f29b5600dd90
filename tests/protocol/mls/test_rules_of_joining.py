"""One rule each, of who joins (RFC 9420 §7.9, §12.4.3): forged by a member with real keys.

Who joins has no value that could change; that a failed join leaves the secrets of its key package
as they were is shown by joining with them all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from pli_protocol.mls import (
    Add,
    Capabilities,
    Extension,
    ExtensionType,
    GroupContextExtensions,
    GroupInfo,
    KeyPackage,
    MLSMessage,
    PreSharedKey,
    PreSharedKeyID,
    ReInit,
    ResumptionPSKUsage,
    ValidationError,
    Welcome,
    decode,
    encode,
)
from pli_protocol.mls.group_info import external_pub_extension
from pli_protocol.mls.node import ParentNode
from pli_protocol.mls.ratchet_tree import RatchetTree

from .forging import careless, forged_commit
from .groups import Member, add, deliver, party, refused
from .test_rules_of_leaves import CONTENTS, package_of


def fails(rule: str) -> Any:
    return pytest.raises(ValidationError, match=f"^{rule}( |$)")


Change = Callable[[GroupInfo], GroupInfo]


def invitation(change: Change = lambda info: info, forging: Any = None) -> Any:
    """A Welcome to a group of four, whose GroupInfo was changed before it was signed."""
    from pli_protocol.mls import committing

    build = committing.build_group_info
    first, *others = party("alice", "bob", "carol", "dave")
    newcomer = Member("newcomer")
    package = newcomer.key_package()

    def changed(group: Any, **named: Any) -> GroupInfo:
        return change(build(group, **named)).signed_by(group.suite, group.signer)

    deliver(first.commit(), first, *others)
    with forging or nullcontext(), patch.object(committing, "build_group_info", changed):
        made = first.commit(Add(package[0]))
    return newcomer, made, package


def in_context(**changes: Any) -> Change:
    return lambda info: replace(info, group_context=replace(info.group_context, **changes))


def with_tree(change: Callable[[RatchetTree], RatchetTree]) -> Change:
    """Another tree, and the hash that belongs to it."""

    def changed(info: GroupInfo) -> GroupInfo:
        from pli_protocol.mls import suite

        data = info.extension(ExtensionType.RATCHET_TREE)
        assert data is not None
        tree = change(decode(RatchetTree, data))
        used = suite(info.group_context.cipher_suite)
        context = replace(info.group_context, tree_hash=tree.tree_hash(used))
        rest = [e for e in info.extensions if e.extension_type != ExtensionType.RATCHET_TREE]
        extension = Extension(ExtensionType.RATCHET_TREE, encode(tree))
        return replace(info, group_context=context, extensions=(extension, *rest))

    return changed


def parent(tree: RatchetTree, **changes: Any) -> RatchetTree:
    """The tree with its root, or else its last parent node, changed."""
    at, node = list(tree.parents())[-1]
    assert isinstance(node, ParentNode)
    return tree.with_nodes({int(at): replace(node, **changes)})


def without_tree(info: GroupInfo) -> GroupInfo:
    rest = [e for e in info.extensions if e.extension_type != ExtensionType.RATCHET_TREE]
    return replace(info, extensions=tuple(rest))


LEAVES: list[tuple[str, Callable[[Member], KeyPackage]]] = [
    (
        "leaf-signature",
        lambda m: package_of(m, leaf=lambda leaf: replace(leaf, signature=bytes(64))),
    ),
    ("encryption-key", lambda m: package_of(m, key=b"short")),
    *(
        (rule, lambda m, of=content: package_of(m, of(m)))
        for rule, content in CONTENTS
        if rule != "credential"  # asked after what members must support of each other
    ),
]


def fresh_key() -> bytes:
    return Member("x").suite.generate_kem_key().public


INFOS: list[tuple[str, Change]] = [
    ("group-info-suite", in_context(cipher_suite=1)),
    ("group-info-signer", lambda info: replace(info, signer=7)),
    ("group-info-signature", lambda info: replace(info, signer=1)),
    ("tree-missing", without_tree),
    (
        "tree-encoding",
        lambda info: replace(
            without_tree(info),
            extensions=(Extension(ExtensionType.RATCHET_TREE, b"\x01\x00"),),
        ),
    ),
    ("tree-hash", in_context(tree_hash=bytes(32))),
    ("parent-hash", with_tree(lambda tree: parent(tree, encryption_key=fresh_key()))),
    ("parent-hash", with_tree(lambda tree: parent(tree, parent_hash=b"?"))),
    ("encryption-key", with_tree(lambda tree: parent(tree, encryption_key=bytes(32)))),
    ("unmerged-leaves", with_tree(lambda tree: parent(tree, unmerged_leaves=(7,)))),
    ("confirmation-tag", lambda info: replace(info, confirmation_tag=bytes(32))),
    (
        "extensions-duplicate",
        lambda info: replace(info, extensions=(*info.extensions, *info.extensions[:1])),
    ),
    ("extensions-duplicate", in_context(extensions=(Extension(1, b"a"), Extension(1, b"b")))),
    ("extension-unsupported", in_context(extensions=(Extension(0xF0C0, b""),))),
    ("required-capabilities", in_context(extensions=(Extension(3, b"\x02\xf0\xc0\x00\x00"),))),
    ("external-senders", in_context(extensions=(Extension(5, b"\x01"),))),
]


def test_a_tree_wider_than_the_caller_lets_in_is_refused_on_both_ways_in() -> None:
    newcomer, made, package = invitation()
    with fails("tree-encoding"):
        newcomer.join(made.welcome, package, max_leaves=4)
    newcomer.join(made.welcome, package, max_leaves=8)
    assert newcomer.group.tree.leaf_count == 8
    guest, info = Member("guest"), newcomer.group.group_info()
    with fails("tree-encoding"):
        guest.join_external(info, max_leaves=4)
    guest.join_external(info, max_leaves=8)


@pytest.mark.parametrize(("rule", "change"), INFOS)
def test_a_group_info_with_one_fault_is_refused(rule: str, change: Change) -> None:
    newcomer, made, package = invitation(change)
    with fails(rule):
        newcomer.join(made.welcome, package)
    assert not newcomer.is_member
    newcomer, made, package = invitation()
    newcomer.join(made.welcome, package)


def test_an_unknown_extension_of_a_group_info_is_ignored() -> None:
    newcomer, made, package = invitation(
        lambda info: replace(info, extensions=(*info.extensions, Extension(0xF00D, b"?")))
    )
    newcomer.join(made.welcome, package)
    assert newcomer.group.context.extensions == ()


def test_a_welcome_to_a_group_that_we_are_in_is_refused() -> None:
    newcomer, made, package = invitation()
    with fails("group-known"):
        newcomer.join(made.welcome, package, groups={b"another", b"group"})
    newcomer.join(made.welcome, package, groups={b"another"})
    (alice,) = party("alice")
    with fails("group-known"):
        Member("bob").join_external(alice.group.group_info(), groups=[b"group"])


def test_a_tree_with_one_key_at_two_nodes_is_refused() -> None:
    """Parent hashes and all else are sound: the committer set its path so."""
    from pli_protocol.mls import update_path

    pair = Member("x").suite.generate_kem_key()

    @contextmanager
    def forging() -> Iterator[None]:
        with careless(), patch.object(update_path, "node_key", lambda suite, secret: pair):
            yield

    newcomer, made, package = invitation(forging=forging())
    with fails("tree-keys"):
        newcomer.join(made.welcome, package)


def test_a_tree_with_one_signature_key_at_two_leaves_is_refused() -> None:
    (alice,) = party("alice")
    bob, twin = Member("bob"), Member("bob")
    first, second = bob.key_package(), twin.key_package()
    twin.random(9)
    third = twin.key_package()
    made = forged_commit(alice, Add(first[0]), Add(third[0]))
    assert first[0] == second[0] != third[0]
    with fails("signature-key-twice"):
        bob.join(made.welcome, first)  # type: ignore[arg-type]


@pytest.mark.parametrize(("rule", "faulty"), LEAVES)
def test_a_tree_with_a_leaf_that_breaks_one_rule_is_refused(
    rule: str, faulty: Callable[[Member], KeyPackage]
) -> None:
    """Added by a careless member, with whoever joins."""
    (alice,) = party("alice")
    bob = Member("bob")
    package = bob.key_package()
    made = forged_commit(alice, Add(package[0]), Add(faulty(Member("dave"))))
    with fails(rule):
        bob.join(made.welcome, package)  # type: ignore[arg-type]


def test_a_path_secret_that_is_not_the_trees_is_refused() -> None:
    from pli_protocol.mls import committing

    welcome = committing.create_welcome

    def other(*args: Any) -> Any:
        *head, members, random = args
        forged = [member._replace(path_secret=bytes(32)) for member in members]
        return welcome(*head, forged, random)

    newcomer, made, package = invitation(forging=patch.object(committing, "create_welcome", other))
    with fails("path-key-mismatch"):
        newcomer.join(made.welcome, package)


# The Welcome itself


def changed_welcome(made: Any, **changes: Any) -> bytes:
    body = decode(MLSMessage, made.welcome).body
    assert isinstance(body, Welcome)
    return encode(MLSMessage(replace(body, **changes)))


def test_a_welcome_with_one_fault_is_refused() -> None:
    newcomer, made, package = invitation()
    body = decode(MLSMessage, made.welcome).body
    assert isinstance(body, Welcome)
    with fails("welcome-suite"):
        newcomer.join(changed_welcome(made, cipher_suite=1), package)
    with fails("welcome-not-for-us"):
        newcomer.join(changed_welcome(made, secrets=()), package)
    (entry,) = body.secrets
    other = replace(
        entry, encrypted_group_secrets=replace(entry.encrypted_group_secrets, ciphertext=bytes(64))
    )
    with fails("welcome-secrets"):
        newcomer.join(changed_welcome(made, secrets=(other,)), package)
    newcomer.join(made.welcome, package)


def test_a_group_info_that_does_not_open_is_refused() -> None:
    from pli_protocol.mls import committing

    welcome = committing.create_welcome
    forging = patch.object(
        committing,
        "create_welcome",
        lambda suite, info, joiner, psk, *rest: welcome(suite, info, joiner, b"\x01" * 32, *rest),
    )
    newcomer, made, package = invitation(forging=forging)
    with fails("welcome-group-info"):
        newcomer.join(made.welcome, package)


def test_a_welcome_for_a_leaf_that_is_not_there_is_refused() -> None:
    """The committer adds another key package of the same client than the Welcome is for."""
    from pli_protocol.mls import committing

    (alice,) = party("alice")
    bob = Member("bob")
    sent, added = bob.key_package(), bob.key_package()
    welcome = committing.create_welcome

    def other(*args: Any) -> Any:
        *head, members, random = args
        return welcome(*head, [m._replace(key_package=sent[0]) for m in members], random)

    with patch.object(committing, "create_welcome", other):
        made = alice.commit(Add(added[0]))
    assert made.welcome is not None
    with fails("welcome-leaf"):
        bob.join(made.welcome, sent)


def test_the_pre_shared_keys_of_a_welcome_must_be_at_hand_and_well_named() -> None:
    for nonce, rule in ((32, "psk-unknown"), (31, "psk-nonce")):
        (alice,) = party("alice")
        alice.psks[b"door"] = b"sesame"
        bob = Member("bob")
        package = bob.key_package()
        psk = PreSharedKey(PreSharedKeyID.external(b"door", bytes(nonce)))
        made = forged_commit(alice, Add(package[0]), psk)
        if rule == "psk-nonce":
            bob.psks[b"door"] = b"sesame"
        with fails(rule):
            bob.join(made.welcome, package)  # type: ignore[arg-type]


# Joining by an external commit


def test_a_group_info_without_a_sound_external_key_lets_nobody_in() -> None:
    (alice,) = party("alice")
    with fails("external-pub-missing"):
        Member("bob").join_external(alice.group.group_info(external_pub=False))
    info = decode(MLSMessage, alice.group.group_info()).body
    assert isinstance(info, GroupInfo)
    for faulty in (
        external_pub_extension(b"short"),
        external_pub_extension(bytes(32)),
        Extension(ExtensionType.EXTERNAL_PUB, b"\x05"),
    ):
        rest = [e for e in info.extensions if e.extension_type != ExtensionType.EXTERNAL_PUB]
        forged = replace(info, extensions=(*rest, faulty)).signed_by(alice.suite, alice.signer)
        with fails("external-pub"):
            Member("bob").join_external(encode(MLSMessage(forged)))


# What a continued group's maker checks too (§11.2, §11.3)


def continued(usage: ResumptionPSKUsage, old: Member, names: str = "alice bob", **how: Any) -> Any:
    """Who makes the group after `old`'s, the proposals for it, and who is added."""
    maker, *others = (Member(name, how.get("number", 3), seed=1) for name in names.split())
    maker.create(how.get("group_id", b"next"), **how.get("more", {}))
    for _ in range(how.get("late", 0)):
        deliver(maker.commit(), maker)
    packages = [other.key_package() for other in others]
    epoch = how.get("epoch", old.group.epoch)
    psk = PreSharedKeyID.resumption(
        usage, old.group.group_id, epoch, maker.random(maker.suite.hash_size)
    )
    return maker, [*(Add(package[0]) for package in packages), PreSharedKey(psk)], others, packages


REINIT, BRANCH = ResumptionPSKUsage.REINIT, ResumptionPSKUsage.BRANCH
CONTINUED: list[tuple[str, ResumptionPSKUsage, ReInit | None, dict[str, Any]]] = [
    ("branch-members", BRANCH, None, {"names": "alice mallory"}),
    ("branch-parameters", BRANCH, None, {"number": 1}),
    ("reinit-missing", REINIT, None, {}),
    ("reinit-missing", REINIT, ReInit(b"next", 1, 3), {"epoch": 1}),
    ("reinit-parameters", REINIT, ReInit(b"other", 1, 3), {}),
    ("reinit-parameters", REINIT, ReInit(b"next", 1, 1), {}),
    ("reinit-parameters", REINIT, ReInit(b"next", 2, 3), {}),
    ("reinit-parameters", REINIT, ReInit(b"next", 1, 3, (Extension(1, b""),)), {}),
    ("reinit-members", REINIT, ReInit(b"next", 1, 3), {"names": "alice carol"}),
]


@pytest.mark.parametrize(("rule", "usage", "reinit", "how"), CONTINUED)
def test_a_continued_group_is_what_was_announced_or_it_is_none(
    rule: str, usage: ResumptionPSKUsage, reinit: ReInit | None, how: dict[str, Any]
) -> None:
    alice, bob = party("alice", "bob")
    if reinit is not None:
        deliver(alice.commit(reinit), alice, bob)
    maker, proposals, others, packages = continued(usage, alice, **how)
    with refused(maker, rule):
        maker.commit(*proposals, predecessor=alice.group)
    with careless():
        made = maker.commit(*proposals, predecessor=alice.group)
    with fails(rule):
        others[0].join(made.welcome, packages[0], predecessor=bob.group)


def test_a_continued_group_begins_with_its_first_commit() -> None:
    alice, bob = party("alice", "bob")
    maker, proposals, others, packages = continued(BRANCH, alice, late=1)
    with refused(maker, "psk-usage"):
        maker.commit(*proposals, predecessor=alice.group)
    with careless():
        made = maker.commit(*proposals, predecessor=alice.group)
    with fails("successor-epoch"):
        others[0].join(made.welcome, packages[0], predecessor=bob.group)


def test_a_predecessor_must_be_known() -> None:
    alice, _bob = party("alice", "bob")
    maker, proposals, others, packages = continued(BRANCH, alice)
    made = maker.commit(*proposals, predecessor=alice.group)
    secret = alice.group.secrets.resumption_psk
    with fails("predecessor-unknown"):
        others[0].join(made.welcome, packages[0], psks=lambda _: secret)


def test_a_group_continues_one_other_at_most() -> None:
    alice, bob = party("alice", "bob")
    maker, proposals, others, packages = continued(BRANCH, alice)
    psk = proposals[-1].psk
    twice = [*proposals, PreSharedKey(replace(psk, psk_nonce=bytes(32)))]
    with refused(maker, "psk-usage"):
        maker.commit(*twice, predecessor=alice.group)
    with careless():
        made = maker.commit(*twice, predecessor=alice.group)
    with fails("psk-usage"):
        others[0].join(made.welcome, packages[0], predecessor=bob.group)


def test_extensions_and_requirements_hold_for_who_joins_later() -> None:
    """The same group, later: what it requires is asked of everybody who comes."""
    capabilities = Capabilities(cipher_suites=(3,), extensions=(0xF0C0,), credentials=(1,))
    alice = Member("alice")
    alice.create(capabilities=capabilities)
    deliver(alice.commit(GroupContextExtensions((Extension(0xF0C0, b"x"),))), alice)
    with pytest.raises(ValidationError, match="extension-unsupported"):
        Member("bob").join_external(alice.group.group_info())
    with pytest.raises(ValidationError, match="extension-unsupported"):
        add(alice, Member("bob"))


def test_what_joiners_check_needs_no_clock() -> None:
    newcomer, made, package = invitation()
    newcomer.join(made.welcome, package, now=None)
    assert newcomer.group.epoch == made.group.epoch
