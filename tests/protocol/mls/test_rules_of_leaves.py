"""One rule each, of key packages, leaves and what members must support (RFC 9420 §5.3, §7.3, §10.1).

Broken alone, wherever a leaf comes from: an Add, an Update, the path of a commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    Capabilities,
    CommitReceived,
    Credential,
    Extension,
    KeyPackage,
    LeafNode,
    Lifetime,
    ProposalReceived,
    RequiredCapabilities,
    UnknownCredential,
    Update,
    ValidationError,
    X509Credential,
    check_best_suite,
    propose_own_add,
    required_capabilities_extension,
)
from pli_protocol.mls.identity import ACCEPT_ALL
from pli_protocol.mls.labels import sign_with_label
from pli_protocol.mls.leaf_check import MAX_LIFETIME
from pli_protocol.mls.leaf_node import LeafContent, sign_leaf
from pli_protocol.mls.update_path import CreatedPath, UpdatePath

from .forging import careless, certified, forged_commit, public_message
from .groups import DAY, LIFETIME, NOW, Member, add, deliver, party, refused

OURS = 0xF0C0


def content_of(member: Member, **changes: Any) -> LeafContent:
    capabilities = Capabilities(cipher_suites=(3,), credentials=(1,))
    content = LeafContent(member.signer.public, member.credential, capabilities)
    return replace(content, **changes)


def listed(member: Member, **changes: Any) -> LeafContent:
    """A leaf's content with other capabilities."""
    content = content_of(member)
    return replace(content, capabilities=replace(content.capabilities, **changes))


def fresh_key(member: Member) -> bytes:
    return member.suite.generate_kem_key(member.random).public


def package_of(
    member: Member,
    content: LeafContent | None = None,
    *,
    key: bytes | None = None,
    lifetime: Lifetime | None = LIFETIME,
    leaf: Callable[[LeafNode], LeafNode] = lambda leaf: leaf,
    **changes: Any,
) -> KeyPackage:
    """A well-signed key package, with its fields changed before it was signed."""
    made = leaf(
        sign_leaf(
            member.suite,
            member.signer,
            content or content_of(member),
            key or fresh_key(member),
            lifetime,
        )
    )
    package = replace(KeyPackage(1, 3, fresh_key(member), made, (), b""), **changes)
    signature = sign_with_label(
        member.suite, member.signer, "KeyPackageTBS", package.to_be_signed()
    )
    return replace(package, signature=signature)


def same_key(member: Member) -> KeyPackage:
    key = fresh_key(member)
    return package_of(member, key=key, init_key=key)


def another_certificate(member: Member) -> LeafContent:
    """An x509 credential about somebody else's key."""
    credential = certified(Member("somebody else").signer, member.name)
    capabilities = Capabilities(cipher_suites=(3,), credentials=(1, 2))
    return content_of(member, credential=credential, capabilities=capabilities)


TWICE = (Extension(1, b"one"), Extension(1, b"two"))
CONTENTS: list[tuple[str, Callable[[Member], LeafContent]]] = [
    ("leaf-capabilities", lambda m: listed(m, versions=(2,))),
    ("leaf-capabilities", lambda m: listed(m, cipher_suites=(1,))),
    ("leaf-credential", lambda m: listed(m, credentials=(2,))),
    ("leaf-extensions", lambda m: content_of(m, extensions=(Extension(OURS, b""),))),
    ("extensions-duplicate", lambda m: content_of(m, extensions=TWICE)),
    ("credential-key", another_certificate),
    (
        "credential-key",
        lambda m: replace(another_certificate(m), credential=X509Credential((b"no DER",))),
    ),
    ("credential-key", lambda m: replace(another_certificate(m), credential=X509Credential(()))),
    (
        "credential",
        lambda m: LeafContent(
            m.signer.public,
            UnknownCredential(0xF123, b"?"),
            Capabilities(cipher_suites=(3,), credentials=(1, 0xF123)),
        ),
    ),
]
PACKAGES: list[tuple[str, Callable[[Member], KeyPackage]]] = [
    ("key-package-version", lambda m: package_of(m, version=2)),
    ("key-package-suite", lambda m: package_of(m, cipher_suite=1)),
    ("key-package-signature", lambda m: replace(package_of(m), signature=bytes(64))),
    ("init-key", lambda m: package_of(m, init_key=b"short")),
    ("init-key", lambda m: package_of(m, init_key=bytes(32))),
    ("init-key-reused", same_key),
    ("extensions-duplicate", lambda m: package_of(m, extensions=TWICE)),
    ("encryption-key", lambda m: package_of(m, key=b"short")),
    ("leaf-source", lambda m: package_of(m, lifetime=None)),
    (
        "leaf-signature",
        lambda m: package_of(m, leaf=lambda leaf: replace(leaf, signature=bytes(64))),
    ),
    ("leaf-lifetime", lambda m: package_of(m, lifetime=Lifetime(NOW - 9, NOW - 1))),
    ("leaf-lifetime", lambda m: package_of(m, lifetime=Lifetime(NOW + 1, NOW + 9))),
    (
        "leaf-lifetime-total",
        lambda m: package_of(m, lifetime=Lifetime(NOW - 9, NOW - 8 + MAX_LIFETIME)),
    ),
    *((rule, lambda m, of=content: package_of(m, of(m))) for rule, content in CONTENTS),
]


@pytest.mark.parametrize(("rule", "faulty"), PACKAGES)
def test_a_key_package_that_breaks_one_rule_is_not_added(
    rule: str, faulty: Callable[[Member], KeyPackage]
) -> None:
    """Not by whoever would send it, nor by whoever receives it: by value, alone, from outside."""
    alice, bob = party("alice", "bob")
    dave = Member("dave")
    package = faulty(dave)
    with refused(alice, rule):
        alice.commit(Add(package))
    with refused(alice, rule):
        alice.group.propose(Add(package), now=NOW, identity=ACCEPT_BASIC)
    with refused(bob, rule):
        bob.process(forged_commit(alice, Add(package)).message)
    with refused(bob, rule):
        bob.process(public_message(alice, Add(package)))
    if rule != "key-package-suite":
        where = {"group_id": alice.group.group_id, "epoch": alice.group.epoch}
        with refused(bob, rule):
            bob.process(propose_own_add(package, dave.signer, **where))


def test_the_same_key_package_without_a_fault_is_added() -> None:
    alice, bob = party("alice", "bob")
    package = package_of(Member("dave"))
    assert isinstance(bob.process(public_message(alice, Add(package))), ProposalReceived)
    assert isinstance(bob.process(forged_commit(alice, Add(package)).message), CommitReceived)


def update_of(member: Member, content: LeafContent | None = None, **more: Any) -> Update:
    """A well-signed leaf for an Update of a member's."""
    source = more.pop("source", None)
    leaf = sign_leaf(
        member.suite,
        member.signer,
        content or content_of(member),
        more.pop("key", None) or fresh_key(member),
        source,
        more.pop("group_id", member.group.group_id),
        more.pop("leaf_index", member.group.own_leaf),
    )
    return Update(replace(leaf, **more))


def own_key(member: Member) -> bytes:
    return member.group.own_leaf_node.encryption_key


UPDATES: list[tuple[str, Callable[[Member], Update]]] = [
    ("leaf-source", lambda m: update_of(m, source=bytes(32))),
    ("leaf-source", lambda m: update_of(m, source=LIFETIME)),
    ("leaf-signature", lambda m: update_of(m, signature=bytes(64))),
    ("leaf-signature", lambda m: update_of(m, group_id=b"another group")),
    ("leaf-signature", lambda m: update_of(m, leaf_index=1)),
    ("leaf-key-reused", lambda m: update_of(m, key=own_key(m))),
    ("encryption-key", lambda m: update_of(m, key=b"short")),
    (
        "credential-successor",
        lambda m: update_of(m, content_of(m, credential=Member("bob").credential)),
    ),
    *((rule, lambda m, of=content: update_of(m, of(m))) for rule, content in CONTENTS),
]


@pytest.mark.parametrize(("rule", "faulty"), UPDATES)
def test_an_update_that_breaks_one_rule_is_refused(
    rule: str, faulty: Callable[[Member], Update]
) -> None:
    alice, bob = party("alice", "bob")
    with refused(bob, rule):
        bob.process(public_message(alice, faulty(alice)))
    assert isinstance(bob.process(public_message(alice, update_of(alice))), ProposalReceived)


@pytest.mark.parametrize(("rule", "content"), CONTENTS)
def test_a_commit_whose_new_leaf_breaks_one_rule_is_refused(
    rule: str, content: Callable[[Member], LeafContent]
) -> None:
    alice, bob = party("alice", "bob")
    wanted = content(alice)
    changes = {
        "credential": wanted.credential,
        "capabilities": wanted.capabilities,
        "leaf_extensions": wanted.extensions,
    }
    identity = ACCEPT_BASIC if rule == "credential" else ACCEPT_ALL
    with refused(alice, rule):
        alice.commit(**changes, identity=identity)
    # Its GREASE would be the same at both; left out, so that the fault is the only one.
    with careless(), patch("pli_protocol.mls.committing.greased", lambda content, _: content):
        made = alice.commit(**changes, identity=identity)
    with refused(bob, rule):
        bob.process(made.message, identity=identity)


def path_leaf(member: Member, **changes: Any) -> Callable[[CreatedPath], UpdatePath]:
    """The path with its leaf changed, then signed by the committer all the same."""

    def changed(made: CreatedPath) -> UpdatePath:
        leaf = made.path.leaf_node
        group = member.group
        signed = sign_leaf(
            group.suite,
            changes.get("signer", member.signer),
            changes.get("content", leaf.content),
            changes.get("key", leaf.encryption_key),
            changes.get("source", leaf.parent_hash),
            group.group_id,
            group.own_leaf,
        )
        return replace(made.path, leaf_node=replace(signed, **changes.get("after", {})))

    return changed


PATH_LEAVES: list[tuple[str, Callable[[Member], dict[str, Any]]]] = [
    ("leaf-source", lambda m: {"source": None}),
    ("leaf-source", lambda m: {"source": LIFETIME}),
    ("leaf-signature", lambda m: {"after": {"signature": bytes(64)}}),
    ("encryption-key", lambda m: {"key": b"short"}),
    ("leaf-key-reused", lambda m: {"key": own_key(m)}),
]


@pytest.mark.parametrize(("rule", "changes"), PATH_LEAVES)
def test_a_path_whose_leaf_breaks_one_rule_is_refused(
    rule: str, changes: Callable[[Member], dict[str, Any]]
) -> None:
    alice, bob = party("alice", "bob")
    made = forged_commit(alice, path=path_leaf(alice, **changes(alice)))
    with refused(bob, rule):
        bob.process(made.message)
    again = forged_commit(alice, path=path_leaf(alice))
    assert isinstance(bob.process(again.message), CommitReceived)


# What members must support of the group and of each other


def test_a_member_that_does_not_support_the_groups_extensions_is_not_added() -> None:
    capabilities = Capabilities(cipher_suites=(3,), extensions=(OURS,), credentials=(1,))
    alice = Member("alice")
    alice.create(extensions=[Extension(OURS, b"")], capabilities=capabilities)
    bob = Member("bob")
    package = _joined(alice, bob, capabilities)
    assert package is not None
    stranger = Add(package_of(Member("carol")))
    with refused(alice, "extension-unsupported"):
        alice.commit(stranger)
    with refused(bob, "extension-unsupported"):
        bob.process(forged_commit(alice, stranger).message)


def _joined(alice: Member, bob: Member, capabilities: Capabilities) -> KeyPackage:
    from pli_protocol.mls import generate_key_package

    package = generate_key_package(
        bob.suite,
        bob.credential,
        bob.signer,
        lifetime=LIFETIME,
        capabilities=capabilities,
        random=bob.random,
    )
    made = alice.commit(Add(package[0]))
    alice.merge(made)
    assert made.welcome is not None
    bob.join(made.welcome, package)
    return package[0]


def test_a_member_without_the_required_capabilities_is_not_added() -> None:
    required = required_capabilities_extension(RequiredCapabilities((OURS,), (0xF0C1,), (1,)))
    capabilities = Capabilities(
        cipher_suites=(3,), extensions=(OURS,), proposals=(0xF0C1,), credentials=(1,)
    )
    alice = Member("alice")
    alice.create(extensions=[required], capabilities=capabilities)
    bob = Member("bob")
    _joined(alice, bob, capabilities)
    for lacking in ({"extensions": ()}, {"proposals": ()}):
        carol = Member("carol")
        content = content_of(carol, capabilities=replace(capabilities, **lacking))
        stranger = Add(package_of(carol, content))
        with refused(alice, "required-capabilities"):
            alice.commit(stranger)
        with refused(bob, "required-capabilities"):
            bob.process(forged_commit(alice, stranger).message)


def test_a_member_may_not_bring_a_credential_that_others_do_not_support() -> None:
    alice, bob = party("alice", "bob")
    dave = Member("dave")
    capabilities = Capabilities(cipher_suites=(3,), credentials=(1, 2))
    credential: Credential = certified(dave.signer, "dave")
    content = content_of(dave, credential=credential, capabilities=capabilities)
    stranger = Add(package_of(dave, content))
    with refused(alice, "credential-type"):
        alice.commit(stranger, identity=ACCEPT_ALL)
    made = forged_commit(alice, stranger, identity=ACCEPT_ALL)
    with refused(bob, "credential-type"):
        bob.process(made.message, identity=ACCEPT_ALL)


def test_a_member_may_not_be_without_the_credential_type_of_others() -> None:
    alice, bob = party("alice", "bob")
    dave = Member("dave")
    capabilities = Capabilities(cipher_suites=(3,), credentials=(2,))
    credential: Credential = certified(dave.signer, "dave")
    content = content_of(dave, credential=credential, capabilities=capabilities)
    stranger = Add(package_of(dave, content))
    with refused(alice, "credential-type"):
        alice.commit(stranger, identity=ACCEPT_ALL)
    made = forged_commit(alice, stranger, identity=ACCEPT_ALL)
    with refused(bob, "credential-type"):
        bob.process(made.message, identity=ACCEPT_ALL)


def test_no_two_members_have_one_signature_key() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    with refused(alice, "signature-key-twice"):
        alice.commit(signer=bob.signer)
    made = forged_commit(alice, signer=bob.signer)
    for member in (bob, carol):
        with refused(member, "signature-key-twice"):
            member.process(made.message)


def test_no_two_nodes_have_one_encryption_key() -> None:
    """Of a member (§7.3), or of a parent node: whoever joined would refuse the tree."""
    alice, bob, carol = party("alice", "bob", "carol")
    leaf = bob.group.own_leaf_node.encryption_key
    parents = [node.encryption_key for _, node in alice.group.tree.parents()]
    for key in (leaf, parents[-1]):
        stranger = Add(package_of(Member("dave"), key=key))
        with refused(alice, "encryption-key-twice"):
            alice.commit(stranger, path=False)
        made = forged_commit(alice, stranger, path_wanted=False)
        for member in (bob, carol):
            with refused(member, "encryption-key-twice"):
                member.process(made.message)


def test_a_leaf_that_lives_too_long_keeps_others_from_joining() -> None:
    alice, bob = party("alice", "bob")
    eve = Member("eve")
    package = package_of(eve, lifetime=Lifetime(NOW - DAY, NOW + MAX_LIFETIME))
    made = alice.commit(Add(package), now=None)
    alice.merge(made)
    bob.process(made.message, now=None)
    with pytest.raises(ValidationError) as failed:
        add(alice, Member("carol"), bob)
    assert failed.value.rule == "leaf-lifetime-total"
    # Its end alone does not matter: a member does not drop out of the group then.
    late = Member("late")
    deliver(alice.commit(), alice, bob)
    with pytest.raises(ValidationError) as failed:
        late.join_external(alice.group.group_info(), now=NOW + 10 * MAX_LIFETIME)
    assert failed.value.rule == "leaf-lifetime-total"


def test_a_group_is_not_made_in_a_worse_suite_than_all_support() -> None:
    def leaf(*suites: int) -> LeafNode:
        package = package_of(Member("anna"), listed(Member("anna"), cipher_suites=suites))
        return package.leaf_node

    preferred = (0x004E, 0x0003, 0x0001)
    check_best_suite(0x0003, [leaf(3, 0x4E), leaf(3, 1)], preferred)
    check_best_suite(0x004E, [leaf(3, 0x4E), leaf(3, 0x4E)], preferred)
    check_best_suite(0x0BAD, [leaf(0x0BAD)], preferred)
    with pytest.raises(ValidationError) as failed:
        check_best_suite(0x0001, [leaf(1, 3), leaf(3, 1, 0x4E)], preferred)
    assert failed.value.rule == "suite-downgrade"
